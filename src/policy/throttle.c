#include "policy/throttle.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MINUTE_MS ((uint64_t)60 * 1000)

#define NETWORK_LEN_V4 3
#define NETWORK_LEN_V6 6

struct entry {
    struct netaddr_subscriber key; /* or the same of a network: see key_of */
    uint64_t free_at_ms;           /* when its failures are forgotten, each a share of a minute after the one before */
    UT_hash_handle hh;
};

struct throttle {
    uint64_t share_ms;   /* how long one failure of an address counts; 0: not at all */
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

static struct netaddr_subscriber key_of(enum throttle_width width, const union netaddr *client)
{
    struct netaddr_subscriber key = netaddr_subscriber(client);
    uint8_t *family = &key.bytes[0], *host = &key.bytes[1];
    size_t len = *family == 4 ? NETWORK_LEN_V4 : NETWORK_LEN_V6;
    if (width == THROTTLE_NETWORK) {
        memset(host + len, 0, sizeof(key.bytes) - 1 - len);
        *family |= 0x80; /* so that it is not taken for its first address */
    }
    return key;
}

static uint64_t share_of(const struct throttle *throttle, enum throttle_width width)
{
    return width == THROTTLE_NETWORK ? throttle->share_ms / THROTTLE_NETWORK_TIMES : throttle->share_ms;
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

static void note(struct throttle *throttle, enum throttle_width width, const union netaddr *client, uint64_t now_ms)
{
    const struct netaddr_subscriber key = key_of(width, client);
    struct entry *entry = find(throttle, &key);
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
    entry->free_at_ms = (entry->free_at_ms > now_ms ? entry->free_at_ms : now_ms) + share_of(throttle, width);
    put(throttle, entry);
}

void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms)
{
    if (!throttle->share_ms)
        return;
    note(throttle, THROTTLE_ADDRESS, client, now_ms);
    note(throttle, THROTTLE_NETWORK, client, now_ms);
}

bool throttle_blocks(const struct throttle *throttle, enum throttle_width width, const union netaddr *client,
                     uint64_t now_ms)
{
    const struct netaddr_subscriber key = key_of(width, client);
    const struct entry *entry = find(throttle, &key);
    return throttle->share_ms && entry && entry->free_at_ms + share_of(throttle, width) > now_ms + MINUTE_MS;
}

bool throttle_same(enum throttle_width width, const union netaddr *a, const union netaddr *b)
{
    const struct netaddr_subscriber key_a = key_of(width, a), key_b = key_of(width, b);
    return memcmp(&key_a, &key_b, sizeof(key_a)) == 0;
}
