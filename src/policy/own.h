/*
 * What of the network is this host's own: its addresses, and the UDP ports of this process. Clients reach neither,
 * except each other's external ports (hairpin).
 */
#ifndef CONESOCKS_POLICY_OWN_H
#define CONESOCKS_POLICY_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

/* ---- addresses ---- */

struct own_network {
    union netaddr address;
    unsigned bits;
};

/* To collect them in. */
struct own_networks {
    struct own_network *list; /* free */
    size_t count, room;
};

/* Adds an address, or a whole network. false: no memory. */
bool own_networks_add_host(struct own_networks *networks, const union netaddr *address);
bool own_networks_add(struct own_networks *networks, const union netaddr *address, unsigned bits);

/* A set of addresses that does not change: whoever holds it may read it, on any thread. */
struct own_hosts;

/* All of these but loopback, which is `reach`'s; the caller holds it. NULL: no memory. */
struct own_hosts *own_hosts_new(const struct own_networks *networks);
struct own_hosts *own_hosts_hold(struct own_hosts *hosts);
/* NULL is fine. */
void own_hosts_release(struct own_hosts *hosts);
/* Costs the same however many there are. Ports do not matter. NULL: none are known. */
bool own_hosts_contain(const struct own_hosts *hosts, const union netaddr *canonical);

/* ---- ports ---- */

enum own_port {
    OWN_PORT_RELAY,    /* where a client sends to */
    OWN_PORT_EXTERNAL, /* where the internet sends to; one socket at most has a family and number: see net/ports.h */
    OWN_PORT_BOUND,    /* the same, of a socket that is bound to an interface: nothing from this host arrives there */
};

/* Of the whole process; any thread may ask and tell. Each opening is taken back by one closing. */
void own_port_opened(enum own_port kind, const union netaddr *local);
void own_port_closed(enum own_port kind, const union netaddr *local);
/* Whether what is sent to `address`, one of this host's own, arrives at such a socket of ours, bound to an interface or
 * not. Of a relay port only the family and the number are looked at. */
bool own_port_is(enum own_port kind, const union netaddr *address);
/* Where the external port of that family and number is reached from this host, whatever host `address` names: puts that
 * in its place. false: it is not. */
bool own_port_locate(union netaddr *address);

#endif
