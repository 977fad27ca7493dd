#include "daemon/drain.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "server"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/crew.h"
#include "daemon/listeners.h"
#include "daemon/worker.h"
#include "policy/quota.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/env.h"

#define LOG_PERIOD_MS (10 * 1000)

static const struct timeval drain_poll_period = {.tv_usec = 250 * 1000};

struct drain {
    struct event timer;
    struct crew_round *round;
    struct host *host;
    void (*over)(void *arg);
    void *arg;
    bool under_way;
    bool closed; /* no worker accepts any more, nor takes from others: from now on the number of sessions only falls */
    enum drain_waiting waiting;
    uint64_t until_ms; /* 0: no limit */
    uint64_t logged_ms;
    uint32_t logged_left;
};

static uint32_t drain_sessions_left(const struct drain *drain)
{
    return quota_held(quota_of_all(drain->host->quota), QUOTA_SESSIONS);
}

/* On the worker's thread. */
static void drain_close_listeners(struct crew_turn *turn)
{
    const struct drain *drain = turn->arg;
    struct listeners *listeners = worker_listeners(turn->worker);
    if (drain->waiting == DRAIN_TAKE_WAITING)
        listeners_accept_waiting(listeners);
    listeners_close(listeners);
    crew_turn_end(turn);
}

/* On the worker's thread: what other workers had handed over to it before has begun. */
static void drain_have_begun(struct crew_turn *turn)
{
    crew_turn_end(turn);
}

static void drain_on_begun(void *arg)
{
    struct drain *drain = arg;
    drain->closed = true;
}

static void drain_on_closed(void *arg)
{
    struct drain *drain = arg;
    crew_round_begin(drain->round, drain_have_begun, drain_on_begun);
}

static void drain_finish(struct drain *drain)
{
    event_del(&drain->timer);
    drain->over(drain->arg);
}

static void drain_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct drain *drain = arg;
    if (!drain->closed)
        return;
    uint64_t now = clock_coarse_ms();
    uint32_t left = drain_sessions_left(drain);
    if (left == 0 && !handover_link_has_previous(drain->host)) {
        log_info("the last session has ended");
        drain_finish(drain);
    } else if (drain->until_ms && now >= drain->until_ms) {
        log_warning("timeouts.drain is over: %" PRIu32 " session%s cut", left, left == 1 ? " is" : "s are");
        drain_finish(drain);
    } else if (left != drain->logged_left && now - drain->logged_ms >= LOG_PERIOD_MS) {
        log_info("%" PRIu32 " session%s left", left, left == 1 ? "" : "s");
        drain->logged_left = left;
        drain->logged_ms = now;
    }
}

struct drain *drain_new(struct event_base *base, struct crew *crew, struct host *host, void (*over)(void *arg),
                        void *arg)
{
    struct drain *drain = calloc(1, sizeof(*drain));
    struct crew_round *round = drain ? crew_round_new(crew, drain) : NULL;
    if (!round) {
        free(drain);
        return NULL;
    }
    *drain = (struct drain){.round = round, .host = host, .over = over, .arg = arg};
    event_assign(&drain->timer, base, -1, EV_PERSIST, drain_on_timer, drain);
    return drain;
}

void drain_begin(struct drain *drain, enum drain_waiting waiting, uint64_t limit_ms)
{
    uint32_t left = drain_sessions_left(drain);
    char limit[48] = "";
    if (limit_ms)
        snprintf(limit, sizeof(limit), " for at most %" PRIu64 " s", (limit_ms + 999) / 1000);
    log_info("accepting no new connections; %" PRIu32 " session%s%s", left, left == 1 ? " continues" : "s continue",
             limit);
    drain->until_ms = limit_ms ? clock_coarse_ms() + limit_ms : 0;
    if (drain->under_way)
        return;
    assert(!drain->closed);
    drain->under_way = true;
    drain->waiting = waiting;
    drain->logged_left = left;
    drain->logged_ms = clock_coarse_ms();
    crew_round_begin(drain->round, drain_close_listeners, drain_on_closed);
    event_add(&drain->timer, &drain_poll_period);
}

bool drain_is_under_way(const struct drain *drain)
{
    return drain->under_way;
}

void drain_free(struct drain *drain)
{
    if (!drain)
        return;
    event_del(&drain->timer);
    crew_round_free(drain->round);
    free(drain);
}
