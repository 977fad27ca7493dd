/*
 * A payer is a user, or a client address (IPv6: its /64) for sessions without a login. What sessions hold is charged to
 * their payer; when something is short, the payer that holds most loses sessions first (shed.h).
 */
#ifndef CONESOCKS_PROXY_SESSION_PAYER_H
#define CONESOCKS_PROXY_SESSION_PAYER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "policy/usage.h"
#include "proxy/env.h"

struct assoc;
struct quota_account;
struct session;
struct stream;

struct payer {
    struct quota_account *account;
    struct session_queue sessions; /* the latest last */
    struct negotiation_list dials; /* those on their way to a destination, the longest first */
    uint64_t none_idle_before_ms;  /* as in struct env */
    struct loan loan;
    struct usage_account *usage;     /* of the user; NULL: it is a client address (user_counts.c, here and below) */
    struct usage_bytes recent, rate; /* relayed since the last sweep; per second before it */
    uint64_t called;                 /* when its loan was, as env->loans.calls */
    UT_hash_handle hh;
};

/* NULL: the account pays for no session of this worker. */
struct payer *payer_find(const struct env *env, const struct quota_account *account);

/* Finds who pays for a session, whenever its admission may have changed that. Without memory nobody does. */
void payer_join(struct session *session);
/* What the session holds, or its state, may have changed. */
void payer_update(struct session *session);
/* Its request is answered: it is not on its way to a destination any more. */
void payer_end_dial(struct session *session);
/* The session ends, or its admission does. */
void payer_leave(struct session *session);

/* What all its sessions here relay per second. It is a user. */
void payer_set_rate(struct payer *payer, struct usage_bytes rate);

/* The account that pays for a session; NULL: none. */
const struct quota_account *payer_account(const struct session *session);

/* Makes associations drop what they hold in loans until `bytes` are left. Those of the payer that holds most come
 * first.
 */
void payers_call_loans(struct env *env, size_t bytes);
/* Shows each of its sessions: as sessions_visit(). */
void payer_visit(struct payer *payer, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg);

#endif
