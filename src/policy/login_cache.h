/*
 * Remembers right logins for a short time, so that a client which logs in a thousand times needs one crypt(3) check.
 * Only a keyed digest is kept: the cache alone gives away no password.
 *
 * It belongs to one thread and has no lock. A login that is not found is checked again, so forgetting is always safe.
 */
#ifndef CONESOCKS_POLICY_LOGIN_CACHE_H
#define CONESOCKS_POLICY_LOGIN_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

/* HMAC-SHA-256 of a user's name, its configured hash and a password. When the configuration changes the hash, the proof
 * is another one. */
struct login_proof {
    uint8_t mac[32];
};
#define LOGIN_KEY_LEN 32
struct login_proof login_proof_make(const uint8_t key[LOGIN_KEY_LEN], const char *user, const char *hash,
                                    const char *password);

/* The same of an address, to remember from where somebody has logged in. */
struct login_proof login_proof_of_address(const uint8_t key[LOGIN_KEY_LEN], const union netaddr *client);

/* How many logins are kept: about as many as the helper thread can check in the minute that a login is kept. */
#define LOGIN_CACHE_SLOTS 4096

struct login_cache;

/* NULL: no memory. */
struct login_cache *login_cache_new(void);
void login_cache_free(struct login_cache *cache);
/* May replace another one. */
void login_cache_add(struct login_cache *cache, const struct login_proof *proof, uint64_t until_ms);
/* Until when a login counts as right; 0: it is not known, or too old. The time that it takes depends on nothing secret.
 */
uint64_t login_cache_find(const struct login_cache *cache, const struct login_proof *proof, uint64_t now_ms);

#endif
