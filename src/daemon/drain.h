/*
 * A gentle end: no new connections, while those that are there go on until they are over, or until their time is. On
 * the main thread.
 */
#ifndef CONESOCKS_DAEMON_DRAIN_H
#define CONESOCKS_DAEMON_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drain;
struct event_base;
struct host;
struct worker;

/* What becomes of connections that wait to be accepted. */
enum drain_waiting {
    DRAIN_TAKE_WAITING,  /* they are the last ones; what comes later finds nobody */
    DRAIN_LEAVE_WAITING, /* others hold the same sockets and go on accepting */
};

/* All outlive it; `host->quota` knows how many sessions there are. `over` is called once, from the base's loop: none is
 * left, or the time is up. NULL: no memory. */
struct drain *drain_new(struct event_base *base, struct worker **workers, size_t worker_count, struct host *host,
                        void (*over)(void *arg), void *arg);
/* Begins, after worker_start(); `limit_ms` 0: as long as it takes. To be said again to set another limit. */
void drain_begin(struct drain *drain, enum drain_waiting waiting, uint64_t limit_ms);
bool drain_is_under_way(const struct drain *drain);
/* NULL is fine. */
void drain_free(struct drain *drain);

#endif
