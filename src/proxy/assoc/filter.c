#include "proxy/assoc/filter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* What is compared: the host and, when the mode says so, the port. No padding. */
struct peer_key {
    uint8_t host[16];
    uint16_t family, port;
};
static_assert(sizeof(struct peer_key) == 20, "hashed as bytes");
static_assert(FILTER_PEERS_FREE < FILTER_PEERS_MAX, "the oldest can make room");

struct peer {
    struct peer_key key;
    UT_hash_handle hh;
};

/* With what malloc and the hash table add. */
#define PEER_BYTES (sizeof(struct peer) + 32)

struct filter {
    enum config_filtering mode;
    struct peer *peers; /* in the order in which they were first sent to */
};

struct filter *filter_new(enum config_filtering mode)
{
    assert(mode > CONFIG_FILTERING_ENDPOINT_INDEPENDENT);
    struct filter *filter = calloc(1, sizeof(*filter));
    if (filter)
        filter->mode = mode;
    return filter;
}

static void filter_forget_oldest(struct filter *filter, struct loan *loan)
{
    struct peer *oldest = filter->peers;
    assert(oldest);
    if (HASH_COUNT(filter->peers) > FILTER_PEERS_FREE)
        loan_give_back(loan, PEER_BYTES);
    HASH_DEL(filter->peers, oldest);
    free(oldest);
}

static void filter_keep(struct filter *filter, struct loan *loan, size_t count)
{
    while (HASH_COUNT(filter->peers) > count)
        filter_forget_oldest(filter, loan);
}

void filter_free(struct filter *filter, struct loan *loan)
{
    if (!filter)
        return;
    filter_keep(filter, loan, 0);
    free(filter);
}

void filter_shrink(struct filter *filter, struct loan *loan)
{
    filter_keep(filter, loan, FILTER_PEERS_FREE);
}

enum config_filtering filter_mode(const struct filter *filter)
{
    return filter->mode;
}

static struct peer_key filter_key_of(const struct filter *filter, const union netaddr *addr)
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

static struct peer *filter_find(const struct filter *filter, const struct peer_key *key)
{
    struct peer *peer;
    HASH_FIND(hh, filter->peers, key, sizeof(*key), peer);
    return peer;
}

void filter_permit(struct filter *filter, struct loan *loan, const union netaddr *addr)
{
    struct peer_key key = filter_key_of(filter, addr);
    if (filter_find(filter, &key))
        return;
    filter_keep(filter, loan, FILTER_PEERS_MAX - 1);
    const size_t count = HASH_COUNT(filter->peers);
    const bool charged = count >= FILTER_PEERS_FREE;
    if (charged && !loan_take(loan, PEER_BYTES)) {
        filter_forget_oldest(filter, loan);
        filter_permit(filter, loan, addr); /* for which there is room now */
        return;
    }
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer) {
        peer->key = key;
        HASH_ADD(hh, filter->peers, key, sizeof(peer->key), peer);
    }
    if (peer && peer->hh.tbl)
        return;
    free(peer); /* its answers will be filtered: strict, not wrong */
    if (charged)
        loan_give_back(loan, PEER_BYTES);
}

bool filter_admits(const struct filter *filter, const union netaddr *addr)
{
    struct peer_key key = filter_key_of(filter, addr);
    return filter_find(filter, &key) != NULL;
}
