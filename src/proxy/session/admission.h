/*
 * Charges a session against the configured limits, from accept to end, and refuses it when one is reached. A refusal is
 * counted and logged with the option to raise. If an idle association can be ended to make room, nothing is refused.
 */
#ifndef CONESOCKS_PROXY_SESSION_ADMISSION_H
#define CONESOCKS_PROXY_SESSION_ADMISSION_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "proxy/session/charges.h"

struct env;
struct session_user;

/* A connection is accepted: it counts as a session, and as a handshake. false: close it; nothing is charged. */
bool admit_connection(struct charges *charges, struct env *env, const union netaddr *client);
/* The same for a balancer's connection, before its header: it counts in the total, and for no client yet, as one
 * balancer brings the connections of all clients. */
bool admit_balancer(struct charges *charges, struct env *env, const union netaddr *balancer);
/* The header has named the client: from here on the connection counts for that client as well. It already counts in the
 * total, so nobody has to make room. false: end it; the caller gives back what it was charged for. */
bool admit_client(struct charges *charges, struct env *env, const union netaddr *client);
/* The client has sent its request; `user` is NULL without a login. Returns NULL, or why it is refused. */
const char *admit_request(struct charges *charges, struct env *env, const union netaddr *client,
                          struct session_user *user);
/* The request is for an association: charges that as well. Returns NULL, or why it is refused. */
const char *admit_association(struct charges *charges, struct env *env, const union netaddr *client, const char *user);
/* The request came to nothing: what it was charged for is given back, while the connection still counts. */
void admission_refused(struct charges *charges, const struct env *env);
/* The connection is closed. */
void admission_end(struct charges *charges, const struct env *env);

#endif
