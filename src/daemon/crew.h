/*
 * All workers of the server as one object: they start, are asked and stop together. In a round each worker
 * does something on its own thread; when all are done, the main thread continues. For the main thread.
 */
#ifndef CONESOCKS_DAEMON_CREW_H
#define CONESOCKS_DAEMON_CREW_H

#include <stdbool.h>
#include <stddef.h>

#include "net/inbox.h"

struct auth;
struct balance;
struct crew;
struct crew_round;
struct event_base;
struct metrics;
struct worker;

/* For up to `room` workers. NULL: no memory. */
struct crew *crew_new(struct event_base *base, size_t room);
/* Takes over the worker. */
void crew_add(struct crew *crew, struct worker *worker);
/* Where its workers hand connections over to each other. */
struct balance *crew_balance(const struct crew *crew);
size_t crew_size(const struct crew *crew);
struct worker *crew_worker(const struct crew *crew, size_t number);
/* Starts their threads; `auth` outlives them. 0 or a negative errno; after an error some of them may run. */
int crew_start(struct crew *crew, struct auth *auth);
/* Ends their sessions and waits for their threads. NULL is fine, here and below. */
void crew_stop(struct crew *crew);
/* After crew_stop(), and once nothing posts to their inboxes any more. */
void crew_free(struct crew *crew);
/* Adds up what they have counted. */
void crew_sum_metrics(const struct crew *crew, struct metrics *sum);

/* ---- rounds ---- */

/* One worker's turn in a round. */
struct crew_turn {
    struct inbox_item item;
    struct crew_round *round;
    struct worker *worker;
    size_t number; /* of the worker, from 0 */
    void *arg;     /* of the round */
};

/* On the worker's thread; calls crew_turn_end(), at once or later. */
typedef void crew_each(struct crew_turn *turn);
/* On the main thread, once every turn has ended. It may begin the next round. */
typedef void crew_joined(void *arg);

/* Allocates what rounds with this `arg` need, so that crew_round_begin() cannot fail. One round at a time. NULL: no
 * memory or descriptors (errno). */
struct crew_round *crew_round_new(struct crew *crew, void *arg);
/* After crew_start(). A round that begins before crew_stop() still gets its turn in every worker. */
void crew_round_begin(struct crew_round *round, crew_each *each, crew_joined *joined);
void crew_turn_end(struct crew_turn *turn);
bool crew_round_is_under_way(const struct crew_round *round);
/* After crew_stop(). If all turns of a round have ended, `joined` is called now, otherwise never. NULL is fine. */
void crew_round_free(struct crew_round *round);

#endif
