#include "kernel/slot_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

/* A ring: slots are taken at `first` and given back behind the last, so the first one has rested longest. */
struct slot_pool {
    pthread_mutex_t lock;
    uint32_t slots, first, free;
    struct free_slot {
        uint64_t ready_ms;
        uint32_t slot;
    } ring[];
};

struct slot_pool *slot_pool_new(uint32_t slots)
{
    struct slot_pool *pool = calloc(1, sizeof(*pool) + slots * sizeof(struct free_slot));
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->slots = pool->free = slots;
    for (uint32_t i = 0; i < slots; i++)
        pool->ring[i].slot = i;
    return pool;
}

void slot_pool_free(struct slot_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

uint32_t slot_pool_take(struct slot_pool *pool, uint64_t now_ms)
{
    uint32_t slot = SLOT_POOL_NONE;
    pthread_mutex_lock(&pool->lock);
    const struct free_slot *oldest = &pool->ring[pool->first];
    if (pool->free > 0 && oldest->ready_ms <= now_ms) {
        slot = oldest->slot;
        pool->first = (pool->first + 1) % pool->slots;
        pool->free--;
    }
    pthread_mutex_unlock(&pool->lock);
    return slot;
}

void slot_pool_give(struct slot_pool *pool, uint32_t slot, uint64_t now_ms)
{
    pthread_mutex_lock(&pool->lock);
    assert(slot < pool->slots && pool->free < pool->slots);
    pool->ring[(pool->first + pool->free) % pool->slots] = (struct free_slot){now_ms + SLOT_POOL_REST_MS, slot};
    pool->free++;
    pthread_mutex_unlock(&pool->lock);
}

uint32_t slot_pool_used(struct slot_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const uint32_t used = pool->slots - pool->free;
    pthread_mutex_unlock(&pool->lock);
    return used;
}
