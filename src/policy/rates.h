/*
 * How much a session may still relay: by its own rate, and by the rate that it shares with all sessions of its user.
 *
 * Datagrams beyond a rate are dropped, streams wait. A session belongs to one thread, but its user's sessions to
 * several: a session looks up what they share when it begins, under a lock, and from then on only atomic counters are
 * used.
 */
#ifndef CONESOCKS_POLICY_RATES_H
#define CONESOCKS_POLICY_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/terms.h"

enum rates_way { RATES_UP, RATES_DOWN, RATES_WAYS };

/* What sessions share with others of their user. One for all workers, any thread may use it. */
struct user_rates;
/* NULL: no memory. */
struct user_rates *user_rates_new(void);
/* After all sessions' rates are freed. NULL is fine. */
void user_rates_free(struct user_rates *users);

struct rates; /* of one session */

/* NULL in `*out` when nothing limits the session; `user` is NULL without a login. false: no memory. */
bool rates_new(struct rates **out, struct user_rates *users, const struct terms *terms, const char *user);
/* NULL is fine. */
void rates_free(struct rates *rates);

/* How many of `count` datagrams, from the first on, may pass; those are charged. Each has `size` bytes, except the
 * last, which has `last`. */
uint16_t rates_admit(struct rates *rates, enum rates_way way, uint16_t count, uint16_t size, uint16_t last,
                     uint64_t now_ms);

/* Datagrams that somebody else will admit, paid in advance: a part of what is left now, so that other sessions of the
 * user, and rates_admit(), find enough. UINT64_MAX: no limit. Both are 0: too little is left. */
struct rates_credit {
    uint64_t datagrams, bytes;
};
struct rates_credit rates_reserve(struct rates *rates, enum rates_way way, uint64_t now_ms);
/* Gives back what was not used of it. */
void rates_return(struct rates *rates, enum rates_way way, const struct rates_credit *unused);

/* How many bytes of a stream may pass now. Call rates_charge() with those that have passed. */
uint64_t rates_allow(struct rates *rates, enum rates_way way, uint64_t now_ms);
void rates_charge(struct rates *rates, enum rates_way way, uint64_t bytes, uint64_t now_ms);
/* How many milliseconds a stream waits once it has used up what rates_allow() returned. Streams of one user take turns.
 */
uint32_t rates_rest(struct rates *rates, enum rates_way way, uint64_t now_ms);

#endif
