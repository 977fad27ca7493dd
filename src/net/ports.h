/*
 * Ports for relay sockets: random (RFC 6056) and exclusive. They are bound by number, not by asking for "any": only a
 * port that was named survives when a UDP socket lets its peer go.
 */
#ifndef CONESOCKS_NET_PORTS_H
#define CONESOCKS_NET_PORTS_H

#include <stdint.h>

#include "base/netaddr.h"

struct ports {
    uint16_t first, last; /* both included */
};

/* The range that the system gives to outgoing connections (net.ipv4.ip_local_port_range). */
void ports_init_system(struct ports *ports);

/* Binds `fd` to the host of `local` and a free port, which `local` gets. 0 or a negative errno (-EADDRINUSE: none is
 * free). */
int ports_bind(struct ports *ports, int fd, union netaddr *local);

#endif
