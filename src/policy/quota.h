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

/* How many accounts of clients and users are open. */
size_t quota_size(struct quota *quota);

#endif
