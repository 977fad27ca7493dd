/*
 * The running server's side of an upgrade: it waits for a process that wants its place (takeover.h), gives it all
 * listening sockets and serves on until that one says that it serves. If it never does, nothing has happened: the next
 * one that asks gets its turn. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_HANDOVER_H
#define CONESOCKS_DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

struct admin;
struct event_base;
struct followers;
struct handover;
struct host;
struct worker;

/* What there is to give; it stays the server's. */
struct handover_goods {
    struct host *host;
    struct worker **workers;
    size_t worker_count;
    const struct admin *admin; /* NULL: none */
    int pid_file;              /* -1: none */
    const struct followers *followers;
};

/* A socket at `path` for the two below, which nobody but this process's user can ask at. To be called while there is
 * one thread. -1 after a line in the log. */
int handover_listen(const char *path);

/* Waits at `fd`, which it takes over, after worker_start(). All outlive it, but for worker_stop(). `over` is called
 * once another process serves: what is given is that one's now, and nothing waits at the listeners for us. NULL: no
 * memory or descriptors. */
struct handover *handover_new(struct event_base *base, int fd, const struct handover_goods *goods,
                              void (*over)(void *arg), void *arg);
/* Whether another process serves, from before `over` is called. NULL: no. */
bool handover_is_over(const struct handover *handover);
/* Whether another process is about to: what is ours by name may be its at any time. NULL: no. */
bool handover_is_promised(const struct handover *handover);
/* Once that is so: the descriptor that we follow that process by (follow.h), the caller's from now on. -1: none. */
int handover_take_leader(struct handover *handover);
/* After the workers were stopped. NULL is fine. */
void handover_free(struct handover *handover);

#endif
