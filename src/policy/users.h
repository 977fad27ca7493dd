/*
 * The users of a configuration, found by name. It does not change, so any thread may ask.
 */
#ifndef CONESOCKS_POLICY_USERS_H
#define CONESOCKS_POLICY_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/config.h"

struct users {
    const struct config_user *list;
    size_t count;
    const struct config_user **slots; /* by the hash of the name; NULL: free */
    size_t mask;                      /* their number is a power of two, at least twice that of the users */
};

/* `list` must outlive it. false: no memory. */
bool users_init(struct users *users, const struct config_user *list, size_t count);
/* Also if it is all zero. */
void users_deinit(struct users *users);
/* NULL: there is no user of that name. */
const struct config_user *users_find(const struct users *users, const char *name);
/* Whether `name` has the same password hash in both, or is in neither. */
bool users_agree(const struct users *a, const struct users *b, const char *name);

#endif
