#include "daemon/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "base/util.h"
#include "daemon/balance.h"
#include "daemon/worker.h"

struct crew {
    struct event_base *base;
    struct balance *balance;
    pthread_t main; /* the thread that asks and joins */
    bool stopped;
    size_t size, room;
    struct worker *workers[];
};

struct crew_round {
    struct crew *crew;
    struct inbox *inbox; /* the main thread's: turns come back here */
    size_t left;         /* turns that have not ended; 0: no round is under way */
    crew_each *each;
    crew_joined *joined;
    void *arg;
    struct crew_turn turns[]; /* one for each worker */
};

static bool crew_is_on_main(const struct crew *crew)
{
    return pthread_equal(crew->main, pthread_self());
}

/* ---- rounds ---- */

struct crew_round *crew_round_new(struct crew *crew, void *arg)
{
    assert(crew->size == crew->room); /* a worker that joined later would have no turn */
    struct crew_round *round = calloc(1, sizeof(*round) + crew->size * sizeof(struct crew_turn));
    struct inbox *inbox = round ? inbox_new(crew->base) : NULL;
    if (!inbox) {
        free(round);
        return NULL;
    }
    *round = (struct crew_round){.crew = crew, .inbox = inbox, .arg = arg};
    for (size_t i = 0; i < crew->size; i++)
        round->turns[i] = (struct crew_turn){.round = round, .worker = crew->workers[i], .number = i, .arg = arg};
    return round;
}

static void crew_turn_begin(struct inbox_item *item)
{
    struct crew_turn *turn = container_of(item, struct crew_turn, item);
    assert(worker_is_current(turn->worker));
    turn->round->each(turn);
}

static void crew_turn_join(struct inbox_item *item)
{
    struct crew_round *round = container_of(item, struct crew_turn, item)->round;
    assert(crew_is_on_main(round->crew));
    assert(round->left > 0);
    if (--round->left == 0)
        round->joined(round->arg);
}

void crew_turn_end(struct crew_turn *turn)
{
    assert(worker_is_current(turn->worker));
    turn->item.run = crew_turn_join;
    inbox_post(turn->round->inbox, &turn->item);
}

void crew_round_begin(struct crew_round *round, crew_each *each, crew_joined *joined)
{
    struct crew *crew = round->crew;
    assert(crew_is_on_main(crew));
    assert(round->left == 0);
    assert(!crew->stopped);
    round->left = crew->size;
    round->each = each;
    round->joined = joined;
    for (size_t i = 0; i < crew->size; i++) {
        round->turns[i].item.run = crew_turn_begin;
        worker_post(crew->workers[i], &round->turns[i].item);
    }
}

bool crew_round_is_under_way(const struct crew_round *round)
{
    return round->left > 0;
}

void crew_round_free(struct crew_round *round)
{
    if (!round)
        return;
    inbox_free(round->inbox); /* runs what is still in it: turns that have ended */
    free(round);
}

/* ---- life ---- */

struct crew *crew_new(struct event_base *base, size_t room)
{
    assert(room > 0);
    struct crew *crew = calloc(1, sizeof(*crew) + room * sizeof(struct worker *));
    if (!crew)
        return NULL;
    crew->balance = balance_new(room);
    if (!crew->balance) {
        free(crew);
        return NULL;
    }
    crew->base = base;
    crew->main = pthread_self();
    crew->room = room;
    return crew;
}

void crew_add(struct crew *crew, struct worker *worker)
{
    assert(worker && crew->size < crew->room);
    crew->workers[crew->size++] = worker;
}

struct balance *crew_balance(const struct crew *crew)
{
    return crew->balance;
}

size_t crew_size(const struct crew *crew)
{
    return crew->size;
}

struct worker *crew_worker(const struct crew *crew, size_t number)
{
    assert(number < crew->size);
    return crew->workers[number];
}

int crew_start(struct crew *crew, struct auth *auth)
{
    int error = 0;
    assert(crew_is_on_main(crew));
    for (size_t i = 0; i < crew->size && !error; i++)
        error = worker_start(crew->workers[i], auth);
    return error;
}

void crew_stop(struct crew *crew)
{
    if (!crew)
        return;
    assert(crew_is_on_main(crew));
    crew->stopped = true;
    for (size_t i = 0; i < crew->size; i++)
        worker_stop(crew->workers[i]);
}

void crew_free(struct crew *crew)
{
    if (!crew)
        return;
    for (size_t i = 0; i < crew->size; i++)
        worker_free(crew->workers[i]);
    balance_free(crew->balance);
    free(crew);
}

void crew_sum_metrics(const struct crew *crew, struct metrics *sum)
{
    for (size_t i = 0; i < crew->size; i++)
        metrics_sum(sum, worker_metrics(crew->workers[i]));
}
