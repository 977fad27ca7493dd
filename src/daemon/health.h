/*
 * Finds out whether every worker's event loop still turns: each worker is pinged once a second through its inbox, and
 * has to answer. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_HEALTH_H
#define CONESOCKS_DAEMON_HEALTH_H

#include <stddef.h>

struct crew;
struct event_base;
struct health;

/* Pings as soon as the base runs; the workers run by then. NULL: no memory. */
struct health *health_new(struct event_base *base, const struct crew *crew);
/* After crew_stop(). NULL is fine. */
void health_free(struct health *health);
/* For how many seconds the slowest worker has not answered; 0 or 1 while all is well. */
unsigned health_silent_s(const struct health *health);
/* Counts who has answered the last ping, and pings those again. Happens every second by itself. */
void health_round(struct health *health);
/* What is wrong, as text that lasts until the next event; NULL: nothing. */
const char *health_complaint(struct health *health);

#endif
