/*
 * How many of a kind there are at once: for each user, for each client address, in all. One for the whole process:
 * its threads charge the same accounts. It is asked when something begins or ends, never for a datagram.
 *
 * It knows no limits: each charge brings the one in force, so a reload changes nothing here, and what there is already
 * counts from the first moment.
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
    QUOTA_HANDSHAKES, /* connections that have not got as far as a request */
    QUOTA_LOOKUPS,
    QUOTA_DESCRIPTORS, /* of sessions; charged to the user, or to the client address of a session without a login */
    QUOTA_KINDS
};

/* NULL: no memory. */
struct quota *quota_new(void);
/* After all accounts are closed. */
void quota_free(struct quota *quota);

/* Everybody's account; it is never closed. */
struct quota_account *quota_of_all(struct quota *quota);
/* The account of a client address, of IPv6 that of its /64; of a user, whose name has 255 bytes at most. Everybody who
 * opens it gets the same one, and it goes when the last of them has closed it. NULL: no memory. */
struct quota_account *quota_of_client(struct quota *quota, const union netaddr *client);
struct quota_account *quota_of_user(struct quota *quota, const char *user);
/* Nothing that was taken by way of this opening is left to be given back. NULL: nothing. */
void quota_close(struct quota_account *account);

/* Charges one, unless there are `limit` already (0: no limit). */
bool quota_take(struct quota_account *account, enum quota_kind kind, uint32_t limit);
void quota_give_back(struct quota_account *account, enum quota_kind kind);
/* How many there are. */
uint32_t quota_held(const struct quota_account *account, enum quota_kind kind);

/* Charges that many, whatever there is already; takes them back. */
void quota_add(struct quota_account *account, enum quota_kind kind, uint32_t count);
void quota_subtract(struct quota_account *account, enum quota_kind kind, uint32_t count);

#define QUOTA_NAME_MAX 300 /* "user NAME", escaped by the log; "client ADDRESS" */
struct quota_heaviest {
    const struct quota_account *account; /* only to be compared: it may be gone. NULL: nobody holds any */
    uint32_t held, of_all;               /* by that account; by all clients and users */
    char name[QUOTA_NAME_MAX];           /* for the log; empty: nobody */
};
/* Which account of a client or user holds most of a kind. All accounts are compared at most every 100 ms: in between,
 * the answer is that of the last comparison. */
void quota_find_heaviest(struct quota *quota, enum quota_kind kind, uint64_t now_ms, struct quota_heaviest *heaviest);

/* How many accounts of clients and users are open. */
size_t quota_size(struct quota *quota);

#endif
