/*
 * Counts what each user and each client address holds at once, and what all hold together: sessions, associations,
 * lookups and so on. All workers charge the same accounts, when something begins or ends, never for a datagram. Opening
 * and closing an account takes a lock; charging does not.
 *
 * It knows no limits: each charge brings the configured one. So a reload changes nothing here, and what is
 * already held counts against the new limits.
 */
#ifndef CONESOCKS_POLICY_QUOTA_H
#define CONESOCKS_POLICY_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct quota;
struct quota_account;

enum quota_kind {
    QUOTA_SESSIONS,
    QUOTA_ASSOCIATIONS,
    QUOTA_HANDSHAKES, /* connections without a request so far */
    QUOTA_LOOKUPS,
    QUOTA_DESCRIPTORS, /* of sessions; charged to the user, or to the client address of a session without a login */
    QUOTA_KINDS
};

/* NULL: no memory. */
struct quota *quota_new(void);
/* After all accounts are closed. NULL is fine. */
void quota_free(struct quota *quota);

/* The account of all clients and users together; it is never closed. */
struct quota_account *quota_of_all(struct quota *quota);
/* Opens the account of a client address (an IPv6 /64 has one), or of a user, whose name has 255 bytes at most. All who
 * open it get the same one; it is freed when the last of them closes it. NULL: no memory. */
struct quota_account *quota_of_client(struct quota *quota, const union netaddr *client);
struct quota_account *quota_of_user(struct quota *quota, const char *user);
/* After all that was charged through this opening was given back. NULL is fine. */
void quota_close(struct quota_account *account);

/* Charges one, unless `limit` are held already (0: no limit). */
bool quota_take(struct quota_account *account, enum quota_kind kind, uint32_t limit);
void quota_give_back(struct quota_account *account, enum quota_kind kind);
/* How many are held. */
uint32_t quota_held(const struct quota_account *account, enum quota_kind kind);

/* Charges that many, whatever is held already; gives them back. */
void quota_add(struct quota_account *account, enum quota_kind kind, uint32_t count);
void quota_subtract(struct quota_account *account, enum quota_kind kind, uint32_t count);

#define QUOTA_NAME_MAX 300 /* "user NAME", escaped by the log; "client ADDRESS" */
struct quota_heaviest {
    const struct quota_account *account; /* only to be compared: it may be freed by now. NULL: nobody holds any */
    uint32_t held, of_all;               /* by that account; by all clients and users */
    char name[QUOTA_NAME_MAX];           /* for the log; empty: nobody */
};
/* Which account of a client or user holds most of a kind. All accounts are compared at most every 100 ms: in between,
 * the answer is that of the last comparison. */
void quota_find_heaviest(struct quota *quota, enum quota_kind kind, uint64_t now_ms, struct quota_heaviest *heaviest);

/* How many accounts of clients and users are open. */
size_t quota_size(struct quota *quota);

#endif
