/*
 * Reads which addresses are this host's by a local route, besides those of its interfaces: whole networks ("ip route
 * add local ... dev lo", AnyIP), and the anycast addresses of a router's IPv6 networks.
 */
#ifndef CONESOCKS_HOST_LOCAL_ROUTES_H
#define CONESOCKS_HOST_LOCAL_ROUTES_H

#include <stdbool.h>

#include "policy/own_hosts.h"

/* Adds those of the kernel's table of local routes. Linux before 4.20 cannot be asked for it, and then none are added.
 * false: it could not be read this time (errno). */
bool local_routes_read(struct own_networks *networks);

#endif
