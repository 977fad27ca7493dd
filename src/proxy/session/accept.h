/*
 * A connection that a listener has just accepted: checks whether the listener is for that client and whether there is
 * room for one more, and makes a session of it.
 */
#ifndef CONESOCKS_PROXY_SESSION_ACCEPT_H
#define CONESOCKS_PROXY_SESSION_ACCEPT_H

#include "base/netaddr.h"

struct config_listener;
struct env;

/* Takes over `fd`, the connection just accepted from `peer` by a listener; closes it when a limit or the listener says
 * so, or for want of memory. */
void accept_session(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener);

#endif
