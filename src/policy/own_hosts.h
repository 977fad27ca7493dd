/*
 * The set of this host's own addresses. Clients may not reach them, except each other's external ports (own_ports.h).
 * host/addresses.h reads them from the kernel.
 */
#ifndef CONESOCKS_POLICY_OWN_H
#define CONESOCKS_POLICY_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct own_network {
    union netaddr address;
    unsigned bits;
};

/* Addresses on their way into a set. */
struct own_networks {
    struct own_network *list; /* free */
    size_t count, room;
};

/* Adds an address, or a whole network. false: no memory. */
bool own_networks_add_host(struct own_networks *networks, const union netaddr *address);
bool own_networks_add(struct own_networks *networks, const union netaddr *address, unsigned bits);

/* It does not change: any thread that holds it may read it without a lock. */
struct own_hosts;

/* All of these but loopback, which is for `reach` to decide. Held by the caller. NULL: no memory. */
struct own_hosts *own_hosts_new(const struct own_networks *networks);
struct own_hosts *own_hosts_hold(struct own_hosts *hosts);
/* NULL is fine. */
void own_hosts_release(struct own_hosts *hosts);
/* Takes the same time however many there are. Ports do not matter. NULL: none are known. */
bool own_hosts_contain(const struct own_hosts *hosts, const union netaddr *canonical);
/* If one of this host's networks contains `canonical`, the last address of that network; else `canonical`. */
union netaddr own_hosts_last(const struct own_hosts *hosts, const union netaddr *canonical);

#endif
