/*
 * One control connection from accept to end: negotiation, login, request, then a stream or an association.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_H
#define CONESOCKS_PROXY_SESSION_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

struct assoc;
struct config_listener;
struct env;
struct session;
struct snapshot;
struct stream;

/* Takes over `fd`, the connection just accepted from `peer` by a listener; closes it when a limit or the listener says
 * so, or for want of memory. */
void session_new(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener);

/* Ends what is past its time and lets associations look after themselves; to be called about once a second. */
void sessions_sweep(struct env *env);
/* The env has another snapshot than `before`, which is released in time: ends the sessions that it no longer allows,
 * some at each turn of the loop, and then calls `done`. A handshake obeys from its client's next byte on, and an
 * association from its next datagram. A stream is cut when its turn comes: some milliseconds later, or longer with
 * rules that take long to review. Not while a review is under way. */
void sessions_review(struct env *env, struct snapshot *before, void (*done)(void *arg), void *arg);
/* Shows each session's stream or association; the one not asked for is NULL. `visit` may end the one it is shown. */
void sessions_visit(struct env *env, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg);
/* Ends every session of the worker. */
void sessions_end(struct env *env, const char *why);
/* Frees the sessions that have ended. Not from inside a session's callback: from the worker's loop. */
void sessions_reap(struct env *env);

#endif
