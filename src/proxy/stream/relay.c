/* A stream that has reached its destination. */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/sock.h"
#include "policy/rates.h"
#include "proxy/stream/stream_impl.h"

/* A stream that ends sooner is not worth the system calls that watch over its outgoing side. */
#define SHORT_LIFE_MS 10000
/* When one end has failed, the other has so long to take what had come from it. */
#define LAST_WORDS_MS 60000
/* Whether it has is asked after this long, and then less and less often. */
#define LAST_WORDS_STEP_MS 20

static void direction_on_ready(evutil_socket_t fd, short what, void *arg);

/* EV_CLOSED, with EV_READ: the end has come behind what there is to read. */
#define INPUT (EV_READ | EV_CLOSED)

static void direction_wait_for(struct direction *direction, int fd, short what)
{
    if (event_initialized(&direction->event)) {
        if (event_get_fd(&direction->event) == fd && event_get_events(&direction->event) == (what | EV_PERSIST))
            return;
        event_del(&direction->event);
    }
    event_assign(&direction->event, direction->stream->env->base, fd, (short)(what | EV_PERSIST), direction_on_ready,
                 direction);
    event_add(&direction->event, NULL);
}

/* Neither end is watched meanwhile: what is there to read would wake it for nothing. */
static void direction_rest(struct direction *direction, uint32_t ms)
{
    const struct timeval pause = timeval_from_ms(ms);
    event_del(&direction->event);
    event_assign(&direction->event, direction->stream->env->base, -1, 0, direction_on_ready, direction);
    event_add(&direction->event, &pause);
}

/* Moves what may be moved. Returns how long to rest, 0: not at all. */
static uint32_t direction_take_turn(struct direction *direction)
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

/*
 * ---- when one end has failed ----
 *
 * What it sent before is in our hands, or still in its socket: a server that refuses an upload answers, and resets the
 * connection right behind the answer. The direction that comes from it continues until the other end has acknowledged
 * everything, and only then that end is reset, for a reset overtakes what has not been sent yet. What the other end
 * still sends meanwhile has nowhere to go.
 */

static struct direction *direction_opposite(const struct direction *direction)
{
    struct stream *stream = direction->stream;
    return direction == &stream->up ? &stream->down : &stream->up;
}

static bool direction_is_over(const struct direction *direction)
{
    return direction->pump.state == PUMP_DONE || direction->pump.state == PUMP_BROKEN;
}

static void stream_end_failed(struct stream *stream)
{
    const char *end = stream->failed.last == &stream->up ? "client" : "destination";
    const int error = stream->failed.error;
    assert(stream->failed.last);
    char why[128];
    if (error == ECONNRESET || error == EPIPE)
        snprintf(why, sizeof(why), "the %s reset its connection", end);
    else if (error == ETIMEDOUT)
        snprintf(why, sizeof(why), "the %s vanished: it has acknowledged nothing for two minutes", end);
    else
        snprintf(why, sizeof(why), "the %s's connection failed: %s", end, strerror(error));
    stream->hooks.ended(stream->hooks.arg, why, true);
}

/* All that the failed end had sent is written: has the other end got it? */
static void direction_await_last_words(struct direction *last)
{
    struct stream *stream = last->stream;
    const uint64_t now = env_now(stream->env), until = stream->failed.until_ms;
    assert(last == stream->failed.last && direction_is_over(last));
    if (!sock_awaits_acknowledgment(last->pump.to) || now >= until)
        stream_end_failed(stream);
    else
        direction_rest(last, (uint32_t)(LAST_WORDS_STEP_MS + (LAST_WORDS_MS - (until - now)) / 4));
}

/* The end that `last` comes from has failed. The stream may be gone afterwards. */
static void direction_begin_last_words(struct direction *last, int error)
{
    struct stream *stream = last->stream;
    struct direction *other = direction_opposite(last);
    assert(!stream->failed.last && error != 0);
    stream->failed.last = last;
    stream->failed.error = error;
    stream->failed.until_ms = env_now(stream->env) + LAST_WORDS_MS;
    /* EPIPE: its end came before it failed, and may be forwarded. Otherwise a cut answer must not look complete. */
    last->pump.hides_end = error != EPIPE;
    if (error == ETIMEDOUT) /* what the kernel still waits for will not come */
        shutdown(last->pump.from, SHUT_RD);
    if (other->pump.state == PUMP_DONE)
        event_del(&other->event);
    else
        direction_wait_for(other, other->pump.from, INPUT);
    if (direction_is_over(last))
        direction_await_last_words(last);
}

static void direction_discard(struct direction *direction)
{
    struct stream *stream = direction->stream;
    if (pump_discard(&direction->pump, stream->env->pumps))
        return;
    event_del(&direction->event);
    if (sock_is_lost(direction->pump.from)) /* nobody is left to deliver to */
        stream_end_failed(stream);
}

static void direction_on_broken(struct direction *direction)
{
    struct stream *stream = direction->stream;
    const struct pump *pump = &direction->pump;
    if (pump->failed == PUMP_FAILED_NOTHING)
        stream->hooks.ended(stream->hooks.arg, "out of memory", true);
    else if (!stream->failed.last)
        direction_begin_last_words(pump->failed == PUMP_FAILED_FROM ? direction : direction_opposite(direction),
                                   pump->error);
    else if (pump->failed == PUMP_FAILED_FROM)
        direction_await_last_words(direction);
    else
        stream_end_failed(stream);
}

/* ---- relaying ---- */

static void direction_run(struct direction *direction)
{
    struct stream *stream = direction->stream;
    struct metrics *metrics = &stream->env->metrics;
    uint64_t before = direction->pump.bytes;
    /* The second direction to end is followed by closing both sockets. */
    direction->pump.to_is_closed_next = !stream->failed.last && direction_opposite(direction)->pump.state == PUMP_DONE;
    uint32_t rest_ms = direction_take_turn(direction);
    metrics_add(direction == &stream->up ? &metrics->stream_up_bytes_total : &metrics->stream_down_bytes_total,
                direction->pump.bytes - before);
    switch (direction->pump.state) {
    case PUMP_WAITS_TO_READ:
    case PUMP_GOES_ON:
        if (rest_ms)
            direction_rest(direction, rest_ms);
        else
            direction_wait_for(direction, direction->pump.from, INPUT);
        break;
    case PUMP_WAITS_TO_WRITE:
        direction->stuck_since_ms = env_now(stream->env);
        direction_wait_for(direction, direction->pump.to, EV_WRITE);
        break;
    case PUMP_DONE:
        event_del(&direction->event);
        if (direction == stream->failed.last)
            direction_await_last_words(direction);
        else if (stream_is_complete(stream))
            stream->hooks.ended(stream->hooks.arg,
                                direction == &stream->up ? "destination closed first" : "client closed first", false);
        break;
    case PUMP_BROKEN:
        direction_on_broken(direction);
        break;
    }
}

static void direction_on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct direction *direction = arg;
    direction->pump.from_ended |= (what & EV_CLOSED) != 0;
    const struct direction *last = direction->stream->failed.last;
    if (last && direction != last)
        direction_discard(direction);
    else if (last && direction_is_over(direction))
        direction_await_last_words(direction);
    else if (direction->pump.state == PUMP_BROKEN)
        direction_on_broken(direction);
    else
        direction_run(direction);
}

bool stream_is_complete(const struct stream *stream)
{
    return !stream->failed.last && stream->up.pump.state == PUMP_DONE && stream->down.pump.state == PUMP_DONE;
}

static void direction_begin(struct direction *direction, struct stream *stream, int from, int to)
{
    direction->stream = stream;
    pump_init(&direction->pump, from, to);
    direction_wait_for(direction, from, INPUT);
}

void stream_watch_destination(struct stream *stream, int fd)
{
    direction_begin(&stream->down, stream, fd, -1);
}

/* A new connection usually takes it at once. If it has failed instead, that is told from the loop. */
static void stream_send_early(struct stream *stream)
{
    struct direction *up = &stream->up;
    const uint64_t now = env_now(stream->env);
    if (stream->rates)
        rates_charge(stream->rates, RATES_UP, stream->early_len, now);
    pump_begin_with(&up->pump, stream->early, stream->early_len);
    stream->early = NULL;
    const enum pump_state state = pump_run(&up->pump, stream->env->pumps, 0);
    metrics_add(&stream->env->metrics.stream_up_bytes_total, up->pump.bytes);
    if (state == PUMP_WAITS_TO_WRITE) {
        up->stuck_since_ms = now;
        direction_wait_for(up, stream->remote_fd, EV_WRITE);
    } else if (state == PUMP_BROKEN) {
        event_active(&up->event, EV_WRITE, 0);
    }
}

void stream_relay(struct stream *stream, int client_fd)
{
    assert(!stream->reaching && stream->remote_fd >= 0 && !stream->up.stream); /* once */
    stream->relaying_since_ms = stream->carried_at_ms = env_now(stream->env);
    direction_begin(&stream->up, stream, client_fd, stream->remote_fd);
    direction_begin(&stream->down, stream, stream->remote_fd, client_fd);
    if (stream->early)
        stream_send_early(stream);
}

static bool stream_is_idle(struct stream *stream, uint64_t now_ms)
{
    const uint64_t limit = stream->env->config->timeouts.stream_idle_ms;
    const uint64_t carried =
        stream->up.pump.taken + stream->up.pump.bytes + stream->down.pump.taken + stream->down.pump.bytes;
    if (carried != stream->carried_before)
        stream->carried_at_ms = now_ms;
    stream->carried_before = carried;
    return limit && now_ms - stream->carried_at_ms >= limit;
}

/* Why the end that a direction comes from has failed, as an errno; 0: it has not. */
static int direction_find_failure(const struct direction *direction, bool asks)
{
    const int fd = direction->pump.from;
    /* After its half-close nothing listens to an end: the loop would report that end again and again. */
    if (direction->pump.state == PUMP_DONE && sock_is_lost(fd))
        return EPIPE;
    return asks && sock_has_vanished(fd) ? ETIMEDOUT : 0;
}

void stream_sweep(struct stream *stream, uint64_t now_ms, bool asks)
{
    if (!stream->keeps_alive && now_ms - stream->relaying_since_ms >= SHORT_LIFE_MS) {
        sock_keepalive(stream->remote_fd);
        stream->keeps_alive = true;
    }
    if (stream->failed.last) {
        if (now_ms >= stream->failed.until_ms)
            stream_end_failed(stream);
        return;
    }
    const int up_failed = direction_find_failure(&stream->up, asks),
              down_failed = direction_find_failure(&stream->down, asks);
    if (up_failed)
        direction_begin_last_words(&stream->up, up_failed);
    else if (down_failed)
        direction_begin_last_words(&stream->down, down_failed);
    else if (stream_is_idle(stream, now_ms))
        stream->hooks.ended(stream->hooks.arg, "idle (timeouts.stream_idle)", true);
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

static void direction_stop(struct direction *direction)
{
    if (!direction->stream)
        return;
    event_del(&direction->event);
    pump_deinit(&direction->pump, direction->stream->env->pumps);
}

void stream_stop_relay(struct stream *stream)
{
    direction_stop(&stream->up);
    direction_stop(&stream->down);
}
