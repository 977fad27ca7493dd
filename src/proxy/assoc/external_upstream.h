/*
 * The way out of an association that leaves by an upstream: a control connection there that lives as long, and one
 * socket to the relay that the upstream has opened. Every datagram has its destination in front on the way up, and its
 * origin on the way down, as between a client and us: the mapping that the internet sees, and who may send to it, are
 * the upstream's.
 */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_UPSTREAM_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_UPSTREAM_H

#include <event2/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/dgram_io.h"
#include "proxy/assoc/assoc.h"

struct outlet;
struct terms;

/* Asks the upstream of the terms. NULL: no memory. */
struct outlet *outlet_new(struct assoc *assoc, const struct terms *terms);
void outlet_free(struct outlet *outlet);

/* Whose outcome the owner hears of. */
void outlet_set_hooks(struct outlet *outlet, const struct assoc_outlet_hooks *hooks);
const char *outlet_name(const struct outlet *outlet);

/* Memory that it holds, ours and the kernel's, without that socket. */
size_t outlet_memory(const struct outlet *outlet);

/* The family of the socket to the relay, which stands among the association's external ones; AF_UNSPEC: not granted. */
int outlet_family(const struct outlet *outlet);
/* Puts the destination in front of a run that is to be sent there. false: too large for that, and counted. */
bool outlet_address(struct outlet *outlet, const union netaddr *to, struct dgram_run *run);
/* Sends datagrams to a name, which the upstream resolves. */
void outlet_send_by_name(struct outlet *outlet, const char *name, uint16_t port, const struct dgram_run *payloads);
/* Event callback of the socket; `external` is its struct external. */
void outlet_on_relay(evutil_socket_t fd, short what, void *external);

#endif
