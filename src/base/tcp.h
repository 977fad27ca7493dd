/* What opening a TCP connection takes into account, with or without an event loop. */
#ifndef CONESOCKS_BASE_TCP_H
#define CONESOCKS_BASE_TCP_H

#include <stdbool.h>

/* Whether a connection leads to its own socket (simultaneous open, RFC 793 section 3.4). That happens when nobody
 * listens at a local port and the system picks this very port as the connection's own. The caller treats it as
 * a refused connection. */
bool tcp_is_connected_to_itself(int fd);

#endif
