/*
 * Finds the address that clients are told to send their datagrams to, for a host behind a router, docker or a cloud's
 * NAT (udp.advertise_v4, udp.advertise_v6).
 */
#ifndef CONESOCKS_DAEMON_ADVERTISE_H
#define CONESOCKS_DAEMON_ADVERTISE_H

#include <stdbool.h>

#include "base/netaddr.h"

struct config;
struct snapshot;

/* Fills in the snapshot's advertised addresses: resolves names, which may take seconds, and looks up "auto". Warns when
 * clients will be told an address that they can probably not reach. false after a line in the log: there is no address.
 */
bool advertise_find(struct snapshot *snapshot);

/* Asks the configuration's name servers once and waits for the answer, which may take seconds. AF_UNSPEC: no address.
 */
union netaddr advertise_resolve(const struct config *config, const char *name, int family);

#endif
