/* /proxy.pac: how a browser is told, by one URL, to use this proxy. */
#ifndef CONESOCKS_ADMIN_PAC_H
#define CONESOCKS_ADMIN_PAC_H

#include "base/netaddr.h"

struct config;

#define PAC_TYPE "application/x-ns-proxy-autoconfig"

/* A text for free(), or NULL: no memory. `local` is the address of this host that the browser has reached; AF_UNSPEC:
 * it is on this host. */
char *pac_format(const struct config *config, const union netaddr *local);

#endif
