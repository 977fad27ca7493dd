#include "daemon/drain.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#define LOG_MODULE "server"
#include "base/log.h"
#include "daemon/worker.h"
#include "policy/quota.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/env.h"

#define SAY_MS (10 * 1000)

static const struct timeval poll_period = {.tv_usec = 250 * 1000};

struct drain {
    struct event timer;
    struct worker **workers;
    size_t worker_count;
    struct host *host;
    void (*over)(void *arg);
    void *arg;
    bool under_way;
    uint64_t until_ms; /* 0: no limit */
    uint64_t said_ms;
    uint32_t said_left;
};

/* No worker accepts any more: from now on the number of sessions only falls. */
static bool is_closed(const struct drain *drain)
{
    for (size_t i = 0; i < drain->worker_count; i++)
        if (worker_accepts(drain->workers[i]))
            return false;
    return true;
}

static uint32_t sessions_left(const struct drain *drain)
{
    return quota_held(quota_of_all(drain->host->quota), QUOTA_SESSIONS);
}

static void finish(struct drain *drain)
{
    event_del(&drain->timer);
    drain->over(drain->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct drain *drain = arg;
    if (!is_closed(drain))
        return;
    uint64_t now = clock_coarse_ms();
    uint32_t left = sessions_left(drain);
    if (left == 0 && !handover_link_has_previous(drain->host)) {
        log_info("the last session has ended");
        finish(drain);
    } else if (drain->until_ms && now >= drain->until_ms) {
        log_warning("timeouts.drain is over: %" PRIu32 " session%s cut", left, left == 1 ? " is" : "s are");
        finish(drain);
    } else if (left != drain->said_left && now - drain->said_ms >= SAY_MS) {
        log_info("%" PRIu32 " session%s left", left, left == 1 ? "" : "s");
        drain->said_left = left;
        drain->said_ms = now;
    }
}

struct drain *drain_new(struct event_base *base, struct worker **workers, size_t worker_count, struct host *host,
                        void (*over)(void *arg), void *arg)
{
    struct drain *drain = calloc(1, sizeof(*drain));
    if (!drain)
        return NULL;
    *drain = (struct drain){.workers = workers, .worker_count = worker_count, .host = host, .over = over, .arg = arg};
    event_assign(&drain->timer, base, -1, EV_PERSIST, on_timer, drain);
    return drain;
}

void drain_begin(struct drain *drain, enum drain_waiting waiting, uint64_t limit_ms)
{
    uint32_t left = sessions_left(drain);
    char limit[48] = "";
    if (limit_ms)
        snprintf(limit, sizeof(limit), " for %" PRIu64 " s at most", (limit_ms + 999) / 1000);
    log_info("no new connections; %" PRIu32 " session%s on%s", left, left == 1 ? " goes" : "s go", limit);
    drain->until_ms = limit_ms ? clock_coarse_ms() + limit_ms : 0;
    if (drain->under_way)
        return;
    drain->under_way = true;
    drain->said_left = left;
    drain->said_ms = clock_coarse_ms();
    for (size_t i = 0; i < drain->worker_count; i++)
        worker_close(drain->workers[i], waiting == DRAIN_TAKE_WAITING);
    event_add(&drain->timer, &poll_period);
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
    free(drain);
}
