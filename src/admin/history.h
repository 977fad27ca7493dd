/*
 * Traffic of the last ten minutes, in periods of five seconds, for the charts of the status page (/history). Pure: the
 * caller brings the time and the counters.
 */
#ifndef CONESOCKS_ADMIN_HISTORY_H
#define CONESOCKS_ADMIN_HISTORY_H

#include <stdint.h>

#include "base/metrics.h"

#define HISTORY_PERIOD_MS 5000
#define HISTORY_SAMPLES   120

struct history;

/* Starts from the present counters. NULL: no memory. */
struct history *history_new(uint64_t now_ms, const struct metrics *totals);
void history_free(struct history *history);

/* Must be called once a period. If calls were missed, because the process or the machine was suspended, the traffic is
 * spread over the missed periods. */
void history_sample(struct history *history, uint64_t now_ms, const struct metrics *totals);

/* JSON, described in conesocks(8): a text for free(), or NULL: no memory. */
char *history_json(const struct history *history);

#endif
