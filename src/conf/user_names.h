/* The users' names in order, which brings the same ones together. */
#ifndef CONESOCKS_CONF_USER_NAMES_H
#define CONESOCKS_CONF_USER_NAMES_H

#include <stddef.h>

#include "conf/types.h"

struct user_name {
    const char *name;
    size_t index; /* of the user; the same names stand in the order of these */
};

/* Of the first `count` users. free() it; NULL: no memory. */
struct user_name *user_names_sorted(const struct config *config, size_t count);

#endif
