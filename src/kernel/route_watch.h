/*
 * Reports that addresses, interfaces, routes or routing rules of this host have changed, or that a router has failed,
 * so that the kernel path asks again which way each flow takes.
 */
#ifndef CONESOCKS_KERNEL_ROUTE_WATCH_H
#define CONESOCKS_KERNEL_ROUTE_WATCH_H

/* The least time between two reports: a router may have thousands of changes per second. */
#define ROUTE_WATCH_PAUSE_MS 100

struct event_base;
struct route_watch;

/* `changed` runs on the thread of `base`, at once or after the pause, and always after the last change. NULL and an
 * errno: the kernel does not report, or there is no memory. */
struct route_watch *route_watch_new(struct event_base *base, void (*changed)(void *arg), void *arg);
/* NULL is fine. */
void route_watch_free(struct route_watch *watch);

#endif
