/*
 * How much has passed in each period of the last ten minutes, for charts. Pure: the clock and the counters are the
 * caller's.
 */
#ifndef CONESOCKS_ADMIN_HISTORY_H
#define CONESOCKS_ADMIN_HISTORY_H

#include <stdint.h>

#include "base/metrics.h"

#define HISTORY_PERIOD_MS 5000
#define HISTORY_SAMPLES   120

struct history;

/* Begins with what has been counted so far. NULL: no memory. */
struct history *history_new(uint64_t now_ms, const struct metrics *totals);
void history_free(struct history *history);

/* To be called once a period. What was counted while nobody could call, because the process or the whole machine stood
 * still, is spread over the periods that were missed. */
void history_sample(struct history *history, uint64_t now_ms, const struct metrics *totals);

/* As JSON, see conesocks(8): a text for free(), or NULL without memory. */
char *history_json(const struct history *history);

#endif
