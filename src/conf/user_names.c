#include "conf/user_names.h"

#include <stdlib.h>
#include <string.h>

static int user_names_compare(const void *a, const void *b)
{
    const struct user_name *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order ? order : (left->index > right->index) - (left->index < right->index);
}

struct user_name *user_names_sorted(const struct config *config, size_t count)
{
    struct user_name *names = calloc(count + 1, sizeof(*names));
    if (!names)
        return NULL;
    for (size_t i = 0; i < count; i++)
        names[i] = (struct user_name){config->users[i].name, i};
    qsort(names, count, sizeof(*names), user_names_compare);
    return names;
}
