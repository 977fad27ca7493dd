/* The UDP sockets of an association: each has a port of its own and is known to the process as ours. */
#ifndef CONESOCKS_PROXY_ASSOC_UDP_SOCKET_H
#define CONESOCKS_PROXY_ASSOC_UDP_SOCKET_H

#include <stdint.h>

#include "base/netaddr.h"
#include "net/dgram_io.h"
#include "net/ports.h"
#include "policy/own_ports.h"

struct env;
struct sock_egress;

/* Opens one at `local`, which gets a port of the range; `egress` may be NULL. A descriptor or a negative errno. */
int udp_socket_open(struct env *env, const struct port_range *range, union netaddr *local,
                    const struct sock_egress *egress, enum own_port kind, struct port_lease *port);
/* Closes it. Its port rests after `used_until_ms`; 0: it need not rest. */
void udp_socket_close(struct env *env, int fd, const struct port_range *range, const union netaddr *local,
                      enum own_port kind, struct port_lease *port, uint64_t used_until_ms);
/* Prepares it for datagrams, as the configuration and the level of memory require. */
struct dgram_socket udp_socket_adopt(const struct env *env, int fd, int family);

#endif
