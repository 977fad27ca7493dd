#include "net/resolver_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define BYTES_MAX (2 << 20)           /* some 5,000 answers */
#define KEY_MAX   (1 + NAME_TEXT_MAX) /* the family, the name */

struct resolver_cached {
    UT_hash_handle hh;
    uint64_t good_until_ms;
    enum resolver_status status;
    size_t size, count;
    char key[KEY_MAX + 1];
    union netaddr addresses[];
};

static size_t cache_write_key(char key[KEY_MAX + 1], const char *name, int family)
{
    size_t len = strlen(name);
    assert(len <= NAME_TEXT_MAX);
    key[0] = family == AF_INET6 ? '6' : '4';
    memcpy(key + 1, name, len + 1);
    return len + 1;
}

static void cache_remove_entry(struct resolver_cache *cache, struct resolver_cached *entry)
{
    assert(cache->bytes >= entry->size);
    HASH_DEL(cache->table, entry);
    cache->bytes -= entry->size;
    free(entry);
}

/* Adds it as the one used last. */
static bool cache_add_entry(struct resolver_cache *cache, struct resolver_cached *entry)
{
    HASH_ADD_KEYPTR(hh, cache->table, entry->key, strlen(entry->key), entry);
    return entry->hh.tbl;
}

static struct resolver_cached *cache_find_entry(struct resolver_cache *cache, const char *name, int family)
{
    char key[KEY_MAX + 1];
    size_t len = cache_write_key(key, name, family);
    struct resolver_cached *entry;
    HASH_FIND(hh, cache->table, key, len, entry);
    return entry;
}

bool resolver_cache_find(struct resolver_cache *cache, const char *name, int family, uint64_t now_ms,
                         struct resolver_cached_answer *found)
{
    struct resolver_cached *entry = cache_find_entry(cache, name, family);
    if (!entry)
        return false;
    if (now_ms >= entry->good_until_ms) {
        cache_remove_entry(cache, entry);
        return false;
    }
    HASH_DEL(cache->table, entry);
    if (!cache_add_entry(cache, entry)) { /* for want of memory */
        cache->bytes -= entry->size;
        free(entry);
        return false;
    }
    *found = (struct resolver_cached_answer){entry->status, entry->count, entry->addresses};
    return true;
}

void resolver_cache_keep(struct resolver_cache *cache, const char *name, int family, uint64_t now_ms,
                         const struct resolver_answer *answer)
{
    struct resolver_cached *entry = cache_find_entry(cache, name, family);
    if (entry)
        cache_remove_entry(cache, entry);
    assert(answer->count <= RESOLVER_ADDRESSES_MAX);
    if (answer->ttl_s == 0)
        return;
    const size_t addresses = answer->count * sizeof(answer->addresses[0]), size = sizeof(*entry) + addresses;
    while (cache->table && cache->bytes + size > BYTES_MAX)
        cache_remove_entry(cache, cache->table);
    entry = calloc(1, size);
    if (!entry)
        return;
    entry->good_until_ms = now_ms + answer->ttl_s * UINT64_C(1000);
    entry->status = answer->status;
    entry->size = size;
    entry->count = answer->count;
    memcpy(entry->addresses, answer->addresses, addresses);
    cache_write_key(entry->key, name, family);
    if (cache_add_entry(cache, entry))
        cache->bytes += size;
    else
        free(entry);
}

void resolver_cache_clear(struct resolver_cache *cache)
{
    while (cache->table)
        cache_remove_entry(cache, cache->table);
    assert(cache->bytes == 0);
}
