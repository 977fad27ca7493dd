#include "proxy/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* What is compared: the host and, when the mode says so, the port. No padding. */
struct peer_key {
    uint8_t host[16];
    uint16_t family, port;
};
_Static_assert(sizeof(struct peer_key) == 20, "hashed as bytes");

struct peer {
    struct peer_key key;
    UT_hash_handle hh;
};

struct filter {
    enum config_filtering mode;
    struct peer *peers; /* in the order in which they were first sent to */
};

struct filter *filter_new(enum config_filtering mode)
{
    struct filter *filter = calloc(1, sizeof(*filter));
    if (filter)
        filter->mode = mode;
    return filter;
}

void filter_free(struct filter *filter)
{
    if (!filter)
        return;
    struct peer *peer, *next;
    HASH_ITER(hh, filter->peers, peer, next)
    {
        HASH_DEL(filter->peers, peer);
        free(peer);
    }
    free(filter);
}

enum config_filtering filter_mode(const struct filter *filter)
{
    return filter->mode;
}

static struct peer_key key_of(const struct filter *filter, const union netaddr *addr)
{
    struct peer_key key = {.family = addr->sa.sa_family};
    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    if (host)
        memcpy(key.host, host, len);
    if (filter->mode == CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT)
        key.port = netaddr_port(addr);
    return key;
}

static struct peer *find(const struct filter *filter, const struct peer_key *key)
{
    struct peer *peer;
    HASH_FIND(hh, filter->peers, key, sizeof(*key), peer);
    return peer;
}

void filter_permit(struct filter *filter, const union netaddr *addr)
{
    struct peer_key key = key_of(filter, addr);
    if (find(filter, &key))
        return;
    if (HASH_COUNT(filter->peers) >= FILTER_PEERS_MAX) {
        struct peer *oldest = filter->peers;
        HASH_DEL(filter->peers, oldest);
        free(oldest);
    }
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return; /* its answers will be filtered: strict, not wrong */
    peer->key = key;
    HASH_ADD(hh, filter->peers, key, sizeof(peer->key), peer);
    if (!peer->hh.tbl)
        free(peer);
}

bool filter_admits(const struct filter *filter, const union netaddr *addr)
{
    struct peer_key key = key_of(filter, addr);
    return find(filter, &key) != NULL;
}
