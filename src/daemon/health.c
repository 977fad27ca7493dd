#include "daemon/health.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/worker.h"

static const struct timeval period = {.tv_sec = 1};
/* Counted in rounds of ours, not by a clock: a process that was stopped, or a machine that slept, is not ill. */
#define ROUNDS_MAX 10

struct health {
    struct event timer;
    char complaint[128];
    struct worker *const *workers;
    size_t worker_count;
    unsigned silent[]; /* of each worker: for how many rounds */
};

void health_round(struct health *health)
{
    for (size_t i = 0; i < health->worker_count; i++)
        health->silent[i] = worker_ping(health->workers[i]) ? 0 : health->silent[i] + 1;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    health_round(arg);
}

struct health *health_new(struct event_base *base, struct worker *const *workers, size_t worker_count)
{
    struct health *health = calloc(1, sizeof(*health) + worker_count * sizeof(health->silent[0]));
    if (!health)
        return NULL;
    health->workers = workers;
    health->worker_count = worker_count;
    event_assign(&health->timer, base, -1, EV_PERSIST, on_timer, health);
    if (event_add(&health->timer, &period) == 0)
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
        if (health->silent[i] > longest)
            longest = health->silent[i];
    return longest;
}

const char *health_complaint(struct health *health)
{
    for (size_t i = 0; i < health->worker_count; i++) {
        if (health->silent[i] <= ROUNDS_MAX)
            continue;
        snprintf(health->complaint, sizeof(health->complaint), "worker %zu of %zu has not answered for %u s", i + 1,
                 health->worker_count, health->silent[i]);
        return health->complaint;
    }
    return NULL;
}
