/*
 * The UDP ports of this process, by local address: tells whether a datagram to one of this host's addresses would
 * arrive at a socket of ours. Clients reach none of them, except each other's external ports (hairpin).
 *
 * Sockets are added and removed as associations come and go; the questions are for the datagram path, and take no lock
 * unless a socket is being added or removed at that very moment.
 */
#ifndef CONESOCKS_POLICY_OWN_PORTS_H
#define CONESOCKS_POLICY_OWN_PORTS_H

#include <stdbool.h>

#include "base/netaddr.h"

enum own_port {
    OWN_PORT_RELAY,    /* where a client sends to */
    OWN_PORT_EXTERNAL, /* where the internet sends to */
    OWN_PORT_BOUND,    /* the same, of a socket that is bound to an interface: nothing from this host arrives there */
};

struct own_ports;

/* One for the process; any thread may call the functions below. NULL: no memory. */
struct own_ports *own_ports_new(void);
/* NULL is fine. */
void own_ports_free(struct own_ports *own);

/* A socket at `local`, perhaps one of several there (udp.ports as one port); each is removed once. false: no memory. */
bool own_ports_add(struct own_ports *own, enum own_port kind, const union netaddr *local);
void own_ports_remove(struct own_ports *own, enum own_port kind, const union netaddr *local);

/* Whether what is sent to `address`, one of this host's own, arrives at such a socket; OWN_PORT_EXTERNAL: bound to an
 * interface or not. `own` may be NULL: there are none. */
bool own_ports_has(struct own_ports *own, enum own_port kind, const union netaddr *address);
/* Whether there is one of that family and port at whatever address, but for sockets that are bound to an interface. */
bool own_ports_has_anywhere(struct own_ports *own, enum own_port kind, const union netaddr *address);
/* Where an external port of that family and number is reached from this host, whatever host `address` names: puts that
 * in its place. false: nowhere, or at several addresses. */
bool own_ports_locate(struct own_ports *own, union netaddr *address);

#endif
