/*
 * Remembers logins that were right, for a short while, so that a client which logs in a thousand times pays for one
 * crypt(3) check. Only a keyed digest is kept: whoever reads the cache alone learns no password from it.
 *
 * Belongs to one thread, which needs no lock. Forgetting costs time, never correctness: a login that is not found is
 * checked anew.
 */
#ifndef CONESOCKS_POLICY_LOGIN_CACHE_H
#define CONESOCKS_POLICY_LOGIN_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

/* HMAC-SHA-256 of a user's name, the hash in force for it and a password. With another hash, as after a change of the
 * configuration, it is another proof. */
struct login_proof {
    uint8_t mac[32];
};
#define LOGIN_KEY_LEN 32
struct login_proof login_proof_make(const uint8_t key[LOGIN_KEY_LEN], const char *user, const char *hash,
                                    const char *password);

/* The same of an address, where what is remembered is who has logged in, and not as whom. */
struct login_proof login_proof_of_address(const uint8_t key[LOGIN_KEY_LEN], const union netaddr *client);

/* This many logins at most. A helper thread can hardly check more in the minute that they are kept. */
#define LOGIN_CACHE_SLOTS 4096

struct login_cache;

/* NULL: no memory. */
struct login_cache *login_cache_new(void);
void login_cache_free(struct login_cache *cache);
/* May push another one out. */
void login_cache_add(struct login_cache *cache, const struct login_proof *proof, uint64_t until_ms);
/* Until when a login counts as right; 0: it is not known, or too old. How long it takes tells nothing about the proof.
 */
uint64_t login_cache_find(const struct login_cache *cache, const struct login_proof *proof, uint64_t now_ms);

#endif
