/*
 * The PROXY protocol on a listener: whom it is believed from, whom it announces, and where that client's datagrams
 * arrive. A "no" is counted, and says why in words.
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
/* The same for a connection that begins: if not, the log says so. */
bool proxy_header_trusts(struct env *env, const struct config_listener *listener, const union netaddr *peer);

/* Something has arrived at a session that is SESSION_AT_HEADER. */
void proxy_header_on_input(struct session *session);

/*
 * Where a client that was announced sends its datagrams, of this host's addresses and of the client's family; port 0.
 * Its connection ends at the balancer, so where that led to here says nothing: this may be another network, another
 * family, or loopback. AF_UNSPEC: there is none.
 */
union netaddr proxy_header_relay(const struct env *env, const union netaddr *client);

#endif
