/* The external end that sends straight to the destinations: a socket of one family, which the internet sees. */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H

#include <event2/event.h>

#include "proxy/assoc/ends.h"

extern const struct external_ops external_direct_ops;

/* Opens the socket of any external end, at flow.external of that family, which gets the port. 0 or a negative errno. */
int external_direct_open_socket(struct external *external, int family, event_callback_fn on_readable);
void external_direct_close_socket(struct external *external, int family);

#endif
