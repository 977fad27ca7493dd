/*
 * An association at an upstream: asks for it, keeps its control connection, and reports the relay's address. It ends
 * when that connection does.
 */
#ifndef CONESOCKS_PROXY_UPSTREAM_UPSTREAM_ASSOC_H
#define CONESOCKS_PROXY_UPSTREAM_UPSTREAM_ASSOC_H

#include <event2/event_struct.h>
#include <stddef.h>

#include "base/netaddr.h"
#include "proxy/assoc/hooks.h"

struct env;
struct terms;
struct upstream;

struct upstream_assoc;

/* Called when the upstream has granted it: opens a socket to the relay, from `local`, the control connection's own
 * address. After a negative errno the association has failed. */
typedef int upstream_assoc_open(struct upstream_assoc *assoc, const union netaddr *relay, const union netaddr *local);

struct upstream_assoc {
    struct env *env;
    struct assoc_upstream_hooks hooks; /* told the outcome, after `open`; to be set before the next event */
    upstream_assoc_open *open;
    struct upstream *request; /* NULL: answered */
    int control;              /* the control connection; -1: not granted */
    struct event readable;
    const char *name; /* the upstream's, the owner's to keep */
};

/* Asks the upstream of the terms, at the charge of `client` and `user`. 0 or a negative errno. */
int upstream_assoc_ask(struct upstream_assoc *assoc, struct env *env, const struct terms *terms,
                       const union netaddr *client, const char *user, const char *name, upstream_assoc_open *open);
void upstream_assoc_deinit(struct upstream_assoc *assoc);

/* The kernel's memory for its connection. */
size_t upstream_assoc_memory(const struct upstream_assoc *assoc);

#endif
