/*
 * Watches how much memory is in use, and tells the workers to free some when it is short (limits.memory). On the main
 * thread.
 */
#ifndef CONESOCKS_DAEMON_PRESSURE_WATCH_H
#define CONESOCKS_DAEMON_PRESSURE_WATCH_H

#include <stdint.h>

#include "daemon/memory.h"

struct crew;
struct event_base;
struct pressure_watch;

/* `limit` is limits.memory. Opens files, so it is called before the sandbox is entered. NULL: nothing limits the
 * memory. */
struct pressure_watch *pressure_watch_new(struct event_base *base, uint64_t limit, const struct crew *crew);
/* The level and use found by the last look. */
enum memory_level pressure_watch_level(const struct pressure_watch *watch, struct memory_use *use);
/* After crew_stop(), before the workers are freed. NULL is fine. */
void pressure_watch_free(struct pressure_watch *watch);

#endif
