/*
 * Password checks (RFC 1929) against crypt(3) hashes. A check costs milliseconds on purpose, so a helper thread does
 * it; the queue is bounded.
 */
#ifndef CONESOCKS_POLICY_AUTH_H
#define CONESOCKS_POLICY_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/config.h"

struct auth;

/* One check. The owner fills in name, password and done, and keeps the job until `done` was called. `done` runs on the
 * helper thread: it hands the job back to its owner's thread and does nothing else. The password is wiped before. */
struct auth_job {
    char user[256], password[256]; /* ended by NUL */
    void (*done)(struct auth_job *job);
    bool accepted;         /* the answer */
    struct auth_job *next; /* the queue's */
};

#define AUTH_QUEUE_MAX 256

/* `users` must outlive it. NULL when the thread cannot be started (errno). */
struct auth *auth_new(const struct config_user *users, size_t count);
/* Waits for the check in hand; jobs still queued are answered "not accepted". */
void auth_free(struct auth *auth);
/* false: the queue is full, the job is as it was and `done` will not be called. */
bool auth_submit(struct auth *auth, struct auth_job *job);

/* A yescrypt hash of `password` for the configuration (free), or NULL (errno). */
char *auth_hash_password(const char *password);

#endif
