/*
 * Watches how much memory is in use, in the main thread, and tells the workers when it is short: limits.memory.
 */
#ifndef CONESOCKS_DAEMON_PRESSURE_WATCH_H
#define CONESOCKS_DAEMON_PRESSURE_WATCH_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/memory.h"

struct event_base;
struct pressure_watch;
struct worker;

/* `limit` is limits.memory. Opens files: before the sandbox is entered. `workers` outlive it. NULL: nothing limits the
 * memory. */
struct pressure_watch *pressure_watch_new(struct event_base *base, uint64_t limit, struct worker *const *workers,
                                          size_t worker_count);
/* What was found when it last looked. */
enum memory_level pressure_watch_level(const struct pressure_watch *watch, struct memory_use *use);
/* Before the workers are freed. */
void pressure_watch_free(struct pressure_watch *watch);

#endif
