/* Formats the counters for Prometheus (text format 0.0.4): the body of /metrics. Pure, except for memory. */
#ifndef CONESOCKS_ADMIN_EXPOSITION_H
#define CONESOCKS_ADMIN_EXPOSITION_H

#include <stddef.h>

#include "admin/facts.h"
#include "admin/process.h"

struct metrics;

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A text for free(), or NULL: no memory. */
char *exposition_format(const struct metrics *metrics, const struct admin_facts *facts,
                        const struct process_use *process, size_t *size);

#endif
