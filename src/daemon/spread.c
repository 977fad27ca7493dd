#include "daemon/spread.h"

#include "conf/config.h"

/* Beyond so many, a socket in each worker would cost memory and descriptors without a use: each of thousands of ports
 * has few clients, and balance.h spreads these. */
#define ENDPOINTS_IN_ALL_MAX 64

bool spread_is_wanted(const struct config *config)
{
    return config->endpoint_count > ENDPOINTS_IN_ALL_MAX;
}

bool spread_has(const struct config *config, size_t endpoint, size_t worker, size_t worker_count)
{
    return !spread_is_wanted(config) || endpoint % worker_count == worker;
}

size_t spread_sockets(const struct config *config, size_t worker_count)
{
    return config->endpoint_count * (spread_is_wanted(config) ? 1 : worker_count);
}
