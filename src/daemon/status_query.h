/*
 * Answers what the admin listener asks about the server's state: it asks every worker, and joins what they answer. It
 * also samples the counters every few seconds, for the charts. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_STATUS_QUERY_H
#define CONESOCKS_DAEMON_STATUS_QUERY_H

#include <stdbool.h>
#include <time.h>

#include "admin/admin.h"

struct crew;
struct event_base;
struct host;
struct port_range;
struct pressure_watch;
struct reload;
struct status_query;

/* Where the answers come from; all of it outlives the status query and stays as it is. */
struct status_query_scene {
    const char *file; /* of the configuration; NULL: none */
    time_t started;
    struct crew *crew;
    const struct host *host;
    const char *kernel_path_why; /* why there is no host->kernel_path */
    const struct port_range *system_ports;
    const struct reload *reload;
    const struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
};

/* NULL: no memory or descriptors (errno). */
struct status_query *status_query_new(struct event_base *base, const struct status_query_scene *scene);
/* `draining`: the server is about to end. The workers are asked one question at a time; those that ask for the same
 * meanwhile share the next answer. When too many wait, the answer is NULL. */
void status_query_status(struct status_query *status_query, bool draining, const struct admin_query *query,
                         admin_done *done, void *arg);
void status_query_history(struct status_query *status_query, admin_done *done, void *arg);
/* After crew_stop(): those that still wait get NULL. NULL is fine. */
void status_query_free(struct status_query *status_query);

#endif
