/*
 * Counts what each user has used: payload bytes in this calendar month and since the start, and from which client
 * addresses now. All workers share it. Entering and leaving take a lock; counting does not.
 *
 * It knows no limits: the caller compares with the configuration. It keeps the counts in memory, of every user who has
 * sessions or has used anything this month. So there are at most as many as users who have logged in.
 */
#ifndef CONESOCKS_POLICY_USAGE_H
#define CONESOCKS_POLICY_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct usage;
struct usage_account; /* of one user */

/* Up is from the client. */
struct usage_bytes {
    uint64_t up, down;
};

/* NULL: no memory. */
struct usage *usage_new(void);
/* After usage_leave() for each session. NULL is fine. */
void usage_free(struct usage *usage);

/* Which month it is now (calendar.h). When it is another one, all volumes become 0. From any thread. */
void usage_set_month(struct usage *usage, uint32_t month);

/* A session of `user`, a name of 255 bytes at most, begins; its client is at `client` (an IPv6 /64 counts as one).
 * 0, or an errno: EDQUOT if that would be more than `addresses` at once (0: any number), ENOMEM. */
int usage_enter(struct usage *usage, struct usage_account **account, const char *user, const union netaddr *client,
                uint32_t addresses);
/* It has ended. */
void usage_leave(struct usage_account *account, const union netaddr *client);

/* Counts what was relayed. */
void usage_add(struct usage_account *account, struct usage_bytes bytes);
/* The rate now, in bytes per second, has changed by so much; modulo 2^64, so it may be negative. */
void usage_change_rate(struct usage_account *account, struct usage_bytes change);
/* What was used this month, both directions together. */
uint64_t usage_volume(const struct usage_account *account);
/* Whether this is the first call this month: for a line in the log. */
bool usage_first_told(struct usage_account *account);

/* ---- for the operator ---- */

struct usage_row {
    char user[256];
    size_t addresses;
    uint64_t volume;
    struct usage_bytes bytes, rate; /* since the start; per second, now */
};
/* Copies the `max` users with the highest rates, then volumes, in this order. Returns how many they are; `*total`: how
 * many users have sessions or have used anything this month. */
size_t usage_list(struct usage *usage, struct usage_row *rows, size_t max, size_t *total);

/* ---- between processes, at an upgrade ---- */

/* Shows what was used this month and not shown before, user by user, until `take` returns false. */
void usage_collect(struct usage *usage, bool (*take)(void *arg, const char *user, uint64_t volume), void *arg);
/* Adds what another process has collected, which is counted for `month`. */
void usage_merge(struct usage *usage, uint32_t month, const char *user, uint64_t volume);
uint32_t usage_month(const struct usage *usage);

#endif
