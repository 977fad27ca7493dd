#include "policy/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MINUTE_MS ((uint64_t)60 * 1000)

struct entry {
    struct netaddr_subscriber key;
    uint64_t free_at_ms; /* when its failures are forgotten, each a share of a minute after the one before */
    UT_hash_handle hh;
};

struct throttle {
    uint64_t share_ms;   /* how long one failure counts; 0: not at all */
    struct entry *table; /* in the order of their last failures */
};

struct throttle *throttle_new(uint32_t per_minute)
{
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    if (throttle)
        throttle_set(throttle, per_minute);
    return throttle;
}

void throttle_set(struct throttle *throttle, uint32_t per_minute)
{
    throttle->share_ms = per_minute ? MINUTE_MS / per_minute : 0;
}

static void forget(struct throttle *throttle, struct entry *entry)
{
    HASH_DEL(throttle->table, entry);
    free(entry);
}

void throttle_free(struct throttle *throttle)
{
    if (!throttle)
        return;
    struct entry *entry, *next;
    HASH_ITER(hh, throttle->table, entry, next)
    forget(throttle, entry);
    free(throttle);
}

static struct entry *find(const struct throttle *throttle, const struct netaddr_subscriber *key)
{
    struct entry *entry;
    HASH_FIND(hh, throttle->table, key, sizeof(*key), entry);
    return entry;
}

/* Puts it last in the order of the table. */
static void put(struct throttle *throttle, struct entry *entry)
{
    HASH_ADD(hh, throttle->table, key, sizeof(entry->key), entry);
    if (!entry->hh.tbl)
        free(entry); /* out of memory: this address fails for free */
}

void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms)
{
    const struct netaddr_subscriber key = netaddr_subscriber(client);
    struct entry *entry = find(throttle, &key);
    if (!throttle->share_ms)
        return;
    if (entry) {
        HASH_DEL(throttle->table, entry);
    } else {
        if (HASH_COUNT(throttle->table) >= THROTTLE_ADDRESSES_MAX)
            forget(throttle, throttle->table);
        entry = calloc(1, sizeof(*entry));
        if (!entry)
            return;
        entry->key = key;
    }
    entry->free_at_ms = (entry->free_at_ms > now_ms ? entry->free_at_ms : now_ms) + throttle->share_ms;
    put(throttle, entry);
}

bool throttle_blocks(const struct throttle *throttle, const union netaddr *client, uint64_t now_ms)
{
    const struct netaddr_subscriber key = netaddr_subscriber(client);
    const struct entry *entry = find(throttle, &key);
    return throttle->share_ms && entry && entry->free_at_ms + throttle->share_ms > now_ms + MINUTE_MS;
}

bool throttle_same(const union netaddr *a, const union netaddr *b)
{
    const struct netaddr_subscriber key_a = netaddr_subscriber(a), key_b = netaddr_subscriber(b);
    return memcmp(&key_a, &key_b, sizeof(key_a)) == 0;
}
