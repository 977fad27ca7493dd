/* Whether this host has all addresses of a network, by a local route ("ip route add local ... dev lo"). */
#ifndef CONESOCKS_CONF_LOCAL_NETWORK_H
#define CONESOCKS_CONF_LOCAL_NETWORK_H

#include <stdbool.h>

#include "conf/network.h"

/* Asks the kernel about the second and the last address: routes to a part of the network are not noticed. true too if
 * the kernel cannot be asked. */
bool local_network_is(const struct config_network *network);

#endif
