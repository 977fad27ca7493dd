/* Lists users: their settings, and what they use if a server is running. */
#ifndef CONESOCKS_COMMAND_USER_LIST_H
#define CONESOCKS_COMMAND_USER_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "conf/types.h"

/* The first `inline_count` are those of the configuration itself. `status`: of the running server; NULL: none is known.
 * Prints them; false: out of memory. */
bool user_list_print(const struct config_user *users, size_t count, size_t inline_count, const json_t *status,
                     bool as_json);

#endif
