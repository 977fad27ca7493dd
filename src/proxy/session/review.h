/*
 * After a reload: ends the sessions that the new configuration does not allow any more. The others continue under it.
 */
#ifndef CONESOCKS_PROXY_SESSION_REVIEW_H
#define CONESOCKS_PROXY_SESSION_REVIEW_H

struct env;
struct snapshot;

/* The env has another snapshot than `before`, which is released in time: ends the sessions that it no longer allows,
 * some at each turn of the loop, and then calls `done`. A handshake obeys from its client's next byte on, and an
 * association from its next datagram. A stream is cut when its turn comes: some milliseconds later, or longer with
 * rules that take long to review. Not while a review is under way. */
void review_sessions(struct env *env, struct snapshot *before, void (*done)(void *arg), void *arg);

/* The worker has no session left: finishes a review that is under way. */
void review_stop(struct env *env);

#endif
