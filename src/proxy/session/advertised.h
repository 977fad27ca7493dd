/*
 * The address that a reply tells (BND.ADDR): where a client sends its datagrams after UDP ASSOCIATE, and where a peer
 * connects after BIND. Behind a NAT that is the configured address of the router, not this host's own.
 */
#ifndef CONESOCKS_PROXY_SESSION_ADVERTISED_H
#define CONESOCKS_PROXY_SESSION_ADVERTISED_H

#include "base/netaddr.h"

struct assoc_flow;
struct env;
struct policy;

/* The configured address with the port of `local`; `local` itself if none is configured, or if it is a loopback
 * address.
 */
union netaddr advertised_address(const struct policy *policy, const union netaddr *local);

/* The same for a relay. Logs a client that can probably not reach it. */
union netaddr advertised_relay(struct env *env, const union netaddr *client, const union netaddr *relay);

/* At the end of an association: logs it if no datagram has come to its advertised address. The usual cause is a router
 * that does not forward the ports, and no other sign of that can be seen here. */
void advertised_review(struct env *env, const union netaddr *client, const struct assoc_flow *flow);

#endif
