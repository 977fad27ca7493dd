#include "policy/login_cache.h"

#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct login_slot {
    struct login_proof proof;
    uint64_t until_ms; /* 0: empty */
};

struct login_cache {
    struct login_slot slots[LOGIN_CACHE_SLOTS];
};

struct login_proof login_proof_make(const uint8_t key[LOGIN_KEY_LEN], const char *user, const char *hash,
                                    const char *password)
{
    struct hmac_sha256_ctx context;
    struct login_proof proof;
    hmac_sha256_set_key(&context, LOGIN_KEY_LEN, key);
    /* With their NULs, so that no two triples give the same bytes. */
    hmac_sha256_update(&context, strlen(user) + 1, (const uint8_t *)user);
    hmac_sha256_update(&context, strlen(hash) + 1, (const uint8_t *)hash);
    hmac_sha256_update(&context, strlen(password) + 1, (const uint8_t *)password);
    hmac_sha256_digest(&context, sizeof(proof.mac), proof.mac);
    explicit_bzero(&context, sizeof(context));
    return proof;
}

struct login_proof login_proof_of_address(const uint8_t key[LOGIN_KEY_LEN], const union netaddr *client)
{
    const struct netaddr_subscriber who = netaddr_subscriber(client);
    struct hmac_sha256_ctx context;
    struct login_proof proof;
    hmac_sha256_set_key(&context, LOGIN_KEY_LEN, key);
    hmac_sha256_update(&context, sizeof(who.bytes), who.bytes);
    hmac_sha256_digest(&context, sizeof(proof.mac), proof.mac);
    explicit_bzero(&context, sizeof(context));
    return proof;
}

struct login_cache *login_cache_new(void)
{
    return calloc(1, sizeof(struct login_cache));
}

void login_cache_free(struct login_cache *cache)
{
    free(cache);
}

/* Proofs are as good as random: without the key, nobody can make two of them use one slot. */
static size_t login_slot_of(const struct login_proof *proof)
{
    uint32_t start;
    memcpy(&start, proof->mac, sizeof(start));
    return start % LOGIN_CACHE_SLOTS;
}

void login_cache_add(struct login_cache *cache, const struct login_proof *proof, uint64_t until_ms)
{
    cache->slots[login_slot_of(proof)] = (struct login_slot){*proof, until_ms};
}

uint64_t login_cache_find(const struct login_cache *cache, const struct login_proof *proof, uint64_t now_ms)
{
    const struct login_slot *slot = &cache->slots[login_slot_of(proof)];
    bool same = memeql_sec(slot->proof.mac, proof->mac, sizeof(proof->mac));
    return same && slot->until_ms > now_ms ? slot->until_ms : 0;
}
