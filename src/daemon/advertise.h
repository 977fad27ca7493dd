/*
 * The address that clients are told to send their datagrams to, for a host behind a router, docker or a cloud's NAT
 * (udp.advertise_v4, udp.advertise_v6).
 */
#ifndef CONESOCKS_DAEMON_ADVERTISE_H
#define CONESOCKS_DAEMON_ADVERTISE_H

#include <stdbool.h>

#include "base/netaddr.h"

struct config;
struct snapshot;

/* Fills in what the snapshot's configuration comes to: names are resolved, which may take seconds, "auto" is looked up.
 * Then says when clients will be told what they can hardly reach. false after a line in the log: it cannot be found
 * out. */
bool advertise_find(struct snapshot *snapshot);

/* Asks the configuration's name servers once, and waits for them, which may take seconds. AF_UNSPEC: no address. */
union netaddr advertise_resolve(const struct config *config, const char *name, int family);

#endif
