/* Builds /proxy.pac, the script that configures a browser to use this proxy. */
#ifndef CONESOCKS_ADMIN_PAC_H
#define CONESOCKS_ADMIN_PAC_H

#include "base/netaddr.h"

struct config;

#define PAC_TYPE "application/x-ns-proxy-autoconfig"

/* A text for free(), or NULL: no memory. `local` is the address of this host that the browser connected to; AF_UNSPEC:
 * the browser is on this host. */
char *pac_format(const struct config *config, const union netaddr *local);

#endif
