/*
 * Whether every worker still comes round: each is asked now and then, by its inbox, and has to answer. On the main
 * thread.
 */
#ifndef CONESOCKS_DAEMON_HEALTH_H
#define CONESOCKS_DAEMON_HEALTH_H

#include <stddef.h>

struct event_base;
struct health;
struct worker;

/* Begins to ask as soon as the base runs; the workers are running by then, and outlive it. NULL: no memory. */
struct health *health_new(struct event_base *base, struct worker *const *workers, size_t worker_count);
void health_free(struct health *health);
/* For how many seconds the slowest has not answered; 0 or 1 while all is well. */
unsigned health_silent_s(const struct health *health);
/* Asks each of them, and hears those that were asked the last time: happens every second by itself. */
void health_round(struct health *health);
/* What is wrong, in words that last until the next event; NULL: nothing. */
const char *health_complaint(struct health *health);

#endif
