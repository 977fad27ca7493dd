#include "daemon/readiness.h"

#include <stddef.h>

#include "base/clock.h"
#include "base/util.h"
#include "daemon/health.h"
#include "daemon/port_usage.h"
#include "daemon/pressure_watch.h"
#include "net/reserve.h"
#include "policy/quota.h"
#include "proxy/env.h"

static const char *unready_draining(const struct readiness *readiness)
{
    return readiness->draining ? "draining: no new connections" : NULL;
}

static const char *unready_sick(const struct readiness *readiness)
{
    return health_complaint(readiness->health);
}

static const char *unready_memory(const struct readiness *readiness)
{
    struct memory_use use;
    const bool is_short =
        readiness->pressure_watch && pressure_watch_level(readiness->pressure_watch, &use) != MEMORY_AMPLE;
    return is_short ? "memory is short: no new connections (limits.memory)" : NULL;
}

static const char *unready_descriptors(const struct readiness *readiness)
{
    const size_t held = quota_held(quota_of_all(readiness->quota), QUOTA_DESCRIPTORS);
    bool is_short = reserve_is_short(readiness->reserve, clock_coarse_ms(), held);
    return is_short ? "descriptors are short: raise LimitNOFILE= or ulimit -n" : NULL;
}

static const char *unready_ports(const struct readiness *readiness)
{
    return port_usage_complaint(readiness->config, readiness->system_ports);
}

/* The first one that is not NULL is shown. */
static const char *(*const unready_reasons[])(const struct readiness *readiness) = {
    unready_draining, unready_sick, unready_memory, unready_descriptors, unready_ports,
};

const char *readiness_complaint(const struct readiness *readiness)
{
    for (size_t i = 0; i < ARRAY_LEN(unready_reasons); i++) {
        const char *why = unready_reasons[i](readiness);
        if (why)
            return why;
    }
    return NULL;
}
