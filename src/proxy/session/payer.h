/*
 * A payer is a user, or a client address (IPv6: its /64) for sessions without a login. What sessions hold is charged to
 * their payer. When descriptors or memory are short, room is made at the expense of the payer that holds most.
 *
 * Payers are compared over all workers (quota.h); sessions end on the worker that asks. A worker that has none of that
 * payer's sessions finds no room, and the others make some within a second: see payers_sweep().
 */
#ifndef CONESOCKS_PROXY_SESSION_PAYER_H
#define CONESOCKS_PROXY_SESSION_PAYER_H

#include <stdbool.h>
#include <stddef.h>

struct assoc;
struct env;
struct payer;
struct quota_account;
struct session;
struct shortage;
struct stream;

/* Finds who pays for a session, whenever its admission may have changed that. Without memory nobody does. */
void payer_join(struct session *session);
/* What the session holds, or its state, may have changed. */
void payer_update(struct session *session);
/* Its request is answered: it is not on its way to a destination any more. */
void payer_end_dial(struct session *session);
/* The session ends, or its admission does. */
void payer_leave(struct session *session);

/* The account that pays for a session; NULL: none. */
const struct quota_account *payer_account(const struct session *session);

/* Makes room for one more session of that account's owner (NULL: not known yet). false: descriptors are still short. */
bool payers_make_room(struct env *env, const struct quota_account *account);
/* Ends one session for a shortage of descriptors. In this order: an attempt to connect of the payer that holds most,
 * the handshake that has waited longest, an idle association of that payer; for an account that holds much less, the
 * latest session of that payer, unless the whole host is short; else the idle association of anybody. false: there is
 * none. */
bool payers_shed(struct env *env, const struct quota_account *account, const struct shortage *shortage);
/* The first two of these. */
bool payers_shed_begun(struct env *env, const struct shortage *shortage);
/* Ends the association that has been idle longest, of those that hold what is short: of the client or user that holds
 * most of it, or else of anybody. false: there is none. */
bool payers_shed_quiet(struct env *env, const struct shortage *shortage);
/* Has associations drop what they hold in loans, those of the payer first that holds most, until `bytes` are left. */
void payers_call_loans(struct env *env, size_t bytes);
/* To be called about once a second, after each session was updated. */
void payers_sweep(struct env *env);

/* The payer that holds most, if it stands out and has sessions here; else NULL. */
struct payer *payers_find_heaviest(struct env *env);
/* Shows each of its sessions: as sessions_visit(). */
void payer_visit(struct payer *payer, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg);

#endif
