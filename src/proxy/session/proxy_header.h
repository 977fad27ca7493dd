/*
 * The PROXY protocol header, in which a balancer (haproxy, nginx) sends the client's address. Decides which balancers
 * may send it, reads it, and finds where that client's datagrams arrive. Refusals are counted and logged with the
 * reason.
 */
#ifndef CONESOCKS_PROXY_SESSION_PROXY_HEADER_H
#define CONESOCKS_PROXY_SESSION_PROXY_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

struct config_listener;
struct env;
struct session;

bool proxy_header_is_balancer(const struct config_listener *listener, const union netaddr *peer);
/* The same for a new connection; if it is refused, that is counted and logged. */
bool proxy_header_trusts(struct env *env, const struct config_listener *listener, const union netaddr *peer);

/* Something has arrived at a session that is SESSION_AT_HEADER. */
void proxy_header_on_input(struct session *session);

/*
 * Which address of this host the client of a header sends its datagrams to; of the client's family, port 0. Its own
 * connection ends at the balancer, so our end of the balancer's connection does not help: that may be in another
 * network, of another family, or on loopback. AF_UNSPEC: there is none.
 */
union netaddr proxy_header_relay(const struct env *env, const union netaddr *client);

#endif
