/*
 * The endpoints of a configuration: each port of each listener, sorted, so that thousands of them are searched as fast
 * as one. The searches are declared in types.h.
 */
#ifndef CONESOCKS_CONF_ENDPOINTS_H
#define CONESOCKS_CONF_ENDPOINTS_H

#include <stdbool.h>

#include "conf/types.h"

/* The most ports of all listeners together. Each is a socket. */
#define ENDPOINTS_MAX 16384

/* Fills in config->endpoints, from the addresses and ports of config->listen. false: no memory, or too many. */
bool endpoints_fill(struct config *config);
/* The endpoint behind `first` that has the same address and port as one of another listener before it; `*before` gets
 * that. endpoint_count: no more. */
size_t endpoints_next_double(const struct config *config, size_t first, size_t *before);

#endif
