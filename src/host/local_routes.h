/*
 * What this host takes for its own beyond the addresses of its interfaces: whole networks that a local route leads to
 * itself ("ip route add local ... dev lo", AnyIP), and the anycast addresses of a router's IPv6 networks.
 */
#ifndef CONESOCKS_HOST_LOCAL_ROUTES_H
#define CONESOCKS_HOST_LOCAL_ROUTES_H

#include <stdbool.h>

#include "policy/own_hosts.h"

/* Adds those of the kernel's table of local routes. A system that has no such table to ask for (Linux before 4.20) adds
 * none. false: it could not be read this time (errno). */
bool local_routes_read(struct own_networks *networks);

#endif
