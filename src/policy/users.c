#include "policy/users.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    const struct config_user *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static int is_named(const void *name, const void *user)
{
    return strcmp(name, (*(const struct config_user *const *)user)->name);
}

bool users_init(struct users *users, const struct config_user *list, size_t count)
{
    *users = (struct users){.by_name = calloc(count + 1, sizeof(users->by_name[0])), .count = count};
    if (!users->by_name)
        return false;
    for (size_t i = 0; i < count; i++)
        users->by_name[i] = &list[i];
    qsort(users->by_name, count, sizeof(users->by_name[0]), by_name);
    return true;
}

void users_deinit(struct users *users)
{
    free(users->by_name);
    *users = (struct users){0};
}

const struct config_user *users_find(const struct users *users, const char *name)
{
    if (users->count == 0)
        return NULL;
    const struct config_user *const *found =
        bsearch(name, users->by_name, users->count, sizeof(users->by_name[0]), is_named);
    return found ? *found : NULL;
}

bool users_agree(const struct users *a, const struct users *b, const char *name)
{
    const struct config_user *left = users_find(a, name), *right = users_find(b, name);
    return left && right ? strcmp(left->password, right->password) == 0 : left == right;
}
