/*
 * Which workers listen at which ports. With a few ports each worker has a socket for each. Many ports are spread over
 * the workers, one socket for each port.
 */
#ifndef CONESOCKS_DAEMON_SPREAD_H
#define CONESOCKS_DAEMON_SPREAD_H

#include <stdbool.h>
#include <stddef.h>

struct config;

bool spread_is_wanted(const struct config *config);
/* Whether that worker is to have a socket for an endpoint. */
bool spread_has(const struct config *config, size_t endpoint, size_t worker, size_t worker_count);
/* The sockets of all workers together. */
size_t spread_sockets(const struct config *config, size_t worker_count);

#endif
