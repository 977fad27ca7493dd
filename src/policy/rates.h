/*
 * How much a session may still relay: its own rate, and the one that it shares with all sessions of its user. A session
 * belongs to one thread, its user's sessions to several: what they share is found once and then touched by atomics
 * alone.
 *
 * Datagrams beyond a rate are to be dropped, streams rest. Of what a user has left, streams leave half to datagrams, so
 * that a download at the limit does not break up a call; in turn datagrams cannot take all that streams wait for.
 */
#ifndef CONESOCKS_POLICY_RATES_H
#define CONESOCKS_POLICY_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/terms.h"

enum rates_way { RATES_UP, RATES_DOWN, RATES_WAYS };

struct rates; /* of one session */

/* NULL in `*out` when nothing limits the session; `user` is NULL without a login. false: no memory. */
bool rates_new(struct rates **out, const struct terms *terms, const char *user);
void rates_free(struct rates *rates);

/* How many of `count` datagrams may pass, the first ones: each has `size` bytes but for the last, which has `last`.
 * These are charged. */
uint16_t rates_admit(struct rates *rates, enum rates_way way, uint16_t count, uint16_t size, uint16_t last,
                     uint64_t now_ms);

/* A stream's turn: so many bytes may pass now. What did is to be charged. */
uint64_t rates_allow(struct rates *rates, enum rates_way way, uint64_t now_ms);
void rates_charge(struct rates *rates, enum rates_way way, uint64_t bytes, uint64_t now_ms);
/* The stream has used its turn up: so many milliseconds until its next. Streams of one user take turns. */
uint32_t rates_rest(struct rates *rates, enum rates_way way, uint64_t now_ms);

#endif
