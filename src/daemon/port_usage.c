#include "daemon/port_usage.h"

#include <assert.h>

#include "base/clock.h"
#include "conf/config.h"
#include "proxy/env.h"

size_t port_usage(const struct config *config, const struct port_range *system,
                  struct port_usage usage[PORT_RANGES_MAX])
{
    struct port_range ranges[PORT_RANGES_MAX];
    size_t count = 0;
    if (!config->udp.enabled)
        return 0;
    env_port_ranges(config, system, &ranges[0], &ranges[1]);
    for (size_t i = config_shared_port(config) ? 1 : 0; i < PORT_RANGES_MAX; i++) {
        const struct port_range *range = &ranges[i];
        usage[count++] =
            (struct port_usage){range->option, range->first, range->last, ports_use(range, clock_coarse_ms())};
    }
    return count;
}

const char *port_usage_complaint(const struct config *config, const struct port_range *system)
{
    static const char *const complaints[PORT_RANGES_MAX] = {
        "every port of udp.ports is in use: make the range larger",
        "every port of udp.external_ports is in use: make the range larger",
    };
    struct port_usage usage[PORT_RANGES_MAX];
    const size_t count = port_usage(config, system, usage);
    assert(count <= PORT_RANGES_MAX);
    for (size_t i = 0; i < count; i++)
        if (usage[i].use.exhausted)
            return complaints[PORT_RANGES_MAX - count + i];
    return NULL;
}
