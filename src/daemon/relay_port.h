/*
 * Checks that the UDP port that all associations share (udp.ports: 1080) can be opened. It is opened only when the
 * first association begins, which would be too late to report an error.
 */
#ifndef CONESOCKS_DAEMON_RELAY_PORT_H
#define CONESOCKS_DAEMON_RELAY_PORT_H

#include <stdbool.h>

struct config;

/* Whether it is free at the addresses of all listeners, or there is no such port. `ours`: sockets of this process may
 * have it. false after a line in the log. */
bool relay_port_is_free(const struct config *config, bool ours);

#endif
