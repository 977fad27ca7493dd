/*
 * After a reload: ends the sessions that the new configuration does not allow any more. The others continue under it.
 */
#ifndef CONESOCKS_PROXY_SESSION_REVIEW_H
#define CONESOCKS_PROXY_SESSION_REVIEW_H

struct env;
struct snapshot;

/* The env has just got another snapshot than `before`, which is released in time. A handshake obeys the new one from
 * its client's next byte on, and an association from its next datagram. To be called before anything else happens on
 * the worker, then review_sessions(). Not while a review is under way. */
void review_prepare(struct env *env, struct snapshot *before);
/* Ends the sessions that the new snapshot no longer allows, some at each turn of the loop, and then calls `done`. A
 * stream is cut when its turn comes: some milliseconds later, or longer with rules that take long to review. */
void review_sessions(struct env *env, void (*done)(void *arg), void *arg);

/* The worker has no session left: finishes a review that is under way. */
void review_stop(struct env *env);

#endif
