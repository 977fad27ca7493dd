/*
 * The way that a datagram of a UDP socket takes to a peer, as the kernel would choose it now: interface, next
 * hop, source address, path MTU. A worker asks when it installs a flow.
 */
#ifndef CONESOCKS_KERNEL_ROUTE_H
#define CONESOCKS_KERNEL_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct routes {
    int netlink;
    uint32_t sequence; /* of the last question */
};
struct kernel_route {
    uint32_t interface, mtu;
    union netaddr next_hop; /* the gateway, or the peer itself */
    union netaddr local;    /* with the socket's port */
};

/* 0 or a negative errno. */
int routes_open(struct routes *routes);
void routes_close(struct routes *routes);

/* `local`: as the socket is bound, with port, perhaps at the wildcard address. false: there is no way that the kernel
 * path can take, such as to this host itself, through a tunnel, or to a link-local address. */
bool routes_find(struct routes *routes, const union netaddr *local, const union netaddr *peer,
                 struct kernel_route *route);

/* Whether this is the kernel's answer to the question `sequence`. The route gets its interface, 0 if there is none that
 * the kernel path can take, and its gateway, if it has one. */
bool route_parse(const uint8_t *answer, size_t len, uint32_t sequence, struct kernel_route *route);

#endif
