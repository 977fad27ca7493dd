#include "policy/throttle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define MINUTE_MS ((uint64_t)60 * 1000)

#define NETWORK_LEN_V4 3
#define NETWORK_LEN_V6 6

struct throttle_entry {
    struct netaddr_subscriber key; /* or the same of a network: see throttle_key() */
    uint64_t free_at_ms;           /* when all its failures are forgotten; each adds a share of a minute */
    UT_hash_handle hh;
};

struct throttle {
    uint64_t share_ms;            /* how long one failure of an address counts; 0: not at all */
    struct throttle_entry *table; /* in the order of their last failures */
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

static void throttle_forget(struct throttle *throttle, struct throttle_entry *entry)
{
    HASH_DEL(throttle->table, entry);
    free(entry);
}

void throttle_free(struct throttle *throttle)
{
    if (!throttle)
        return;
    struct throttle_entry *entry, *next;
    HASH_ITER(hh, throttle->table, entry, next)
    throttle_forget(throttle, entry);
    free(throttle);
}

static struct netaddr_subscriber throttle_key(enum throttle_width width, const union netaddr *client)
{
    struct netaddr_subscriber key = netaddr_subscriber(client);
    uint8_t *family = &key.bytes[0], *host = &key.bytes[1];
    size_t len = *family == 4 ? NETWORK_LEN_V4 : NETWORK_LEN_V6;
    if (width == THROTTLE_NETWORK) {
        memset(host + len, 0, sizeof(key.bytes) - 1 - len);
        *family |= 0x80; /* else it would be the key of its first address, too */
    }
    return key;
}

static uint64_t throttle_share(const struct throttle *throttle, enum throttle_width width)
{
    return width == THROTTLE_NETWORK ? throttle->share_ms / THROTTLE_NETWORK_TIMES : throttle->share_ms;
}

static struct throttle_entry *throttle_find(const struct throttle *throttle, const struct netaddr_subscriber *key)
{
    struct throttle_entry *entry;
    HASH_FIND(hh, throttle->table, key, sizeof(*key), entry);
    return entry;
}

/* Puts it last in the order of the table. */
static void throttle_put_last(struct throttle *throttle, struct throttle_entry *entry)
{
    HASH_ADD(hh, throttle->table, key, sizeof(entry->key), entry);
    if (!entry->hh.tbl)
        free(entry); /* no memory: this failure does not count */
}

static void throttle_note(struct throttle *throttle, enum throttle_width width, const union netaddr *client,
                          uint64_t now_ms)
{
    const struct netaddr_subscriber key = throttle_key(width, client);
    struct throttle_entry *entry = throttle_find(throttle, &key);
    if (entry) {
        HASH_DEL(throttle->table, entry);
    } else {
        if (HASH_COUNT(throttle->table) >= THROTTLE_ADDRESSES_MAX)
            throttle_forget(throttle, throttle->table); /* the first: its last failure is longest ago */
        entry = calloc(1, sizeof(*entry));
        if (!entry)
            return;
        entry->key = key;
    }
    entry->free_at_ms = (entry->free_at_ms > now_ms ? entry->free_at_ms : now_ms) + throttle_share(throttle, width);
    throttle_put_last(throttle, entry);
    assert(HASH_COUNT(throttle->table) <= THROTTLE_ADDRESSES_MAX);
}

void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms)
{
    if (!throttle->share_ms)
        return;
    throttle_note(throttle, THROTTLE_ADDRESS, client, now_ms);
    throttle_note(throttle, THROTTLE_NETWORK, client, now_ms);
}

bool throttle_blocks(const struct throttle *throttle, enum throttle_width width, const union netaddr *client,
                     uint64_t now_ms)
{
    const struct netaddr_subscriber key = throttle_key(width, client);
    const struct throttle_entry *entry = throttle_find(throttle, &key);
    return throttle->share_ms && entry && entry->free_at_ms + throttle_share(throttle, width) > now_ms + MINUTE_MS;
}
