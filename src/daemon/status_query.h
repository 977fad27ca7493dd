/*
 * Answers what the admin listener is asked: puts the question to every worker, waits for all of them without waiting,
 * and makes one answer of theirs; and looks at the counters every few seconds, for the charts. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_STATUS_QUERY_H
#define CONESOCKS_DAEMON_STATUS_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "admin/admin.h"

struct event_base;
struct port_range;
struct quota;
struct reload;
struct status_query;
struct pressure_watch;
struct worker;

/* What it tells of; all of it outlives it, and is not changed. */
struct status_query_scene {
    const char *file; /* of the configuration; NULL: none */
    time_t started;
    struct worker *const *workers;
    size_t worker_count;
    struct quota *quota;
    const struct port_range *system_ports;
    const struct reload *reload;
    const struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
};

/* NULL: no memory or descriptors. */
struct status_query *status_query_new(struct event_base *base, const struct status_query_scene *scene);
/* `draining`: the server is about to end. One status_query is under way at a time, and who asks for the same meanwhile
 * gets the next one's answer together; too many who wait get none. */
void status_query_status(struct status_query *status_query, bool draining, const struct admin_query *query,
                         admin_done *done, void *arg);
void status_query_history(struct status_query *status_query, admin_done *done, void *arg);
/* After the workers were stopped: who still waits is told that there is no answer. NULL is fine. */
void status_query_free(struct status_query *status_query);

#endif
