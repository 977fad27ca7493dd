/*
 * Ends sessions to make room when something is short: descriptors, memory, ports, or a configured limit. The caller
 * names what is short (shortage.h), and the session log of a session that ends names it too.
 *
 * The payer (payer.h) that holds most loses sessions first. Attempts to connect, handshakes and idle associations end
 * before anything else. Payers are compared over all workers; sessions end on the worker that asks. A
 * worker that has none of that payer's sessions finds no room, and the others make some within a second: see
 * shed_sweep().
 */
#ifndef CONESOCKS_PROXY_SESSION_SHED_H
#define CONESOCKS_PROXY_SESSION_SHED_H

#include <stdbool.h>

struct env;
struct payer;
struct quota_account;
struct shortage;

/* Makes room for one more session of that account's owner (NULL: not known yet). false: descriptors are still short. */
bool shed_for_newcomer(struct env *env, const struct quota_account *account);
/* Ends one session for a shortage of descriptors. It takes the first of these that there is; "heaviest" is the payer
 * that holds most:
 *   1. an attempt to connect of the heaviest,
 *   2. the handshake that has waited longest,
 *   3. an idle association of the heaviest,
 *   4. the latest session of the heaviest, if `account` holds much less, and the host as a whole is not short,
 *   5. an idle association of anybody.
 * false: there is none. */
bool shed_session(struct env *env, const struct quota_account *account, const struct shortage *shortage);
/* The same with the steps 1 and 2 only. */
bool shed_begun(struct env *env, const struct shortage *shortage);
/* Ends the handshake that has waited longest for a request, if for two seconds or more. false: there is none. */
bool shed_handshake(struct env *env, const struct shortage *shortage);
/* Ends the association that has been idle longest, among those that hold what is short. It must have been idle for two
 * minutes (RFC 4787 REQ-5). Associations of the client or user that holds most come first, then those of anybody.
 * false: there is none. */
bool shed_idle(struct env *env, const struct shortage *shortage);
/* The same, but only among associations that are charged to that account; NULL: among all. */
bool shed_idle_of(struct env *env, const struct quota_account *account, const struct shortage *shortage);
/* To be called about once a second, after each session was updated: makes the room that another worker has not found.
 */
void shed_sweep(struct env *env);

/* The payer that holds most, if it stands out and has sessions here; else NULL. */
struct payer *shed_find_heaviest(struct env *env);

#endif
