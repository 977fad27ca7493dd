/*
 * A kernel path that the test owns: kernel_world.c defines the functions of kernel/kernel_path.h. It relays nothing;
 * the test says what was relayed.
 */
#ifndef CONESOCKS_TEST_SIM_KERNEL_WORLD_H
#define CONESOCKS_TEST_SIM_KERNEL_WORLD_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel_path.h"

/* From now on the association finds a kernel path. */
void kernel_world_begin(void);

/* While not 0, no slot can be opened. */
extern int kernel_world_error;
extern bool kernel_world_paused;
/* How a slot was opened last. */
extern union netaddr kernel_world_client, kernel_world_relay, kernel_world_external;
extern struct kernel_slot_setup kernel_world_setup;
extern unsigned kernel_world_revoked;
/* The direction (enum kernel_way) of which nothing arrives in user space; -1: none. */
extern int kernel_world_stuck;

size_t kernel_world_slots(void);
/* What was called since the last time, oldest first, such as "new sent:192.0.2.10:53 up:1". */
const char *kernel_world_calls(void);
/* What the program may still relay by the open slot. */
struct kernel_credit kernel_world_credit(enum kernel_way way);
/* The program has relayed that much by the open slot. */
void kernel_world_relays(enum kernel_way way, uint64_t datagrams, uint64_t bytes, uint64_t at_ms);

#endif
