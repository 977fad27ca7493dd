/*
 * Answers that are still good, for one resolver: bounded in bytes, those unused for the longest go first.
 */
#ifndef CONESOCKS_NET_RESOLVER_CACHE_H
#define CONESOCKS_NET_RESOLVER_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "net/resolver_message.h"

struct resolver_cached;

/* All zero is an empty one. */
struct resolver_cache {
    struct resolver_cached *table; /* in the order of their use */
    size_t bytes;
};

struct resolver_cached_answer {
    enum resolver_status status;
    size_t count;
    const union netaddr *addresses; /* until the next call */
};

/* `name` in lower case, without a final dot. false: not known (any more). */
bool resolver_cache_find(struct resolver_cache *cache, const char *name, int family, uint64_t now_ms,
                         struct resolver_cached_answer *found);
/* Keeps an answer for its TTL. Without memory it does not. */
void resolver_cache_keep(struct resolver_cache *cache, const char *name, int family, uint64_t now_ms,
                         const struct resolver_answer *answer);
void resolver_cache_clear(struct resolver_cache *cache);

#endif
