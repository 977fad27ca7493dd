/*
 * Password checks (RFC 1929) against crypt(3) hashes. A check costs milliseconds on purpose, so a helper thread does
 * it, one after the other; the queue is bounded. Whoever asks often keeps a login_cache and asks that first.
 *
 * Addresses that somebody has logged in from have a queue of their own and every other check, so that strangers who
 * guess, however many their addresses, keep them waiting for little.
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
};

/* One check. The owner fills in what stands before `abandoned`, and keeps the job and its users until `done` was
 * called. `done` runs on the helper thread: it hands the job back to its owner's thread and does nothing else. The
 * password is wiped before. */
struct auth_job {
    const struct users *users;     /* who may log in, when this was asked */
    union netaddr client;          /* from where */
    char user[256], password[256]; /* ended by NUL */
    uint64_t now_ms, remember_ms;  /* how long it counts when it is right */
    void (*done)(struct auth_job *job);
    atomic_bool abandoned; /* the owner may set it at any time: nobody waits for the answer, so spare the check */
    enum auth_verdict verdict;
    uint64_t right_until_ms; /* of what is right: for a login_cache */
    bool known;              /* since auth_submit: whether its address is */
    struct auth_job *next;   /* the queue's */
};

#define AUTH_QUEUE_MAX 256 /* of strangers, and as many of known addresses */
#define AUTH_KNOWN_MS  ((uint64_t)24 * 60 * 60 * 1000)

/* NULL when the thread cannot be started (errno). */
struct auth *auth_new(void);
/* Waits for the check in hand; jobs still queued are answered "unchecked". */
void auth_free(struct auth *auth);
/* What a login_cache knows this login by; from any thread. */
struct login_proof auth_proof(const struct auth *auth, const struct users *users, const char *user,
                              const char *password);
/* Whether somebody at this address had the right password in the last AUTH_KNOWN_MS; from any thread. */
bool auth_knows(struct auth *auth, const union netaddr *client, uint64_t now_ms);
/* false: the queue is full, the job is as it was and `done` will not be called. */
bool auth_submit(struct auth *auth, struct auth_job *job);

/* A yescrypt hash of `password` for the configuration (free), or NULL (errno). */
char *auth_hash_password(const char *password);

#endif
