/*
 * Who may log in: the users of one configuration, found by name. Does not change, so any thread may ask.
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
/* Also of one that is all zero. */
void users_deinit(struct users *users);
/* NULL: there is nobody of that name. */
const struct config_user *users_find(const struct users *users, const char *name);
/* Does `name` log in with the same password here and there? Also when it is nobody in both. */
bool users_agree(const struct users *a, const struct users *b, const char *name);

#endif
