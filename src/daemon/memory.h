/*
 * Reads how much memory this process may use, and how much it uses. The limit is that of a control group (systemd,
 * containers), which the kernel counts, or limits.memory, for which we count what belongs to us.
 */
#ifndef CONESOCKS_DAEMON_MEMORY_H
#define CONESOCKS_DAEMON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/memory_pressure.h"

struct memory;

/* `wanted` is limits.memory. `proc` and `groups` are /proc/self and /sys/fs/cgroup, whose files are opened only here:
 * the sandbox may put them out of reach later. NULL: there is no limit, or it cannot be read, which is logged. */
struct memory *memory_open(uint64_t wanted, const char *proc, const char *groups);
void memory_close(struct memory *memory);

/* Whether memory_read() has to be told what the kernel holds for our sockets, because it is not counted otherwise. */
bool memory_counts_sockets(const struct memory *memory);
struct memory_use {
    uint64_t used, limit;
};
/* false: it cannot be read at the moment. */
bool memory_read(struct memory *memory, uint64_t in_sockets, struct memory_use *use);
/* What sets the limit, for the log. */
const char *memory_limited_by(const struct memory *memory);

/* The level of `use`, coming from `before`. A level is left at a lower use than it is entered at, so it does not flap.
 */
enum memory_level memory_level_of(struct memory_use use, enum memory_level before);
/* How many bytes have to be freed to leave the critical level. */
uint64_t memory_excess(struct memory_use use);

#endif
