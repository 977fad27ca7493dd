/* What a user may have: the values of its own entry, else those for every user. */
#ifndef CONESOCKS_POLICY_USER_LIMITS_H
#define CONESOCKS_POLICY_USER_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/config.h"

/* 0: any number. */
struct user_limits {
    uint32_t sessions, associations, addresses; /* at once */
    uint64_t volume;                            /* bytes per month, both directions together */
    uint64_t bandwidth;                         /* bytes per second and direction */
    bool own_volume, own_addresses;             /* from the user's entry */
};

/* `user` is NULL if the configuration has no such user. */
struct user_limits user_limits_find(const struct config *config, const struct config_user *user);

/* Whether the last day of its access is over; days are those of calendar.h. */
bool user_has_expired(const struct config_user *user, uint32_t today);

#endif
