/*
 * A worker: a thread with an event base, listeners, resolver, sessions, buffers and counters of its own. Other threads
 * read its counters and post to its inbox; all else in it is touched by its own thread alone.
 */
#ifndef CONESOCKS_DAEMON_WORKER_H
#define CONESOCKS_DAEMON_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/inbox.h"

struct auth;
struct balance;
struct env;
struct host;
struct inherited_share;
struct listeners;
struct metrics;
struct session_list;
struct snapshot;
struct worker;

/* Listens on its share of the inherited sockets. For each other address it opens a socket; other workers may open one
 * at the same address. `paused`: connections wait until listeners_resume(). `host` and `balance` outlive it. NULL after
 * a line in the log. */
struct worker *worker_new(struct snapshot *snapshot, struct host *host, struct balance *balance,
                          const struct inherited_share *share, bool paused);
/* Starts its thread; `auth` outlives it. 0 or a negative errno. */
int worker_start(struct worker *worker, struct auth *auth);
/* Stops accepting, ends its sessions, and waits for its thread. Nothing happens when it does not run. */
void worker_stop(struct worker *worker);
/* After worker_stop(), and once nothing posts to its inbox any more. NULL is fine. */
void worker_free(struct worker *worker);

/* Runs the item on its thread, after worker_start(). What is posted before worker_stop() runs. */
void worker_post(struct worker *worker, struct inbox_item *item);
const struct metrics *worker_metrics(const struct worker *worker);

/* ---- on its thread, or while that does not run ---- */

bool worker_is_current(const struct worker *worker);
struct env *worker_env(struct worker *worker);
struct listeners *worker_listeners(struct worker *worker);
/* Fills in a page of its sessions: see session_list.h. */
void worker_list_sessions(struct worker *worker, struct session_list *list, uint64_t after);

#endif
