/*
 * The UDP port that the clients of all associations send to (udp.ports: 1080). It is opened when the first association
 * begins, so whether it can be is asked before.
 */
#ifndef CONESOCKS_DAEMON_RELAY_PORT_H
#define CONESOCKS_DAEMON_RELAY_PORT_H

#include <stdbool.h>

struct config;

/* Whether it is free at all listeners' addresses. `ours`: sockets of this process may have it. false after a line in
 * the log. True when there is no such port. */
bool relay_port_is_free(const struct config *config, bool ours);

#endif
