/*
 * How many lookups each client has under way: one client may have its share, and no more than it leaves for others.
 */
#ifndef CONESOCKS_NET_RESOLVER_CLIENTS_H
#define CONESOCKS_NET_RESOLVER_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct resolver_client;

/* All zero: no client, and no limit. */
struct resolver_clients {
    void *tree;     /* of tsearch(3), by subscriber */
    uint32_t share; /* 0: no limit */
};

/* Counts one more lookup of the client at `address`. `left`: how many more there may be of all clients. NULL: it has
 * its share, or there is no memory. */
struct resolver_client *resolver_client_take(struct resolver_clients *clients, const union netaddr *address,
                                             size_t left);
void resolver_client_give_back(struct resolver_clients *clients, struct resolver_client *client);

#endif
