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
#include "policy/key.h"
#include "policy/own_routes.h"

/* ---- addresses ---- */

struct own_range {
    struct key first, last;
};

/* Sorted and apart, loopback left out: that is `reach`'s. All zero: none known. */
struct own_hosts {
    struct own_range *v4, *v6;
    size_t v4_count, v6_count;
};

/* Takes over the addresses that this host has now, and those that local routes make its own. false: they could not be
 * read (errno), and nothing has changed. */
bool own_hosts_read(struct own_hosts *hosts);
/* The same with addresses, or networks, of the caller's. false: no memory. */
bool own_hosts_set(struct own_hosts *hosts, const union netaddr *addresses, size_t count);
bool own_hosts_set_networks(struct own_hosts *hosts, const struct own_networks *networks);
void own_hosts_deinit(struct own_hosts *hosts);
/* Ports do not matter. */
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
