/* Opens and closes the socket of an external end, direct or upstream, as the association's terms require. Its port
 * rests afterwards (net/ports.h). */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_SOCKET_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_SOCKET_H

#include <event2/event.h>
#include <stdbool.h>

#include "proxy/assoc/ends.h"

/* Opens it at flow.external of that family, which gets the port. 0 or a negative errno. */
int external_socket_open(struct external *external, int family, event_callback_fn on_readable);
void external_socket_close(struct external *external, int family);

static inline bool external_socket_is_open(const struct external *external)
{
    return external->socket.fd >= 0;
}

/* Whether the association's external sockets leave by one interface only. */
bool external_socket_is_bound(const struct assoc *assoc);

#endif
