/*
 * A worker: a thread with its own event base, listeners, resolver, sessions, buffers and counters. Nothing in it is
 * touched by another thread, but for its counters (read) and its inbox.
 */
#ifndef CONESOCKS_DAEMON_WORKER_H
#define CONESOCKS_DAEMON_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/inbox.h"

struct auth;
struct host;
struct inherited_share;
struct metrics;
struct own_hosts;
struct memory_pressure_order;
struct session_list;
struct snapshot;
struct worker;

/* `host` outlives it. Listens at its share of inherited sockets, and elsewhere opens one, whose address other workers
 * may share. `paused`: connections wait until worker_resume(). NULL after a line in the log. */
struct worker *worker_new(struct snapshot *snapshot, struct host *host, const struct inherited_share *share,
                          bool paused);
/* Starts its thread; `auth` outlives it. 0 or a negative errno. */
int worker_start(struct worker *worker, struct auth *auth);
/* A reload, as it is for one worker; kept until `done` was called, on the worker's thread. */
struct worker_change {
    struct inbox_item item;
    struct worker *worker;
    struct snapshot *snapshot; /* to be put in force */
    int *opened;               /* its listeners' new sockets, the worker's from now on; -1: it listens there already */
    void (*done)(struct worker_change *change);
};

/* Puts another snapshot in force, after worker_start(). Sessions that it does not allow end, all others go on. */
void worker_change(struct worker_change *change);
struct worker_sockets {
    int *fds; /* to be freed */
    size_t count;
};
/* Where a worker listens: copies of the descriptors, for the caller to close. Kept until `done` was called, on the
 * worker's thread. */
struct worker_listeners {
    struct inbox_item item;
    struct worker *worker;
    struct worker_sockets tcp, udp; /* for connections; of shared_port.h */
    int error;                      /* an errno: these are not all */
    void (*done)(struct worker_listeners *listeners);
};
void worker_copy_listeners(struct worker_listeners *listeners);
/* Those of UDP are another process's from now on: see shared_port.h. `done` is called as above. */
void worker_give_up(struct worker_listeners *listeners);
/* Takes over such a socket. */
void worker_adopt(struct worker *worker, int fd);
/* Takes over a connection to another process: see handover_link.h. */
void worker_hear(struct worker *worker, int kin);
/* Accepts, where it has begun `paused`. Once. */
void worker_resume(struct worker *worker);

/* Stops accepting, and its sessions go on. `take_waiting`: connections that wait to be accepted still are. Once. */
void worker_close(struct worker *worker, bool take_waiting);
/* Until it has come to that: afterwards it has no session but those that it counts by now. */
bool worker_accepts(const struct worker *worker);
/* A question what it is doing; kept until `done` was called, on the worker's thread. */
struct worker_question {
    struct inbox_item item;
    struct worker *worker;
    uint64_t after; /* see report.h */
    struct session_list *report;
    void (*done)(struct worker_question *question);
};
/* Has it fill in the report, after worker_start(). What is asked before worker_stop() is answered. */
void worker_ask(struct worker_question *question);
/* Stops accepting, ends its sessions, and waits for its thread. */
void worker_stop(struct worker *worker);
/* After worker_stop(), and after nobody will post to its inbox any more. */
void worker_free(struct worker *worker);
/* Has it do what memory being short, or not any more, asks for. One that has not come to the last order does not get
 * this one. From one thread only. */
void worker_relieve(struct worker *worker, const struct memory_pressure_order *order);
/* This host's addresses have changed. From one thread only. */
void worker_use_hosts(struct worker *worker, struct own_hosts *hosts);
/* Has it say that it still comes round. Whether it has said so since it was last asked; true the first time. From one
 * thread only. */
bool worker_ping(struct worker *worker);
/* What its sessions held when it was last told to measure that. */
size_t worker_session_memory(const struct worker *worker);
const struct metrics *worker_metrics(const struct worker *worker);

#endif
