/*
 * Which slots of the map are free. All workers take from one pool; a slot that was given back rests for a second,
 * because the program may still be working on a packet of its last association.
 */
#ifndef CONESOCKS_KERNEL_SLOT_POOL_H
#define CONESOCKS_KERNEL_SLOT_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define SLOT_POOL_REST_MS 1000
#define SLOT_POOL_NONE    UINT32_MAX

struct slot_pool;

/* All are free. NULL: no memory. */
struct slot_pool *slot_pool_new(uint32_t slots);
/* NULL is fine. */
void slot_pool_free(struct slot_pool *pool);

/* From any thread. The slot that has been free for longest; SLOT_POOL_NONE: none is free and has rested. */
uint32_t slot_pool_take(struct slot_pool *pool, uint64_t now_ms);
void slot_pool_give(struct slot_pool *pool, uint32_t slot, uint64_t now_ms);
uint32_t slot_pool_used(struct slot_pool *pool);

#endif
