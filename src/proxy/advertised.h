/*
 * What a client is told to send its datagrams to (BND of UDP ASSOCIATE).
 */
#ifndef CONESOCKS_PROXY_ADVERTISED_H
#define CONESOCKS_PROXY_ADVERTISED_H

#include "base/netaddr.h"

struct env;

/* The relay's own address, or the configured one in its place, with the relay's port. A client that will hardly reach
 * it is worth a line in the log. */
union netaddr advertised_relay(struct env *env, const union netaddr *client, const union netaddr *relay);

#endif
