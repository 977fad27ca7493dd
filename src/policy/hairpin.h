/*
 * Hairpinning: datagrams between two clients of this proxy, when the proxy is behind a NAT. The clients know each other
 * by the advertised address. Such a NAT may not send those datagrams back to us, or may change their source (RFC 4787,
 * REQ-9), so the proxy does it itself. It needs udp.external_ports: only then are the advertised address's ports ours.
 */
#ifndef CONESOCKS_POLICY_HAIRPIN_H
#define CONESOCKS_POLICY_HAIRPIN_H

#include "policy/policy.h"

/* Changes where to send: an external port of this process at the advertised address becomes that port on this host.
 * Everything else stays, for the price of a comparison. Not for a socket that is bound to an interface, since what it
 * sends to this host does not arrive here. */
void hairpin_inward(const struct policy *policy, union netaddr *to);

/* The way back: changes the sender that the client is told, of a datagram that came to an external port. A sender that
 * used another of this host's addresses stays: both clients know each other by those, on the LAN. */
void hairpin_outward(const struct policy *policy, union netaddr *from);

#endif
