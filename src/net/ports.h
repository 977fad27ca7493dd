/*
 * Ports for relay sockets: random (RFC 6056), exclusive, and rested: what the internet still sends to a port when its
 * association has ended must not reach the next one. They are bound by number, not by asking for "any": only a port
 * that was named survives when a UDP socket lets its peer go.
 */
#ifndef CONESOCKS_NET_PORTS_H
#define CONESOCKS_NET_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

struct ports {
    uint16_t first, last; /* both included */
    bool must_rest;       /* false: when no rested one is left, one that has rested less will do */
    uint16_t except;      /* one that is somebody else's; 0: none */
    uint64_t rest_ms;     /* how long a port is left alone after its use */
};

/* The range that the system gives to outgoing connections (net.ipv4.ip_local_port_range). */
void ports_init_system(struct ports *ports);

/* Binds `fd` to the host of `local` and a free port, which `local` gets. 0 or a negative errno (-EADDRINUSE: none is
 * free, which is found out without asking for each). Which ports are taken is known to the whole process; any thread
 * may ask. */
int ports_bind(const struct ports *ports, int fd, union netaddr *local, uint64_t now_ms);
/* The socket that ports_bind() bound to `local` is closed; there was traffic until `used_until_ms`, from which on it
 * rests. */
void ports_release(const struct ports *ports, const union netaddr *local, uint64_t used_until_ms);

#endif
