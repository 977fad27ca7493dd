/*
 * Answers what the admin listener is asked: puts the question to every worker, waits for all of them without waiting,
 * and makes one answer of theirs; and looks at the counters every few seconds, for the charts. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_SURVEY_H
#define CONESOCKS_DAEMON_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "admin/admin.h"

struct event_base;
struct port_range;
struct quota;
struct reload;
struct survey;
struct watermark;
struct worker;

/* What it tells of; all of it outlives it, and is not changed. */
struct survey_scene {
    const char *file; /* of the configuration; NULL: none */
    time_t started;
    struct worker *const *workers;
    size_t worker_count;
    struct quota *quota;
    const struct port_range *system_ports;
    const struct reload *reload;
    const struct watermark *watermark; /* NULL: nothing limits the memory */
};

/* NULL: no memory or descriptors. */
struct survey *survey_new(struct event_base *base, const struct survey_scene *scene);
/* `draining`: the server is about to end. One survey is under way at a time, and who asks for the same meanwhile gets
 * the next one's answer together; too many who wait get none. */
void survey_status(struct survey *survey, bool draining, const struct admin_query *query, admin_done *done, void *arg);
void survey_history(struct survey *survey, admin_done *done, void *arg);
/* After the workers were stopped: who still waits is told that there is no answer. NULL is fine. */
void survey_free(struct survey *survey);

#endif
