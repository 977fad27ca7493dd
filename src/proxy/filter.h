/*
 * The stricter filtering modes of RFC 4787 section 5: which peers an association's client has sent to, and so may
 * answer. Endpoint-independent filtering, the default, needs none of this.
 */
#ifndef CONESOCKS_PROXY_FILTER_H
#define CONESOCKS_PROXY_FILTER_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* The peers that are remembered; past that the longest known one is forgotten. */
#define FILTER_PEERS_MAX 4096

struct filter;
/* NULL: no memory. `mode` is not endpoint-independent. */
struct filter *filter_new(enum config_filtering mode);
void filter_free(struct filter *filter);
enum config_filtering filter_mode(const struct filter *filter);
/* The client sends to `peer`. */
void filter_permit(struct filter *filter, const union netaddr *peer);
/* May `peer` send to the client? */
bool filter_admits(const struct filter *filter, const union netaddr *peer);

#endif
