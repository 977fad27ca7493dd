/*
 * Workers without threads, for tests of what the main thread does with them: worker.c is not linked. What is posted to
 * one waits until the test lets it work.
 */
#ifndef TEST_UNIT_WORKER_STUB_H
#define TEST_UNIT_WORKER_STUB_H

#include <stdbool.h>
#include <stddef.h>

#include "base/metrics.h"
#include "daemon/crew.h"
#include "daemon/worker.h"

struct worker {
    struct metrics metrics;
    struct inbox_item *posted; /* one at a time; NULL: nothing */
    unsigned posts;
    bool started, stopped, freed;
    int start_error;
};

static struct worker first, second;

/* A crew of these two. */
static inline struct crew *worker_stub_crew(struct event_base *base)
{
    struct crew *crew = crew_new(base, 2);
    assert_non_null(crew);
    first = second = (struct worker){0};
    crew_add(crew, &first);
    crew_add(crew, &second);
    return crew;
}

/* Lets the worker do what was posted to it. */
static inline void worker_stub_work(struct worker *worker)
{
    struct inbox_item *item = worker->posted;
    assert_non_null(item);
    worker->posted = NULL;
    item->run(item);
}

void worker_post(struct worker *worker, struct inbox_item *item)
{
    assert_null(worker->posted);
    worker->posted = item;
    worker->posts++;
}

bool worker_is_current(const struct worker *worker)
{
    (void)worker;
    return true;
}

int worker_start(struct worker *worker, struct auth *auth)
{
    (void)auth;
    worker->started = worker->start_error == 0;
    return worker->start_error;
}

void worker_stop(struct worker *worker)
{
    worker->stopped = true;
}

void worker_free(struct worker *worker)
{
    worker->freed = true;
}

const struct metrics *worker_metrics(const struct worker *worker)
{
    return &worker->metrics;
}

#endif
