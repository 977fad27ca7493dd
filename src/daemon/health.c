#include "daemon/health.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "daemon/crew.h"
#include "daemon/worker.h"

static const struct timeval health_period = {.tv_sec = 1};
/* Counted in rounds of ours, not by a clock: a process that was stopped, or a machine that slept, is not ill. */
#define ROUNDS_MAX 10

struct health {
    struct event timer;
    char complaint[128];
    size_t worker_count;
    struct health_ping {
        struct inbox_item item; /* the worker's while `pending` */
        struct worker *worker;
        atomic_bool pending;
        unsigned silent; /* for how many rounds */
    } pings[];
};

/* On the worker's thread. */
static void health_on_ping(struct inbox_item *item)
{
    struct health_ping *ping = container_of(item, struct health_ping, item);
    assert(worker_is_current(ping->worker));
    atomic_store_explicit(&ping->pending, false, memory_order_release);
}

static void health_ping(struct health_ping *ping)
{
    if (atomic_load_explicit(&ping->pending, memory_order_acquire)) {
        ping->silent++;
        return;
    }
    ping->silent = 0;
    atomic_store_explicit(&ping->pending, true, memory_order_relaxed);
    worker_post(ping->worker, &ping->item);
}

void health_round(struct health *health)
{
    for (size_t i = 0; i < health->worker_count; i++)
        health_ping(&health->pings[i]);
}

static void health_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    health_round(arg);
}

struct health *health_new(struct event_base *base, const struct crew *crew)
{
    const size_t count = crew_size(crew);
    struct health *health = calloc(1, sizeof(*health) + count * sizeof(struct health_ping));
    if (!health)
        return NULL;
    health->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        health->pings[i].item.run = health_on_ping;
        health->pings[i].worker = crew_worker(crew, i);
    }
    event_assign(&health->timer, base, -1, EV_PERSIST, health_on_timer, health);
    if (event_add(&health->timer, &health_period) == 0)
        return health;
    free(health);
    return NULL;
}

void health_free(struct health *health)
{
    if (!health)
        return;
    event_del(&health->timer);
    free(health);
}

unsigned health_silent_s(const struct health *health)
{
    unsigned longest = 0;
    for (size_t i = 0; i < health->worker_count; i++)
        if (health->pings[i].silent > longest)
            longest = health->pings[i].silent;
    return longest;
}

const char *health_complaint(struct health *health)
{
    for (size_t i = 0; i < health->worker_count; i++) {
        if (health->pings[i].silent <= ROUNDS_MAX)
            continue;
        snprintf(health->complaint, sizeof(health->complaint), "worker %zu of %zu has not answered for %u s", i + 1,
                 health->worker_count, health->pings[i].silent);
        return health->complaint;
    }
    return NULL;
}
