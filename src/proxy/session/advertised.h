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

/* The configured address in place of `local`, with its port. On this very host the true address is the one that works.
 */
union netaddr advertised_address(const struct policy *policy, const union netaddr *local);

/* The same for a relay. A client that will hardly reach it is worth a line in the log. */
union netaddr advertised_relay(struct env *env, const union netaddr *client, const union netaddr *relay);

/* At the end of an association: one that no datagram has ever reached at its advertised address is worth a line, too,
 * for that is all that can be seen here of ports that nobody forwards. */
void advertised_review(struct env *env, const union netaddr *client, const struct assoc_flow *flow);

#endif
