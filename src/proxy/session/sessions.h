/*
 * All sessions of a worker: what it does with them about once a second, and when it stops.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSIONS_H
#define CONESOCKS_PROXY_SESSION_SESSIONS_H

struct assoc;
struct env;
struct stream;

/* Ends sessions that are past a deadline or an idle limit, and sweeps associations. To be called about once a second.
 */
void sessions_sweep(struct env *env);
/* Shows each session's stream or association; the one not asked for is NULL. `visit` may end the one it is shown. */
void sessions_visit(struct env *env, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg);
/* Ends every session of the worker. */
void sessions_end(struct env *env, const char *why);
/* Frees the sessions that have ended. Not from inside a session's callback: from the worker's loop. */
void sessions_reap(struct env *env);

#endif
