#include "net/resolver_clients.h"

#include <assert.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct resolver_client {
    struct netaddr_subscriber key;
    uint32_t lookups;
};

static int resolver_client_compare(const void *a, const void *b)
{
    const struct resolver_client *left = a, *right = b;
    return memcmp(&left->key, &right->key, sizeof(left->key));
}

/* The client's entry, a new one if need be. NULL: no memory. */
static struct resolver_client *resolver_client_find(struct resolver_clients *clients, const union netaddr *address)
{
    struct resolver_client wanted = {.key = netaddr_subscriber(address)};
    struct resolver_client **found = tsearch(&wanted, &clients->tree, resolver_client_compare);
    if (!found)
        return NULL;
    if (*found != &wanted)
        return *found;
    *found = malloc(sizeof(wanted)); /* new: the tree must own it */
    if (!*found) {
        *found = &wanted;
        tdelete(&wanted, &clients->tree, resolver_client_compare);
        return NULL;
    }
    **found = wanted;
    return *found;
}

static void resolver_client_drop_unused(struct resolver_clients *clients, struct resolver_client *client)
{
    if (client->lookups > 0)
        return;
    tdelete(client, &clients->tree, resolver_client_compare);
    free(client);
}

struct resolver_client *resolver_client_take(struct resolver_clients *clients, const union netaddr *address,
                                             size_t left)
{
    struct resolver_client *client = resolver_client_find(clients, address);
    if (!client)
        return NULL;
    bool has_share = clients->share > 0 && client->lookups >= clients->share;
    if (has_share || client->lookups >= left) {
        resolver_client_drop_unused(clients, client);
        return NULL;
    }
    client->lookups++;
    return client;
}

void resolver_client_give_back(struct resolver_clients *clients, struct resolver_client *client)
{
    assert(client->lookups > 0);
    client->lookups--;
    resolver_client_drop_unused(clients, client);
}
