/* What /metrics shows besides the counters of the workers: the start, reloads, and the use of port ranges. */
#ifndef CONESOCKS_ADMIN_FACTS_H
#define CONESOCKS_ADMIN_FACTS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "net/ports.h"

struct admin_facts {
    time_t started;
    uint64_t reloads, reloads_failed;
    struct port_usage ports[PORT_RANGES_MAX];
    size_t port_count; /* of them */
};

#endif
