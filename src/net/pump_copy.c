/*
 * The plain implementation: read into the worker's buffer, write from it. What the reader does not take is kept aside
 * until it does, and nothing more is read meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/pump.h"

#define BUFFER_SIZE (256 * 1024)
#define SHARE       4 /* rounds before others have their turn */

struct pump_pool {
    uint8_t buffer[BUFFER_SIZE];
};

struct pump_pool *pump_pool_new(void)
{
    return malloc(sizeof(struct pump_pool));
}

void pump_pool_free(struct pump_pool *pool)
{
    free(pool);
}

void pump_init(struct pump *pump, int from, int to)
{
    *pump = (struct pump){.from = from, .to = to, .state = PUMP_GOES_ON};
}

void pump_deinit(struct pump *pump)
{
    free(pump->rest);
    pump->rest = NULL;
    pump->rest_len = pump->rest_at = 0;
}

static enum pump_state broken(struct pump *pump, int error)
{
    pump->error = error;
    return PUMP_BROKEN;
}

static enum pump_state hand_on_end(struct pump *pump)
{
    if (shutdown(pump->to, SHUT_WR) < 0 && errno != ENOTCONN)
        return broken(pump, errno);
    return PUMP_DONE;
}

static enum pump_state write_rest(struct pump *pump)
{
    while (pump->rest_at < pump->rest_len) {
        ssize_t n = send(pump->to, pump->rest + pump->rest_at, pump->rest_len - pump->rest_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? PUMP_WAITS_TO_WRITE : broken(pump, errno);
        pump->rest_at += (size_t)n;
        pump->bytes += (uint64_t)n;
    }
    pump_deinit(pump);
    return PUMP_GOES_ON;
}

static enum pump_state keep_rest(struct pump *pump, const uint8_t *data, size_t len)
{
    pump->rest = malloc(len);
    if (!pump->rest)
        return broken(pump, ENOMEM);
    memcpy(pump->rest, data, len);
    pump->rest_len = len;
    return PUMP_WAITS_TO_WRITE;
}

static enum pump_state move_once(struct pump *pump, struct pump_pool *pool)
{
    ssize_t n = recv(pump->from, pool->buffer, sizeof(pool->buffer), 0);
    if (n < 0)
        return errno == EAGAIN ? PUMP_WAITS_TO_READ : broken(pump, errno);
    if (n == 0) {
        pump->ended = true;
        return hand_on_end(pump);
    }
    ssize_t sent = send(pump->to, pool->buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            return broken(pump, errno);
        sent = 0;
    }
    pump->bytes += (uint64_t)sent;
    if (sent < n)
        return keep_rest(pump, pool->buffer + sent, (size_t)(n - sent));
    return PUMP_GOES_ON;
}

enum pump_state pump_run(struct pump *pump, struct pump_pool *pool)
{
    pump->state = pump->rest ? write_rest(pump) : PUMP_GOES_ON;
    for (int i = 0; i < SHARE && pump->state == PUMP_GOES_ON; i++)
        pump->state = move_once(pump, pool);
    return pump->state;
}
