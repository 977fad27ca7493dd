/*
 * Datagrams between two clients of this proxy where a NAT stands before it: they name each other as the world does, by
 * the advertised address, and such a NAT may not turn them round, or not under the address that they came from (RFC
 * 4787, REQ-9). So they are turned here, where that address's external ports are ours: udp.external_ports is
 * configured.
 */
#ifndef CONESOCKS_POLICY_HAIRPIN_H
#define CONESOCKS_POLICY_HAIRPIN_H

#include "policy/verdict.h"

/* Where to send in place of `to`: an external port of ours, as the world names it, becomes that port on this host; all
 * else stays, for the price of a comparison. Not for a socket that is bound to an interface: it would not come here. */
void hairpin_inward(const struct policy *policy, union netaddr *to);

/* Whom to name in place of `from`, of a datagram that came to an external port: the way back. Who came from another of
 * this host's addresses was not turned: both have called each other by those, on the LAN. */
void hairpin_outward(const struct policy *policy, union netaddr *from);

#endif
