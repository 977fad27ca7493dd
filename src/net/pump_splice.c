/*
 * Splicing: the kernel moves pages from one socket through a pipe to the other. A pipe is two descriptors and some
 * memory, so a pump holds one only while bytes are inside.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "net/pump_impl.h"
#include "net/reserve.h"

bool pump_take_pipe(struct pump *pump, struct pump_pool *pool)
{
    assert(pump->pipe[0] < 0);
    if (pool->pipe_count) {
        const int *pipe = pool->pipes[--pool->pipe_count];
        if (pool->pipe_count < pool->pipe_count_least)
            pool->pipe_count_least = pool->pipe_count;
        pump->pipe[0] = pipe[0];
        pump->pipe[1] = pipe[1];
        return true;
    }
    if (pool->saves_memory)
        return false;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    if (reserve_keep(pool->reserve, ends[1]) < 0) { /* the higher number */
        close(ends[0]);
        return false;
    }
    pump->pipe[0] = ends[0];
    pump->pipe[1] = ends[1];
    /* The kernel may refuse to an unprivileged user with many pipes: then it holds less and works all the same. */
    (void)fcntl(pump->pipe[1], F_SETPIPE_SZ, PUMP_BUFFER_SIZE);
    return true;
}

void pump_return_pipe(struct pump *pump, struct pump_pool *pool)
{
    assert(pump->pipe[0] >= 0 && pump->pipe[1] >= 0);
    if (pump->in_pipe == 0 && pool->pipe_count < PUMP_PIPES_KEPT && !pool->saves_memory) {
        int *pipe = pool->pipes[pool->pipe_count++];
        pipe[0] = pump->pipe[0];
        pipe[1] = pump->pipe[1];
    } else {
        close(pump->pipe[0]);
        close(pump->pipe[1]);
    }
    pump->pipe[0] = pump->pipe[1] = -1;
    pump->in_pipe = 0;
}

enum pump_state pump_splice_rest(struct pump *pump)
{
    while (pump->in_pipe) {
        ssize_t n = splice(pump->pipe[0], NULL, pump->to, NULL, pump->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0)
            return errno == EAGAIN ? PUMP_WAITS_TO_WRITE : pump_broken(pump, PUMP_FAILED_TO, errno);
        pump->in_pipe -= (size_t)n;
        pump->bytes += (uint64_t)n;
    }
    return PUMP_GOES_ON;
}

bool pump_splice(struct pump *pump, size_t limit, enum pump_state *state)
{
    ssize_t n = splice(pump->from, NULL, pump->pipe[1], NULL, limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n == 0)
        return false;
    if (n < 0) {
        pump->flows = false; /* so the next read copies, whether data has come or splice() stands at urgent data */
        *state = errno == EAGAIN ? PUMP_WAITS_TO_READ : pump_broken(pump, PUMP_FAILED_FROM, errno);
        return true;
    }
    pump->taken += (uint64_t)n;
    pump->in_pipe = (size_t)n;
    *state = pump_splice_rest(pump);
    return true;
}
