/*
 * A client may send from several ports (udp.client_ports). The association serves the first one. Each further one gets
 * a branch: an association inside the association, with external ends, a filter and names of its own, so that each port
 * of the client has a mapping of its own, as behind a full-cone NAT.
 *
 * A branch uses the association's relay port, and shares its limits, its terms and what it is charged to. It is not
 * counted as an association.
 */
#ifndef CONESOCKS_PROXY_ASSOC_BRANCH_H
#define CONESOCKS_PROXY_ASSOC_BRANCH_H

#include "base/netaddr.h"
#include "proxy/assoc/branch_list.h"
#include "proxy/assoc/client_port.h"

/* See branch_find(). */
struct assoc *branch_find_or_begin(struct assoc *assoc, const union netaddr *peer, uint64_t now);

/* The association, or its branch, that serves the port of a valid datagram from the client's host; it may have begun
 * with that. NULL: none does. */
static inline struct assoc *branch_find(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    if (branch_is_alone(assoc))
        return client_port_accepts(assoc, peer, now) ? assoc : NULL;
    return branch_find_or_begin(assoc, peer, now);
}

/* Adds what its branches have carried to its own counts. */
void branches_take(struct assoc *assoc);
/* When a datagram of one last passed, either way; 0: it has none. */
uint64_t branches_last_ms(const struct assoc *assoc);
/* About once a second: ends those that have been idle for longer than `udp.idle` allows. */
void branches_sweep(struct assoc *assoc, uint64_t now_ms);
/* The association has been put under other rules. */
void branches_review(struct assoc *assoc);
/* Ends those that have been idle for long, because memory is short. */
void branches_shrink(struct assoc *assoc);
void branches_free(struct assoc *assoc);

#endif
