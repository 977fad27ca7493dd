#include "daemon/survey.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin/history.h"
#include "admin/status.h"
#include "base/util.h"
#include "daemon/memory.h"
#include "daemon/port_usage.h"
#include "daemon/reload.h"
#include "daemon/watermark.h"
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

struct survey {
    struct survey_scene scene;
    uint64_t started_ms;
    struct event timer;
    struct history *history;
    struct inbox *inbox;
    struct askers waiting, answered; /* for a survey to begin; by the one that is under way */
    size_t waiting_count;
    size_t left; /* workers that have not answered; 0: no survey is under way */
    struct report **reports;
    struct question {
        struct worker_question question;
        struct survey *survey;
    } questions[];
};

static struct metrics sum_metrics(const struct survey_scene *scene)
{
    struct metrics sum = {0};
    for (size_t i = 0; i < scene->worker_count; i++)
        metrics_sum(&sum, worker_metrics(scene->workers[i]));
    return sum;
}

/* ---- the answer ---- */

static char *tell(const struct survey *survey, const struct asker *asker)
{
    const struct survey_scene *scene = &survey->scene;
    const struct reload_record *record = reload_record(scene->reload);
    const struct quota_account *all = quota_of_all(scene->quota);
    const struct metrics totals = sum_metrics(scene);
    struct status status = {
        .started = scene->started,
        .uptime_ms = env_clock_coarse() - survey->started_ms,
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
        .workers = survey->reports,
        .worker_count = scene->worker_count,
        .limit = asker->query.limit,
    };
    status.port_count = port_usage(status.snapshot->config, scene->system_ports, status.ports);
    if (scene->watermark) {
        struct memory_use use;
        status.memory.level = watermark_level(scene->watermark, &use);
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

static void free_reports(struct survey *survey)
{
    for (size_t i = 0; i < survey->scene.worker_count; i++) {
        free(survey->reports[i]);
        survey->reports[i] = NULL;
    }
}

/* ---- the question ---- */

static bool make_room(struct survey *survey, size_t limit)
{
    for (size_t i = 0; i < survey->scene.worker_count; i++)
        if (!(survey->reports[i] = report_new(limit)))
            return false;
    return true;
}

static void ask_workers(struct survey *survey, const struct admin_query *query)
{
    survey->left = survey->scene.worker_count;
    for (size_t i = 0; i < survey->scene.worker_count; i++) {
        struct worker_question *question = &survey->questions[i].question;
        question->after = query->after;
        question->report = survey->reports[i];
        worker_ask(question);
    }
}

static bool is_same(const struct asker *a, const struct asker *b)
{
    return a->query.after == b->query.after && a->query.limit == b->query.limit && a->draining == b->draining;
}

/* Those who ask for the same as the first of those who wait are answered with it. */
static void join(struct survey *survey)
{
    struct askers others = STAILQ_HEAD_INITIALIZER(others);
    for (struct asker *asker; (asker = STAILQ_FIRST(&survey->waiting));) {
        STAILQ_REMOVE_HEAD(&survey->waiting, link);
        const struct asker *first = STAILQ_FIRST(&survey->answered);
        bool joins = !first || is_same(asker, first);
        if (joins)
            STAILQ_INSERT_TAIL(&survey->answered, asker, link);
        else
            STAILQ_INSERT_TAIL(&others, asker, link);
        survey->waiting_count -= joins;
    }
    STAILQ_CONCAT(&survey->waiting, &others);
}

static void begin(struct survey *survey)
{
    while (survey->left == 0 && !STAILQ_EMPTY(&survey->waiting)) {
        join(survey);
        const struct admin_query query = STAILQ_FIRST(&survey->answered)->query;
        if (make_room(survey, query.limit)) {
            ask_workers(survey, &query);
        } else {
            free_reports(survey);
            answer(&survey->answered, NULL);
        }
    }
}

static void on_answer(struct inbox_item *item)
{
    struct survey *survey = container_of(item, struct question, question.item)->survey;
    if (--survey->left > 0)
        return;
    char *text = tell(survey, STAILQ_FIRST(&survey->answered));
    free_reports(survey);
    answer(&survey->answered, text);
    free(text);
    begin(survey);
}

/* On the worker's thread. */
static void hand_back(struct worker_question *question)
{
    struct survey *survey = container_of(question, struct question, question)->survey;
    question->item.run = on_answer;
    inbox_post(survey->inbox, &question->item);
}

void survey_status(struct survey *survey, bool draining, const struct admin_query *query, admin_done *done, void *arg)
{
    struct asker *asker = survey->waiting_count < ASKERS_MAX ? malloc(sizeof(*asker)) : NULL;
    if (!asker) {
        done(arg, NULL);
        return;
    }
    *asker = (struct asker){.query = *query, .draining = draining, .done = done, .arg = arg};
    STAILQ_INSERT_TAIL(&survey->waiting, asker, link);
    survey->waiting_count++;
    begin(survey);
}

/* ---- the charts ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct survey *survey = arg;
    const struct metrics totals = sum_metrics(&survey->scene);
    history_sample(survey->history, env_clock_coarse(), &totals);
}

void survey_history(struct survey *survey, admin_done *done, void *arg)
{
    done(arg, history_json(survey->history));
}

/* ---- life ---- */

struct survey *survey_new(struct event_base *base, const struct survey_scene *scene)
{
    const size_t count = scene->worker_count;
    struct survey *survey = calloc(1, sizeof(*survey) + count * sizeof(struct question));
    if (!survey)
        return NULL;
    const struct metrics totals = sum_metrics(scene);
    survey->scene = *scene;
    survey->started_ms = env_clock_coarse();
    STAILQ_INIT(&survey->waiting);
    STAILQ_INIT(&survey->answered);
    for (size_t i = 0; i < count; i++)
        survey->questions[i] =
            (struct question){.question = {.worker = scene->workers[i], .done = hand_back}, .survey = survey};
    survey->reports = calloc(count, sizeof(struct report *));
    survey->history = history_new(survey->started_ms, &totals);
    survey->inbox = inbox_new(base);
    event_assign(&survey->timer, base, -1, EV_PERSIST, on_timer, survey);
    if (survey->reports && survey->history && survey->inbox && event_add(&survey->timer, &period) == 0)
        return survey;
    survey_free(survey);
    return NULL;
}

void survey_free(struct survey *survey)
{
    if (!survey)
        return;
    answer(&survey->waiting, NULL); /* so that no other survey begins */
    survey->waiting_count = 0;
    if (survey->inbox)
        inbox_free(survey->inbox); /* which runs what the workers have answered */
    answer(&survey->answered, NULL);
    event_del(&survey->timer);
    if (survey->reports)
        free_reports(survey);
    history_free(survey->history);
    free(survey->reports);
    free(survey);
}
