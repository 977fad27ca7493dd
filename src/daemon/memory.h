/*
 * How much memory there is for us, and how much of it is in use. Either the system limits us (a control group, version
 * 2 or 1: what systemd and containers set) and counts itself, or `limits.memory` does and we count what belongs to us.
 */
#ifndef CONESOCKS_DAEMON_MEMORY_H
#define CONESOCKS_DAEMON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/memory_pressure.h"

struct memory;

/* `wanted` is limits.memory. `proc` and `groups` are /proc/self and /sys/fs/cgroup, whose files are opened here, once:
 * a sandbox may put them out of reach afterwards. NULL: nothing limits us, or nothing can be read (which is logged). */
struct memory *memory_open(uint64_t wanted, const char *proc, const char *groups);
void memory_close(struct memory *memory);

/* Whether memory_used() has to be told what the kernel holds for our sockets, because nobody else counts it. */
bool memory_counts_sockets(const struct memory *memory);
struct memory_use {
    uint64_t used, limit;
};
/* false: it cannot be read just now. */
bool memory_read(struct memory *memory, uint64_t in_sockets, struct memory_use *use);
const char *memory_limited_by(const struct memory *memory); /* for the log */

/* What `use` amounts to. Each level is left later than it is entered, so that it does not flap. */
enum memory_level memory_level_of(struct memory_use use, enum memory_level before);
/* How much of it has to go so that it is critical no more. */
uint64_t memory_excess(struct memory_use use);

#endif
