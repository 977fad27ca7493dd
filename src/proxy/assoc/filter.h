/*
 * The stricter filtering modes of RFC 4787 section 5: remembers which peers an association's client has
 * sent to. Only they may send to the client. Endpoint-independent filtering, the default, needs none of this.
 */
#ifndef CONESOCKS_PROXY_ASSOC_FILTER_H
#define CONESOCKS_PROXY_ASSOC_FILTER_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"
#include "proxy/assoc/loan.h"

/* How many peers are remembered. Beyond that, or without memory, the one that was added first is forgotten. */
#define FILTER_PEERS_MAX 4096
/* This many are not charged, and stay when memory is short. */
#define FILTER_PEERS_FREE 32

struct filter;
/* NULL: no memory. `mode` is not endpoint-independent. */
struct filter *filter_new(enum config_filtering mode);
/* `loan` is charged for the peers, in each of these calls. */
void filter_free(struct filter *filter, struct loan *loan);
enum config_filtering filter_mode(const struct filter *filter);
/* The client sends to `peer`. */
void filter_permit(struct filter *filter, struct loan *loan, const union netaddr *peer);
/* Forgets all but the peers that the client has sent to last. */
void filter_shrink(struct filter *filter, struct loan *loan);
/* May `peer` send to the client? */
bool filter_admits(const struct filter *filter, const union netaddr *peer);

#endif
