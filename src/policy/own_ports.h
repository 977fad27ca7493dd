/*
 * The table of this process's UDP ports, by local address: tells whether a datagram to one of this host's addresses
 * would arrive at a socket of this process. Clients may reach none of these, except each other's external ports
 * (hairpinning).
 *
 * It opens no sockets. host/host.h has the one that all workers share. Associations add and remove
 * their sockets under its lock. The datagram path only asks, and takes the lock only when a socket is being added or
 * removed at that very moment.
 */
#ifndef CONESOCKS_POLICY_OWN_PORTS_H
#define CONESOCKS_POLICY_OWN_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

enum own_port {
    OWN_PORT_RELAY,    /* where a client sends to */
    OWN_PORT_EXTERNAL, /* where the internet sends to */
    OWN_PORT_BOUND, /* an external port whose socket is bound to an interface: nothing from this host arrives there */
};

struct own_ports;

/* Any thread may call the functions below. NULL: no memory. */
struct own_ports *own_ports_new(void);
/* NULL is fine. */
void own_ports_free(struct own_ports *own);

/* Adds a socket at `local`, where there may be several (udp.ports as one port). Each is removed once. false: no memory.
 */
bool own_ports_add(struct own_ports *own, enum own_port kind, const union netaddr *local);
void own_ports_remove(struct own_ports *own, enum own_port kind, const union netaddr *local);

/* How many sockets there are, while no thread adds or removes one. */
uint32_t own_ports_sockets(const struct own_ports *own);

/* Whether a datagram to `address`, one of this host's own, arrives at a socket of that kind. OWN_PORT_EXTERNAL includes
 * OWN_PORT_BOUND. `own` may be NULL: there are none. */
bool own_ports_has(struct own_ports *own, enum own_port kind, const union netaddr *address);
/* The same for the family and port of `address`, at any address. Without OWN_PORT_BOUND. */
bool own_ports_has_anywhere(struct own_ports *own, enum own_port kind, const union netaddr *address);
/* Replaces the host of `address` by the one at which this process has an external port of that family and number.
 * false: it has none, or at several addresses. */
bool own_ports_locate(struct own_ports *own, union netaddr *address);

#endif
