/*
 * Checks passwords (RFC 1929) against crypt(3) hashes. A check takes milliseconds on purpose, so a helper thread does
 * them, one at a time, from a bounded queue. Callers keep a login_cache and look there first.
 *
 * Addresses from which a user has logged in before have a queue of their own, and get every other check. So strangers
 * who guess passwords, from however many addresses, delay them little.
 *
 * Addresses and networks that fail too often have to wait (throttle.h). Failures of all threads' logins count together.
 */
#ifndef CONESOCKS_POLICY_AUTH_H
#define CONESOCKS_POLICY_AUTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/login_cache.h"
#include "policy/users.h"

struct auth;

enum auth_verdict {
    AUTH_UNCHECKED, /* abandoned, or the server stops */
    AUTH_WRONG,
    AUTH_RIGHT,
    AUTH_THROTTLED, /* not checked: see auth_blocks() */
};

/* Why logins of a client are not checked for a while: too many failures of its address, or of its network. */
enum auth_block { AUTH_NOT_BLOCKED, AUTH_ADDRESS_BLOCKED, AUTH_NETWORK_BLOCKED };

/* One check. The owner fills in the members before `abandoned`, and keeps the job and its users until `done` was
 * called. `done` runs on the helper thread: it hands the job back to its owner's thread and does nothing else. The
 * password is wiped before. */
struct auth_job {
    const struct users *users;     /* of the snapshot that was active when this was asked */
    union netaddr client;          /* its address */
    char user[256], password[256]; /* ended by NUL */
    uint64_t now_ms, remember_ms;  /* how long a right password is remembered */
    void (*done)(struct auth_job *job);
    atomic_bool abandoned; /* the owner may set it at any time: the check is skipped, as nobody waits for its answer */
    enum auth_verdict verdict;
    uint64_t right_until_ms; /* if it is right: for a login_cache */
    enum auth_block block;   /* after AUTH_WRONG: what that failure has led to */
    bool known;              /* set by auth_submit(): whether its address is known */
    struct auth_job *next;   /* the queue's */
};

#define AUTH_QUEUE_MAX 256 /* of unknown addresses, and as many of known ones */
#define AUTH_KNOWN_MS  ((uint64_t)24 * 60 * 60 * 1000)

/* NULL when the thread cannot be started (errno). */
struct auth *auth_new(void);
/* How many failures of an address are free in a minute; 0: any number, as at first. Earlier ones still count. From any
 * thread, as those below. */
void auth_limit_failures(struct auth *auth, uint32_t per_minute);
/* Whether logins of a client have to wait. Ask before a login_cache, which tells right passwords as well. */
enum auth_block auth_blocks(struct auth *auth, const union netaddr *client, uint64_t now_ms);
/* Waits for the check that is being done; jobs in the queues are answered AUTH_UNCHECKED. */
void auth_free(struct auth *auth);
/* The key of this login in a login_cache; from any thread. */
struct login_proof auth_proof(const struct auth *auth, const struct users *users, const char *user,
                              const char *password);
/* Whether a login from this address was right in the last AUTH_KNOWN_MS; from any thread. */
bool auth_knows(struct auth *auth, const union netaddr *client, uint64_t now_ms);
/* false: the queue is full, the job is as it was and `done` will not be called. */
bool auth_submit(struct auth *auth, struct auth_job *job);

/* A yescrypt hash of `password` for the configuration (free), or NULL (errno). */
char *auth_hash_password(const char *password);

#endif
