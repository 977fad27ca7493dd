#include "daemon/status_query.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin/history.h"
#include "admin/status.h"
#include "base/clock.h"
#include "daemon/crew.h"
#include "daemon/memory.h"
#include "daemon/port_usage.h"
#include "daemon/pressure_watch.h"
#include "daemon/reload.h"
#include "daemon/user_usage.h"
#include "daemon/worker.h"
#include "host/host.h"
#include "policy/quota.h"
#include "proxy/env.h"

/* As many as the admin listener has connections, and some. */
#define STATUS_ASKERS_MAX 64

static const struct timeval history_period = {.tv_sec = HISTORY_PERIOD_MS / 1000};

/* A request that waits for an answer. */
struct status_asker {
    STAILQ_ENTRY(status_asker) link;
    struct admin_query query;
    bool draining;
    admin_done *done;
    void *arg;
};
STAILQ_HEAD(status_askers, status_asker);

struct status_query {
    struct status_query_scene scene;
    uint64_t started_ms;
    struct event timer;
    struct history *history;
    struct status_askers waiting; /* for a round to begin */
    struct status_askers asked;   /* the round that is under way is for them, and for the first one's query */
    size_t waiting_count;
    struct crew_round *round;
    struct session_list **lists; /* one for each worker */
};

static struct metrics status_query_totals(const struct status_query_scene *scene)
{
    struct metrics totals = {0};
    crew_sum_metrics(scene->crew, &totals);
    return totals;
}

/* ---- the answer ---- */

static char *status_query_write(const struct status_query *status_query, bool draining, uint32_t limit)
{
    const struct status_query_scene *scene = &status_query->scene;
    const struct reload_record *record = reload_record(scene->reload);
    const struct quota_account *all = quota_of_all(scene->host->quota);
    const struct metrics totals = status_query_totals(scene);
    struct status status = {
        .started = scene->started,
        .uptime_ms = clock_coarse_ms() - status_query->started_ms,
        .draining = draining,
        .configuration = {.file = scene->file,
                          .loaded = record->loaded,
                          .reloads = record->done,
                          .failed = record->failed,
                          .last_error = record->error,
                          .waiting_for_start = record->waiting},
        .snapshot = reload_snapshot(scene->reload),
        .kernel_path = admin_kernel_path_of(scene->host->kernel_path, scene->kernel_path_why),
        .totals = &totals,
        .sessions_held = quota_held(all, QUOTA_SESSIONS),
        .associations_held = quota_held(all, QUOTA_ASSOCIATIONS),
        .workers = status_query->lists,
        .worker_count = crew_size(scene->crew),
        .limit = limit,
    };
    struct status_users *users = user_usage_read(scene->host);
    if (!users)
        return NULL;
    status.users = users;
    status.port_count = port_usage(status.snapshot->config, scene->system_ports, status.ports);
    if (scene->pressure_watch) {
        struct memory_use use;
        status.memory.level = pressure_watch_level(scene->pressure_watch, &use);
        status.memory.known = use.limit > 0;
        status.memory.used = use.used;
        status.memory.limit = use.limit;
    }
    char *text = status_json(&status);
    free(users);
    return text;
}

/* All of them get the same text, or NULL when there is none. */
static void status_askers_answer(struct status_askers *askers, const char *text)
{
    for (struct status_asker *asker; (asker = STAILQ_FIRST(askers));) {
        STAILQ_REMOVE_HEAD(askers, link);
        asker->done(asker->arg, text ? strdup(text) : NULL);
        free(asker);
    }
}

static void status_query_free_lists(struct status_query *status_query)
{
    for (size_t i = 0; i < crew_size(status_query->scene.crew); i++) {
        free(status_query->lists[i]);
        status_query->lists[i] = NULL;
    }
}

/* ---- the question ---- */

static bool status_query_make_lists(struct status_query *status_query, size_t limit)
{
    for (size_t i = 0; i < crew_size(status_query->scene.crew); i++) {
        assert(!status_query->lists[i]);
        if (!(status_query->lists[i] = session_list_new(limit)))
            return false;
    }
    return true;
}

static bool status_asker_wants_same(const struct status_asker *a, const struct status_asker *b)
{
    return a->query.after == b->query.after && a->query.limit == b->query.limit && a->draining == b->draining;
}

/* The first of those that wait is next, together with all others that want the same. */
static void status_query_pick(struct status_query *status_query)
{
    struct status_askers others = STAILQ_HEAD_INITIALIZER(others);
    assert(STAILQ_EMPTY(&status_query->asked));
    for (struct status_asker *asker; (asker = STAILQ_FIRST(&status_query->waiting));) {
        STAILQ_REMOVE_HEAD(&status_query->waiting, link);
        const struct status_asker *first = STAILQ_FIRST(&status_query->asked);
        bool is_picked = !first || status_asker_wants_same(asker, first);
        if (is_picked)
            STAILQ_INSERT_TAIL(&status_query->asked, asker, link);
        else
            STAILQ_INSERT_TAIL(&others, asker, link);
        assert(status_query->waiting_count >= is_picked);
        status_query->waiting_count -= is_picked;
    }
    STAILQ_CONCAT(&status_query->waiting, &others);
}

/* On the worker's thread. */
static void status_query_ask_worker(struct crew_turn *turn)
{
    const struct status_query *status_query = turn->arg;
    worker_list_sessions(turn->worker, status_query->lists[turn->number],
                         STAILQ_FIRST(&status_query->asked)->query.after);
    crew_turn_end(turn);
}

static void status_query_on_joined(void *arg);

static void status_query_begin(struct status_query *status_query)
{
    while (!crew_round_is_under_way(status_query->round) && !STAILQ_EMPTY(&status_query->waiting)) {
        status_query_pick(status_query);
        if (status_query_make_lists(status_query, STAILQ_FIRST(&status_query->asked)->query.limit)) {
            crew_round_begin(status_query->round, status_query_ask_worker, status_query_on_joined);
        } else {
            status_query_free_lists(status_query);
            status_askers_answer(&status_query->asked, NULL);
        }
    }
}

static void status_query_on_joined(void *arg)
{
    struct status_query *status_query = arg;
    const struct status_asker *first = STAILQ_FIRST(&status_query->asked);
    char *text = status_query_write(status_query, first->draining, first->query.limit);
    status_query_free_lists(status_query);
    status_askers_answer(&status_query->asked, text);
    free(text);
    status_query_begin(status_query);
}

void status_query_status(struct status_query *status_query, bool draining, const struct admin_query *query,
                         admin_done *done, void *arg)
{
    struct status_asker *asker = status_query->waiting_count < STATUS_ASKERS_MAX ? malloc(sizeof(*asker)) : NULL;
    if (!asker) {
        done(arg, NULL);
        return;
    }
    *asker = (struct status_asker){.query = *query, .draining = draining, .done = done, .arg = arg};
    STAILQ_INSERT_TAIL(&status_query->waiting, asker, link);
    status_query->waiting_count++;
    status_query_begin(status_query);
}

/* ---- the charts ---- */

static void status_query_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct status_query *status_query = arg;
    const struct metrics totals = status_query_totals(&status_query->scene);
    history_sample(status_query->history, clock_coarse_ms(), &totals);
}

void status_query_history(struct status_query *status_query, admin_done *done, void *arg)
{
    done(arg, history_json(status_query->history));
}

/* ---- life ---- */

struct status_query *status_query_new(struct event_base *base, const struct status_query_scene *scene)
{
    struct status_query *status_query = calloc(1, sizeof(*status_query));
    if (!status_query)
        return NULL;
    const struct metrics totals = status_query_totals(scene);
    status_query->scene = *scene;
    status_query->started_ms = clock_coarse_ms();
    STAILQ_INIT(&status_query->waiting);
    STAILQ_INIT(&status_query->asked);
    status_query->lists = calloc(crew_size(scene->crew), sizeof(struct session_list *));
    status_query->history = history_new(status_query->started_ms, &totals);
    status_query->round = crew_round_new(scene->crew, status_query);
    event_assign(&status_query->timer, base, -1, EV_PERSIST, status_query_on_timer, status_query);
    if (status_query->lists && status_query->history && status_query->round &&
        event_add(&status_query->timer, &history_period) == 0)
        return status_query;
    status_query_free(status_query);
    return NULL;
}

void status_query_free(struct status_query *status_query)
{
    if (!status_query)
        return;
    status_askers_answer(&status_query->waiting, NULL); /* first, so that no other round begins */
    status_query->waiting_count = 0;
    crew_round_free(status_query->round); /* which joins what the workers have answered */
    status_askers_answer(&status_query->asked, NULL);
    event_del(&status_query->timer);
    if (status_query->lists)
        status_query_free_lists(status_query);
    history_free(status_query->history);
    free(status_query->lists);
    free(status_query);
}
