/*
 * How full the ranges of udp.ports and udp.external_ports are: for metrics, status and readiness. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_PORT_USAGE_H
#define CONESOCKS_DAEMON_PORT_USAGE_H

#include <stddef.h>

#include "net/ports.h"

struct config;

/* Of the ranges that associations which begin now take their ports from. Returns how many there are: none while UDP is
 * off; a single port that all associations share (udp.ports) is no range. */
size_t port_usage(const struct config *config, const struct port_range *system,
                  struct port_usage usage[PORT_RANGES_MAX]);
/* Why new associations are refused, in words that stay; NULL: they are not. */
const char *port_usage_complaint(const struct config *config, const struct port_range *system);

#endif
