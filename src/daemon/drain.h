/*
 * A gentle end of the server: it accepts no new connections, and runs until its last session has ended or its time is
 * up. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_DRAIN_H
#define CONESOCKS_DAEMON_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct crew;
struct drain;
struct event_base;
struct host;

/* What happens to connections that wait to be accepted. */
enum drain_waiting {
    DRAIN_TAKE_WAITING,  /* they are accepted, as the last ones */
    DRAIN_LEAVE_WAITING, /* another process has the same listening sockets and accepts them */
};

/* `host->quota` knows how many sessions there are. `over` is called once, from the base's loop: none is left, or the
 * time is up. NULL: no memory or descriptors (errno). */
struct drain *drain_new(struct event_base *base, struct crew *crew, struct host *host, void (*over)(void *arg),
                        void *arg);
/* After crew_start(). `limit_ms` 0: no limit. Called again, it sets another limit. */
void drain_begin(struct drain *drain, enum drain_waiting waiting, uint64_t limit_ms);
bool drain_is_under_way(const struct drain *drain);
/* After crew_stop(). NULL is fine. */
void drain_free(struct drain *drain);

#endif
