/* The names of the users in sorted order, to find duplicates and to look names up. */
#ifndef CONESOCKS_CONF_USER_NAMES_H
#define CONESOCKS_CONF_USER_NAMES_H

#include <stddef.h>

#include "conf/types.h"

struct user_name {
    const char *name;
    size_t index; /* of the user; equal names are ordered by it */
};

/* The names of the first `count` users. free() it; NULL: no memory. */
struct user_name *user_names_sorted(const struct config *config, size_t count);

#endif
