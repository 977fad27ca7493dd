/*
 * A branch is an association inside an association, with external ends of its own: for a further port of the client, or
 * for destinations that leave by another upstream.
 *
 * A client may send from several ports (udp.client_ports). The association serves the first one, and a branch each
 * further one: with a filter and names of its own, so that each port has a mapping of its own, as behind a full-cone
 * NAT.
 *
 * Rules about destinations may name upstreams. Such a destination leaves by an *exit*: a branch that leaves by another
 * upstream than the association, or by none. The association, or the branch of a port, has exits of its own.
 *
 * A branch uses the association's relay port, and shares its limits, its terms and what it is charged to. It is not
 * counted as an association.
 */
#ifndef CONESOCKS_PROXY_ASSOC_BRANCH_H
#define CONESOCKS_PROXY_ASSOC_BRANCH_H

#include "base/netaddr.h"
#include "conf/rule_order.h"
#include "proxy/assoc/branch_list.h"
#include "proxy/assoc/client_port.h"

/* See branch_find(). */
struct assoc *branch_find_or_begin(struct assoc *assoc, const union netaddr *peer, uint64_t now);

/* Finds the association or the branch that serves the port of a valid datagram from the client's host, or begins a
 * branch for that port. NULL: none serves it. */
static inline struct assoc *branch_find(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    if (branch_is_alone(assoc))
        return client_port_accepts(assoc, peer, now) ? assoc : NULL;
    return branch_find_or_begin(assoc, peer, now);
}

/* See branch_exit(). */
struct assoc *branch_find_exit(struct assoc *assoc, const char *upstream);

/* Whether destinations that a rule allows leave by the association's own ends. RULES_NO_MATCH: reach allows them. */
static inline bool branch_uses_own_ends(const struct assoc *assoc, uint32_t rule)
{
    const struct config *config = assoc->env->config;
    return rule == RULES_NO_MATCH || !config->rules[rule].terms.upstream ||
           rule_order_takes_everywhere(&config->rules[rule]);
}

/* Finds the exit for destinations that a rule allows, or begins one; it may be the association itself. The rule is one
 * of the active ones. NULL: there are too many exits, or there is no memory. */
static inline struct assoc *branch_exit(struct assoc *assoc, uint32_t rule)
{
    if (branch_uses_own_ends(assoc, rule))
        return assoc;
    return branch_find_exit(assoc, assoc->env->config->rules[rule].terms.upstream);
}

/* Adds what its branches have carried to its own counts. */
void branches_take(struct assoc *assoc);
/* When a datagram of any branch last passed, in either direction; 0: there is no branch. */
uint64_t branches_last_ms(const struct assoc *assoc);
/* About once a second: ends those that have been idle for longer than `udp.idle` allows, and exits to upstreams that a
 * reload has removed. */
void branches_sweep(struct assoc *assoc, uint64_t now_ms);
/* Passes the association's rules to its branches, after a reload. */
void branches_review(struct assoc *assoc);
/* Memory is short: ends the branches that have been idle for long. */
void branches_shrink(struct assoc *assoc);
void branches_free(struct assoc *assoc);

#endif
