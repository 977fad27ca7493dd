/*
 * Copying: read into the worker's buffer, write from it. What the reader does not take is kept aside until it does, and
 * nothing more is read meanwhile.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/pump_impl.h"

enum pump_state pump_copy_rest(struct pump *pump)
{
    while (pump->rest_at < pump->rest_len) {
        ssize_t n = send(pump->to, pump->rest + pump->rest_at, pump->rest_len - pump->rest_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? PUMP_WAITS_TO_WRITE : pump_broken(pump, PUMP_FAILED_TO, errno);
        pump->rest_at += (size_t)n;
        pump->bytes += (uint64_t)n;
    }
    free(pump->rest);
    pump->rest = NULL;
    return PUMP_GOES_ON;
}

static enum pump_state pump_keep_rest(struct pump *pump, const uint8_t *data, size_t len)
{
    assert(!pump->rest && len > 0);
    pump->rest = malloc(len);
    if (!pump->rest)
        return pump_broken(pump, PUMP_FAILED_NOTHING, ENOMEM);
    memcpy(pump->rest, data, len);
    pump->rest_at = 0;
    pump->rest_len = len;
    return PUMP_WAITS_TO_WRITE;
}

enum pump_state pump_copy(struct pump *pump, struct pump_pool *pool, size_t limit)
{
    ssize_t n = recv(pump->from, pool->buffer, limit, 0);
    if (n < 0)
        return errno == EAGAIN ? PUMP_WAITS_TO_READ : pump_broken(pump, PUMP_FAILED_FROM, errno);
    if (n == 0)
        return pump_hand_on_end(pump);
    pump->taken += (uint64_t)n;
    /* With MSG_MORE the last bytes and the end leave in one packet. */
    const bool ends = pump->from_ended && !pump->hides_end && (size_t)n < limit;
    ssize_t sent = send(pump->to, pool->buffer, (size_t)n, MSG_NOSIGNAL | (ends ? MSG_MORE : 0));
    if (sent < 0) {
        if (errno != EAGAIN)
            return pump_broken(pump, PUMP_FAILED_TO, errno);
        sent = 0;
    }
    pump->bytes += (uint64_t)sent;
    if (sent < n)
        return pump_keep_rest(pump, pool->buffer + sent, (size_t)(n - sent));
    /* A short read emptied the socket: asking again would only hear so, unless its end has come. */
    return (size_t)n < limit && !pump->from_ended ? PUMP_WAITS_TO_READ : PUMP_GOES_ON;
}

ssize_t pump_pool_discard(struct pump_pool *pool, int fd)
{
    /* A real buffer, although TCP copies nothing into it: sanitizers believe that it does. */
    return recv(fd, pool->buffer, sizeof(pool->buffer), MSG_TRUNC);
}

bool pump_discard(struct pump *pump, struct pump_pool *pool)
{
    ssize_t n = pump_pool_discard(pool, pump->from);
    return n > 0 || (n < 0 && errno == EAGAIN);
}
