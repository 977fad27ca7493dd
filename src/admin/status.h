/* Builds the JSON of /status, described in conesocks(8). Pure: the caller brings the values. */
#ifndef CONESOCKS_ADMIN_STATUS_H
#define CONESOCKS_ADMIN_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "admin/facts.h"
#include "admin/status_users.h"
#include "base/metrics.h"
#include "net/ports.h"
#include "proxy/memory_pressure.h"
#include "proxy/session/session_list.h"

struct snapshot;

struct status {
    time_t started;
    uint64_t uptime_ms;
    bool draining;
    struct {
        const char *file; /* NULL: none */
        time_t loaded;
        uint64_t reloads, failed;
        const char *last_error; /* NULL: none */
        const char *waiting_for_start;
    } configuration;
    const struct snapshot *snapshot; /* the active one */
    const struct metrics *totals;
    uint32_t sessions_held, associations_held; /* counted towards limits.sessions and limits.associations */
    struct {
        bool known; /* false: no limit */
        uint64_t used, limit;
        enum memory_level level;
    } memory;
    struct admin_kernel_path kernel_path;
    struct port_usage ports[PORT_RANGES_MAX];
    size_t port_count;                   /* of them */
    struct session_list *const *workers; /* one list for each worker */
    size_t worker_count;
    uint32_t limit; /* rows of the page, 1 or more */
    const struct status_users *users;
};

/* Merges the lists (session_list_merge()). A text for free(), or NULL: no memory. */
char *status_json(const struct status *status);

#endif
