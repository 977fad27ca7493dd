/*
 * The external end that leaves by another SOCKS5 server, an upstream: a control connection there that lives as long as
 * the association, and one socket, connected to the relay that the upstream has opened. It serves destinations of both
 * families.
 *
 * An association waits for the upstream before it is granted, and ends with it. A branch (branch.h) begins in the
 * middle of its client's datagrams: the first ones wait for the upstream, and when that has failed, later ones ask it
 * again.
 */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_UPSTREAM_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_UPSTREAM_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"

struct assoc;
struct assoc_upstream_hooks;
struct terms;

/* Asks the upstream of the terms, and makes this the association's external end. It opens when the upstream has granted
 * the association. 0 or a negative errno. */
int external_upstream_ask(struct assoc *assoc, const struct terms *terms);

/* How the association would leave without its upstream. */
struct external_way {
    union netaddr from[FAMILY_COUNT]; /* no port */
    enum config_filtering filtering;
};
struct external_way external_upstream_way(const struct assoc *assoc);

/* Makes the upstream of that name a branch's external end. Its first datagram asks it. 0 or a negative errno. */
int external_upstream_begin(struct assoc *branch, const char *name, const struct external_way *way);

/* Whether a branch's upstream is in the active configuration. true: it leaves directly. */
bool external_upstream_is_configured(const struct assoc *branch);

/* Sets the hooks to call with the outcome. false: the association does not use an upstream. */
bool external_upstream_set_hooks(struct assoc *assoc, const struct assoc_upstream_hooks *hooks);
/* The upstream's name; NULL: the association does not leave by one. */
const char *external_upstream_name(const struct assoc *assoc);

#endif
