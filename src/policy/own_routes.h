/*
 * What this host takes for its own beyond the addresses of its interfaces: whole networks that a local route leads to
 * itself ("ip route add local ... dev lo", AnyIP), and the anycast addresses of a router's IPv6 networks.
 */
#ifndef CONESOCKS_POLICY_OWN_ROUTES_H
#define CONESOCKS_POLICY_OWN_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/netaddr.h"

struct own_network {
    union netaddr address;
    unsigned bits;
};

struct own_networks {
    struct own_network *list; /* free */
    size_t count, room;
};

/* Adds one. false: no memory. */
bool own_networks_add(struct own_networks *networks, const union netaddr *address, unsigned bits);
/* Adds those of the kernel's table of local routes. A system that has no such table to ask for (Linux before 4.20) adds
 * none. false: it could not be read this time (errno). */
bool own_routes_read(struct own_networks *networks);

#endif
