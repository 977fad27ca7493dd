#include "net/pump.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/pump_impl.h"

#define ROUNDS 4 /* before others have their turn */
/* What a request or a short answer fits in. A sender that fills it is likely to have more. */
#define SMALL (16 * 1024)

struct pump_pool *pump_pool_new(bool splice, struct descriptor_reserve *reserve)
{
    struct pump_pool *pool = malloc(sizeof(*pool));
    if (pool) {
        pool->reserve = reserve;
        pool->splice = splice;
        pool->saves_memory = false;
        pool->pipe_count = pool->pipe_count_least = 0;
    }
    return pool;
}

static void pump_pool_close_pipes(struct pump_pool *pool, size_t count)
{
    while (count--) {
        const int *pipe = pool->pipes[--pool->pipe_count];
        close(pipe[0]);
        close(pipe[1]);
    }
}

void pump_pool_trim(struct pump_pool *pool)
{
    pump_pool_close_pipes(pool, pool->pipe_count_least);
    pool->pipe_count_least = pool->pipe_count;
}

void pump_pool_save_memory(struct pump_pool *pool, bool on)
{
    pool->saves_memory = on;
    if (on)
        pump_pool_close_pipes(pool, pool->pipe_count);
    pool->pipe_count_least = pool->pipe_count;
}

void pump_pool_free(struct pump_pool *pool)
{
    if (!pool)
        return;
    pump_pool_close_pipes(pool, pool->pipe_count);
    free(pool);
}

void pump_init(struct pump *pump, int from, int to)
{
    *pump = (struct pump){.from = from, .to = to, .state = PUMP_GOES_ON, .pipe = {-1, -1}};
}

void pump_begin_with(struct pump *pump, uint8_t *bytes, size_t len)
{
    assert(!pump->rest && pump->taken == 0 && len > 0);
    pump->rest = bytes;
    pump->rest_len = len;
    pump->taken = len;
    pump->state = PUMP_WAITS_TO_WRITE;
}

void pump_deinit(struct pump *pump, struct pump_pool *pool)
{
    free(pump->rest);
    pump->rest = NULL;
    if (pump->pipe[0] >= 0)
        pump_return_pipe(pump, pool);
}

size_t pump_held(const struct pump *pump)
{
    assert(!pump->rest || pump->in_pipe == 0); /* in one of two places */
    return pump->in_pipe + (pump->rest ? pump->rest_len - pump->rest_at : 0);
}

size_t pump_descriptors(const struct pump *pump)
{
    return pump->in_pipe ? 2 : 0;
}

static enum pump_state pump_write_rest(struct pump *pump)
{
    if (pump->rest)
        return pump_copy_rest(pump);
    return pump->in_pipe ? pump_splice_rest(pump) : PUMP_GOES_ON;
}

static enum pump_state pump_move(struct pump *pump, struct pump_pool *pool, uint64_t limit)
{
    assert(limit > 0 && pump_held(pump) == 0); /* what came first leaves first */
    enum pump_state state;
    const bool splices = pump->pipe[0] >= 0 || (pump->flows && pool->splice && pump_take_pipe(pump, pool));
    if (splices && pump_splice(pump, limit < PUMP_BUFFER_SIZE ? (size_t)limit : PUMP_BUFFER_SIZE, &state))
        return state;
    size_t large = pool->splice || pool->saves_memory ? SMALL : PUMP_BUFFER_SIZE;
    uint64_t before = pump->bytes;
    state = pump_copy(pump, pool, limit < large ? (size_t)limit : large);
    pump->flows = pump->bytes - before == large;
    return state;
}

enum pump_state pump_run(struct pump *pump, struct pump_pool *pool, uint64_t limit)
{
    uint64_t before = pump->taken;
    pump->state = pump_write_rest(pump);
    for (int i = 0; i < ROUNDS && pump->state == PUMP_GOES_ON && pump->taken - before < limit; i++)
        pump->state = pump_move(pump, pool, limit - (pump->taken - before));
    if (pump->pipe[0] >= 0 && pump->in_pipe == 0)
        pump_return_pipe(pump, pool);
    return pump->state;
}
