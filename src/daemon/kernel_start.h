/*
 * Opens the kernel path at the start, if the configuration asks for it, and follows changes of routes for it. Without
 * it the server works as well: user space relays all datagrams.
 */
#ifndef CONESOCKS_DAEMON_KERNEL_START_H
#define CONESOCKS_DAEMON_KERNEL_START_H

#include <event2/event_struct.h>

#include "kernel/kernel_path.h"

struct config;
struct event_base;
struct route_watch;

struct kernel_start {
    struct event timer;
    struct kernel_path *path; /* NULL: off, or it cannot work here */
    struct route_watch *watch;
    char why[KERNEL_PATH_TEXT_MAX];     /* there is no path */
    const char *why_paused;             /* as logged last; NULL: it is not */
    char missing[KERNEL_PATH_TEXT_MAX]; /* interfaces that came later, as logged last */
};

/* Logs whether it is active, or why not. Needs privileges: before sandbox_enter(). */
void kernel_start_open(struct kernel_start *start, const struct config *config, struct event_base *base);
/* After the workers are freed. */
void kernel_start_close(struct kernel_start *start);

/* For -t: prints whether it would be active. */
void kernel_start_test(const struct config *config, const char *file);

#endif
