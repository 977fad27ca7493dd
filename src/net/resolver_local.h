/*
 * Names that this host answers itself, without a name server: localhost, those in the hosts file, and those that no
 * server may hear of.
 */
#ifndef CONESOCKS_NET_RESOLVER_LOCAL_H
#define CONESOCKS_NET_RESOLVER_LOCAL_H

#include <stdbool.h>
#include <stddef.h>

#include "net/resolver_files.h"
#include "net/resolver_types.h"

/* Of a name in lower case, without a final dot. false: a name server is to be asked. `count` 0: it does not exist. */
bool resolver_find_local(const struct hosts *hosts, const char *name, int family,
                         union netaddr addresses[RESOLVER_ADDRESSES_MAX], size_t *count);

#endif
