/*
 * Shows how full the ranges of udp.ports and udp.external_ports are, for metrics, status and readiness. On the main
 * thread.
 */
#ifndef CONESOCKS_DAEMON_PORT_USAGE_H
#define CONESOCKS_DAEMON_PORT_USAGE_H

#include <stddef.h>

#include "net/ports.h"

struct config;

/* The usage of the ranges that new associations take their ports from. Returns how many there are: none while UDP is
 * off. A single port that all associations share (udp.ports: 1080) is not a range. */
size_t port_usage(const struct config *config, const struct port_range *system,
                  struct port_usage usage[PORT_RANGES_MAX]);
/* Why new associations are refused, as a literal; NULL: they are not. */
const char *port_usage_complaint(const struct config *config, const struct port_range *system);

#endif
