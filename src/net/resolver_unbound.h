/*
 * libunbound, set up as a forwarding resolver on an event base: what it is told, and its process-wide parts guarded.
 */
#ifndef CONESOCKS_NET_RESOLVER_UNBOUND_H
#define CONESOCKS_NET_RESOLVER_UNBOUND_H

#include <stddef.h>
#include <unbound-event.h>
#include <unbound.h>

#include "base/netaddr.h"

/* NULL with a line in the log. For ub_resolve_event(); answers may come before that returns. */
struct ub_ctx *unbound_new(struct event_base *base, const union netaddr *servers, size_t count);
/* Not from within a callback of libunbound. Queries that were not cancelled are called back. */
void unbound_delete(struct ub_ctx *context);

#endif
