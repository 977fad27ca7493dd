/*
 * Decides which port of the client's host is the client's. The first valid datagram sets it. Another port replaces it
 * after the client has been silent, or when a datagram comes from the port that the client's request named.
 */
#ifndef CONESOCKS_PROXY_ASSOC_CLIENT_PORT_H
#define CONESOCKS_PROXY_ASSOC_CLIENT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

struct assoc;

static inline bool client_port_is_known(const union netaddr *client)
{
    return client->sa.sa_family != AF_UNSPEC;
}

/* Whether a valid datagram from the client's host is the client's own. If so, its port may become the
 * client's. */
bool client_port_accepts(struct assoc *assoc, const union netaddr *peer, uint64_t now);

#endif
