/*
 * Counts what the sessions of users relay, once a second and when a session ends, never for a datagram. Ends the
 * sessions of users whose access has expired, or whose volume of the month is used up.
 */
#ifndef CONESOCKS_PROXY_SESSION_USER_COUNTS_H
#define CONESOCKS_PROXY_SESSION_USER_COUNTS_H

#include <stdint.h>

struct env;
struct session;

/* Counts what the session has relayed since the last call. Nothing happens without a login. */
void user_count_session(struct session *session);
/* After all sessions have been counted: notes the rates of users, and ends the sessions of users who may not continue.
 */
void users_sweep(struct env *env, uint64_t now_ms);

#endif
