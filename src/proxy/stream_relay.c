/* A stream that has reached its destination. */
#include <event2/event.h>

#include "net/sock.h"
#include "policy/rates.h"
#include "proxy/stream_impl.h"

/* A stream that ends sooner is not worth the system calls that watch over its outgoing side. */
#define SHORT_LIFE_MS 10000

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct direction *direction, int fd, short what)
{
    if (event_initialized(&direction->event)) {
        if (event_get_fd(&direction->event) == fd && event_get_events(&direction->event) == (what | EV_PERSIST))
            return;
        event_del(&direction->event);
    }
    event_assign(&direction->event, direction->stream->env->base, fd, (short)(what | EV_PERSIST), on_ready, direction);
    event_add(&direction->event, NULL);
}

/* Neither end is watched meanwhile: what is there to read would wake it for nothing. */
static void rest(struct direction *direction, uint32_t ms)
{
    const struct timeval pause = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_del(&direction->event);
    event_assign(&direction->event, direction->stream->env->base, -1, 0, on_ready, direction);
    event_add(&direction->event, &pause);
}

static const char *broken_text(const struct stream *stream, const struct direction *direction)
{
    return direction == &stream->up ? "broken on the way from the client" : "broken on the way from the destination";
}

/* Moves what may be moved. Returns how long to rest, 0: not at all. */
static uint32_t take_turn(struct direction *direction)
{
    struct stream *stream = direction->stream;
    struct pump *pump = &direction->pump;
    if (!stream->rates) {
        pump_run(pump, stream->env->pumps, PUMP_NO_LIMIT);
        return 0;
    }
    enum rates_way way = direction == &stream->up ? RATES_UP : RATES_DOWN;
    uint64_t now = env_now(stream->env), before = pump->taken;
    uint64_t limit = rates_allow(stream->rates, way, now);
    pump_run(pump, stream->env->pumps, limit);
    rates_charge(stream->rates, way, pump->taken - before, now);
    return pump->state == PUMP_GOES_ON && pump->taken - before == limit ? rates_rest(stream->rates, way, now) : 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct direction *direction = arg;
    struct stream *stream = direction->stream;
    struct direction *other = direction == &stream->up ? &stream->down : &stream->up;
    struct metrics *metrics = &stream->env->metrics;
    uint64_t before = direction->pump.bytes;
    uint32_t rest_ms = take_turn(direction);
    metrics_add(direction == &stream->up ? &metrics->stream_up_bytes_total : &metrics->stream_down_bytes_total,
                direction->pump.bytes - before);
    switch (direction->pump.state) {
    case PUMP_WAITS_TO_READ:
    case PUMP_GOES_ON:
        if (rest_ms)
            rest(direction, rest_ms);
        else
            wait_for(direction, direction->pump.from, EV_READ);
        break;
    case PUMP_WAITS_TO_WRITE:
        direction->stuck_since_ms = env_now(stream->env);
        wait_for(direction, direction->pump.to, EV_WRITE);
        break;
    case PUMP_DONE:
        event_del(&direction->event);
        if (other->pump.state == PUMP_DONE)
            stream->hooks.ended(stream->hooks.arg,
                                direction == &stream->up ? "destination closed first" : "client closed first", false);
        break;
    case PUMP_BROKEN:
        stream->hooks.ended(stream->hooks.arg, broken_text(stream, direction), true);
        break;
    }
}

void stream_relay(struct stream *stream, int client_fd)
{
    stream->relaying_since_ms = env_now(stream->env);
    stream->up.stream = stream->down.stream = stream;
    pump_init(&stream->up.pump, client_fd, stream->remote_fd);
    pump_init(&stream->down.pump, stream->remote_fd, client_fd);
    wait_for(&stream->up, client_fd, EV_READ);
    wait_for(&stream->down, stream->remote_fd, EV_READ);
}

bool stream_sweep(struct stream *stream, uint64_t now_ms)
{
    const struct pump *up = &stream->up.pump, *down = &stream->down.pump;
    if (!stream->keeps_alive && now_ms - stream->relaying_since_ms >= SHORT_LIFE_MS) {
        sock_keepalive(stream->remote_fd);
        stream->keeps_alive = true;
    }
    return (up->state == PUMP_DONE && sock_is_lost(up->from)) || (down->state == PUMP_DONE && sock_is_lost(down->from));
}

uint64_t stream_stuck_since(const struct stream *stream)
{
    uint64_t since = UINT64_MAX;
    const struct direction *both[] = {&stream->up, &stream->down};
    for (int i = 0; i < 2; i++)
        if (both[i]->pump.state == PUMP_WAITS_TO_WRITE && both[i]->stuck_since_ms < since)
            since = both[i]->stuck_since_ms;
    return since;
}

size_t stream_memory(const struct stream *stream)
{
    size_t held = sizeof(*stream);
    if (stream->up.stream)
        held += pump_held(&stream->up.pump) + pump_held(&stream->down.pump) + sock_memory(stream->up.pump.from);
    return held + (stream->remote_fd >= 0 ? sock_memory(stream->remote_fd) : 0);
}

void stream_give_up(struct stream *stream, const char *why)
{
    stream->hooks.ended(stream->hooks.arg, why, true);
}

static void stop(struct direction *direction)
{
    if (!direction->stream)
        return;
    event_del(&direction->event);
    pump_deinit(&direction->pump, direction->stream->env->pumps);
}

void stream_stop_relay(struct stream *stream)
{
    stop(&stream->up);
    stop(&stream->down);
}
