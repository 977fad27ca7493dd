/*
 * The running server's side of an upgrade. It waits for a process that wants to take over (takeover.h), gives it all
 * listening sockets, and continues to serve until that process reports that it serves. If it never does, nothing has
 * changed, and the next process that asks gets its turn. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_HANDOVER_H
#define CONESOCKS_DAEMON_HANDOVER_H

#include <stdbool.h>

struct admin;
struct crew;
struct event_base;
struct followers;
struct handover;
struct host;

/* What is given; it stays the server's. */
struct handover_goods {
    struct host *host;
    struct crew *crew;         /* whose listening sockets they are */
    const struct admin *admin; /* NULL: none */
    int pid_file;              /* -1: none */
    const struct followers *followers;
};

/* A socket at `path` for handover_new(), to which only this process's user can connect. To be called while there is
 * only one thread. -1 after a line in the log. */
int handover_listen(const char *path);

/* Waits at `fd`, which it takes over. The goods outlive it. `over` is called once another process serves: it owns what
 * was given, and no connection waits for us at the listeners. NULL: no memory or descriptors (errno). */
struct handover *handover_new(struct event_base *base, int fd, const struct handover_goods *goods,
                              void (*over)(void *arg), void *arg);
/* Whether another process serves; true before `over` is called. NULL: no. */
bool handover_is_over(const struct handover *handover);
/* Whether another process has been given all: it may own the pid file and the sockets' names at any time. NULL: no. */
bool handover_is_promised(const struct handover *handover);
/* In `over`: our end of the connection by which we follow that process (follow.h), the caller's from now on. -1: none.
 */
int handover_take_leader(struct handover *handover);
/* After crew_stop(), before the workers are freed. NULL is fine. */
void handover_free(struct handover *handover);

#endif
