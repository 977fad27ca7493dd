#include "daemon/status_query.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin/history.h"
#include "admin/status.h"
#include "base/clock.h"
#include "base/util.h"
#include "daemon/memory.h"
#include "daemon/port_usage.h"
#include "daemon/pressure_watch.h"
#include "daemon/reload.h"
#include "daemon/worker.h"
#include "policy/quota.h"
#include "proxy/env.h"

/* As many as the admin listener has connections, and some. */
#define ASKERS_MAX 64

static const struct timeval period = {.tv_sec = HISTORY_PERIOD_MS / 1000};

/* Somebody who waits for an answer. */
struct asker {
    STAILQ_ENTRY(asker) link;
    struct admin_query query;
    bool draining;
    admin_done *done;
    void *arg;
};
STAILQ_HEAD(askers, asker);

struct status_query {
    struct status_query_scene scene;
    uint64_t started_ms;
    struct event timer;
    struct history *history;
    struct inbox *inbox;
    struct askers waiting, answered; /* for a status_query to begin; by the one that is under way */
    size_t waiting_count;
    size_t left; /* workers that have not answered; 0: no status_query is under way */
    struct session_list **reports;
    struct question {
        struct worker_question question;
        struct status_query *status_query;
    } questions[];
};

static struct metrics sum_metrics(const struct status_query_scene *scene)
{
    struct metrics sum = {0};
    for (size_t i = 0; i < scene->worker_count; i++)
        metrics_sum(&sum, worker_metrics(scene->workers[i]));
    return sum;
}

/* ---- the answer ---- */

static char *tell(const struct status_query *status_query, const struct asker *asker)
{
    const struct status_query_scene *scene = &status_query->scene;
    const struct reload_record *record = reload_record(scene->reload);
    const struct quota_account *all = quota_of_all(scene->quota);
    const struct metrics totals = sum_metrics(scene);
    struct status status = {
        .started = scene->started,
        .uptime_ms = clock_coarse_ms() - status_query->started_ms,
        .draining = asker->draining,
        .configuration = {.file = scene->file,
                          .loaded = record->loaded,
                          .reloads = record->done,
                          .failed = record->failed,
                          .last_error = record->error,
                          .waiting_for_start = record->waiting},
        .snapshot = reload_snapshot(scene->reload),
        .totals = &totals,
        .sessions_held = quota_held(all, QUOTA_SESSIONS),
        .associations_held = quota_held(all, QUOTA_ASSOCIATIONS),
        .workers = status_query->reports,
        .worker_count = scene->worker_count,
        .limit = asker->query.limit,
    };
    status.port_count = port_usage(status.snapshot->config, scene->system_ports, status.ports);
    if (scene->pressure_watch) {
        struct memory_use use;
        status.memory.level = pressure_watch_level(scene->pressure_watch, &use);
        status.memory.known = use.limit > 0;
        status.memory.used = use.used;
        status.memory.limit = use.limit;
    }
    return status_json(&status);
}

/* All of them the same, which is NULL when there is none. */
static void answer(struct askers *askers, const char *text)
{
    for (struct asker *asker; (asker = STAILQ_FIRST(askers));) {
        STAILQ_REMOVE_HEAD(askers, link);
        asker->done(asker->arg, text ? strdup(text) : NULL);
        free(asker);
    }
}

static void free_reports(struct status_query *status_query)
{
    for (size_t i = 0; i < status_query->scene.worker_count; i++) {
        free(status_query->reports[i]);
        status_query->reports[i] = NULL;
    }
}

/* ---- the question ---- */

static bool make_room(struct status_query *status_query, size_t limit)
{
    for (size_t i = 0; i < status_query->scene.worker_count; i++)
        if (!(status_query->reports[i] = session_list_new(limit)))
            return false;
    return true;
}

static void ask_workers(struct status_query *status_query, const struct admin_query *query)
{
    status_query->left = status_query->scene.worker_count;
    for (size_t i = 0; i < status_query->scene.worker_count; i++) {
        struct worker_question *question = &status_query->questions[i].question;
        question->after = query->after;
        question->report = status_query->reports[i];
        worker_ask(question);
    }
}

static bool is_same(const struct asker *a, const struct asker *b)
{
    return a->query.after == b->query.after && a->query.limit == b->query.limit && a->draining == b->draining;
}

/* Those who ask for the same as the first of those who wait are answered with it. */
static void join(struct status_query *status_query)
{
    struct askers others = STAILQ_HEAD_INITIALIZER(others);
    for (struct asker *asker; (asker = STAILQ_FIRST(&status_query->waiting));) {
        STAILQ_REMOVE_HEAD(&status_query->waiting, link);
        const struct asker *first = STAILQ_FIRST(&status_query->answered);
        bool joins = !first || is_same(asker, first);
        if (joins)
            STAILQ_INSERT_TAIL(&status_query->answered, asker, link);
        else
            STAILQ_INSERT_TAIL(&others, asker, link);
        status_query->waiting_count -= joins;
    }
    STAILQ_CONCAT(&status_query->waiting, &others);
}

static void begin(struct status_query *status_query)
{
    while (status_query->left == 0 && !STAILQ_EMPTY(&status_query->waiting)) {
        join(status_query);
        const struct admin_query query = STAILQ_FIRST(&status_query->answered)->query;
        if (make_room(status_query, query.limit)) {
            ask_workers(status_query, &query);
        } else {
            free_reports(status_query);
            answer(&status_query->answered, NULL);
        }
    }
}

static void on_answer(struct inbox_item *item)
{
    struct status_query *status_query = container_of(item, struct question, question.item)->status_query;
    if (--status_query->left > 0)
        return;
    char *text = tell(status_query, STAILQ_FIRST(&status_query->answered));
    free_reports(status_query);
    answer(&status_query->answered, text);
    free(text);
    begin(status_query);
}

/* On the worker's thread. */
static void hand_back(struct worker_question *question)
{
    struct status_query *status_query = container_of(question, struct question, question)->status_query;
    question->item.run = on_answer;
    inbox_post(status_query->inbox, &question->item);
}

void status_query_status(struct status_query *status_query, bool draining, const struct admin_query *query,
                         admin_done *done, void *arg)
{
    struct asker *asker = status_query->waiting_count < ASKERS_MAX ? malloc(sizeof(*asker)) : NULL;
    if (!asker) {
        done(arg, NULL);
        return;
    }
    *asker = (struct asker){.query = *query, .draining = draining, .done = done, .arg = arg};
    STAILQ_INSERT_TAIL(&status_query->waiting, asker, link);
    status_query->waiting_count++;
    begin(status_query);
}

/* ---- the charts ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct status_query *status_query = arg;
    const struct metrics totals = sum_metrics(&status_query->scene);
    history_sample(status_query->history, clock_coarse_ms(), &totals);
}

void status_query_history(struct status_query *status_query, admin_done *done, void *arg)
{
    done(arg, history_json(status_query->history));
}

/* ---- life ---- */

struct status_query *status_query_new(struct event_base *base, const struct status_query_scene *scene)
{
    const size_t count = scene->worker_count;
    struct status_query *status_query = calloc(1, sizeof(*status_query) + count * sizeof(struct question));
    if (!status_query)
        return NULL;
    const struct metrics totals = sum_metrics(scene);
    status_query->scene = *scene;
    status_query->started_ms = clock_coarse_ms();
    STAILQ_INIT(&status_query->waiting);
    STAILQ_INIT(&status_query->answered);
    for (size_t i = 0; i < count; i++)
        status_query->questions[i] = (struct question){.question = {.worker = scene->workers[i], .done = hand_back},
                                                       .status_query = status_query};
    status_query->reports = calloc(count, sizeof(struct session_list *));
    status_query->history = history_new(status_query->started_ms, &totals);
    status_query->inbox = inbox_new(base);
    event_assign(&status_query->timer, base, -1, EV_PERSIST, on_timer, status_query);
    if (status_query->reports && status_query->history && status_query->inbox &&
        event_add(&status_query->timer, &period) == 0)
        return status_query;
    status_query_free(status_query);
    return NULL;
}

void status_query_free(struct status_query *status_query)
{
    if (!status_query)
        return;
    answer(&status_query->waiting, NULL); /* so that no other status_query begins */
    status_query->waiting_count = 0;
    if (status_query->inbox)
        inbox_free(status_query->inbox); /* which runs what the workers have answered */
    answer(&status_query->answered, NULL);
    event_del(&status_query->timer);
    if (status_query->reports)
        free_reports(status_query);
    history_free(status_query->history);
    free(status_query->reports);
    free(status_query);
}
