/* A network, which is an address and a prefix: how rules and listeners name clients and destinations. */
#ifndef CONESOCKS_CONF_NETWORK_H
#define CONESOCKS_CONF_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

struct config_network {
    union netaddr address; /* port 0, no bits set beyond the prefix */
    uint8_t bits;
};

/* The networks that `reach` and rules call private. */
#define CONFIG_PRIVATE_NETWORKS 5
extern const struct config_network config_private_networks[CONFIG_PRIVATE_NETWORKS];

bool config_network_contains(const struct config_network *network, const union netaddr *host);

#endif
