#include "policy/users.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a (RFC 9923). It needs no secret: only the configuration fills the table. */
static size_t name_hash(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

/* The slot of a name, or the free one where it would be. */
static const struct config_user **users_slot(const struct users *users, const char *name)
{
    size_t at = name_hash(name) & users->mask;
    while (users->slots[at] && strcmp(users->slots[at]->name, name) != 0)
        at = (at + 1) & users->mask;
    return &users->slots[at];
}

bool users_init(struct users *users, const struct config_user *list, size_t count)
{
    size_t size = 1;
    while (size < 2 * count)
        size *= 2;
    assert(size > count && (size & (size - 1)) == 0); /* a free slot ends each search */
    *users = (struct users){list, count, calloc(size, sizeof(users->slots[0])), size - 1};
    if (!users->slots)
        return false;
    for (size_t i = 0; i < count; i++)
        *users_slot(users, list[i].name) = &list[i];
    return true;
}

void users_deinit(struct users *users)
{
    free(users->slots);
    *users = (struct users){0};
}

const struct config_user *users_find(const struct users *users, const char *name)
{
    return users->slots ? *users_slot(users, name) : NULL;
}

bool users_agree(const struct users *a, const struct users *b, const char *name)
{
    const struct config_user *left = users_find(a, name), *right = users_find(b, name);
    return left && right ? strcmp(left->password, right->password) == 0 : left == right;
}
