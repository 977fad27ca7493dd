/*
 * Whether there is room for one more: a session's charges against the limits, from accept to end. A "no" is counted and
 * logged with the key to raise; where an idle association can make room, it does.
 */
#ifndef CONESOCKS_PROXY_SESSION_ADMISSION_H
#define CONESOCKS_PROXY_SESSION_ADMISSION_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "proxy/session/charges.h"

struct env;

/* A connection is accepted: it counts as a session, and as a handshake. false: close it; nothing is charged. */
bool admit_connection(struct charges *charges, struct env *env, const union netaddr *client);
/* The same for a balancer's connection whose client is still to be announced: it counts in all, and for no client yet;
 * one balancer brings everybody's. */
bool admit_balancer(struct charges *charges, struct env *env, const union netaddr *balancer);
/* It is announced: from here on it counts for that client as well. It keeps its place in all, so nobody has to make
 * room. false: end it; what it was charged for is the caller's to give back. */
bool admit_announced(struct charges *charges, struct env *env, const union netaddr *client);
/* Its handshake is over: `user`, NULL without a login, asks for something. NULL, or why not. */
const char *admit_request(struct charges *charges, struct env *env, const union netaddr *client, const char *user);
/* That is an association. NULL, or why not. */
const char *admit_association(struct charges *charges, struct env *env, const union netaddr *client, const char *user);
/* The request came to nothing: what it was charged for is given back, while the connection still counts. */
void admission_refused(struct charges *charges, const struct env *env);
/* The connection is closed. */
void admission_end(struct charges *charges, const struct env *env);

#endif
