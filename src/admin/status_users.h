/* Builds the users of /status: what each uses, what it may use, and which limit is near. Pure: the caller brings the
 * values. */
#ifndef CONESOCKS_ADMIN_STATUS_USERS_H
#define CONESOCKS_ADMIN_STATUS_USERS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/usage.h"

struct snapshot;

/* The most users of one answer. */
#define STATUS_USERS_MAX 100

struct status_user {
    struct usage_row used;
    uint32_t sessions, associations; /* now */
};

struct status_users {
    struct status_user list[STATUS_USERS_MAX];
    size_t count, total; /* of the list; of users with sessions now, or with a volume this month */
    uint32_t today;      /* see calendar.h, here and below */
    uint32_t month;
};

json_t *status_users_json(const struct status_users *users, const struct snapshot *snapshot);

#endif
