/*
 * What decides whether a client may do something: a policy.
 *
 * The words of this folder, which all code uses in this sense:
 * - subject: who asks: a client's address, its user if it has logged in, and the SOCKS command (rules.h)
 * - rule: an entry of `rules:`. It allows or denies destinations to subjects, and may set terms; the first that
 *   matches decides (rules.h)
 * - reach: what a client may reach where no rule decides: public, private or all addresses (reach.h)
 * - policy: all that decides: rules, reach, this host's own addresses, and the ports of this process
 * - verdict: the answer to one check of a policy: allowed, or denied and by what (verdict.h)
 * - terms: how an allowed session is served: rates, outbound address, mark, filtering, upstream (terms.h)
 * - snapshot: a configuration with its rules and users; a reload makes a new one (snapshot.h)
 * - review: after a reload, every session is checked against the new policy (proxy/session/review.h)
 * - permit: checks the policy before anything leaves, counts and logs a denial (proxy/permit.h)
 */
#ifndef CONESOCKS_POLICY_POLICY_H
#define CONESOCKS_POLICY_POLICY_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"
#include "policy/own_hosts.h"
#include "policy/own_ports.h"

/* All but the rules, which a subject brings along. Plain data: it asks no kernel, and the code that fills it in holds
 * it. */
struct policy {
    const struct config *config;
    struct own_hosts *own_hosts;            /* this host's addresses; NULL: none are known */
    struct own_ports *own_ports;            /* this process's UDP ports; NULL: it has none */
    union netaddr advertised[FAMILY_COUNT]; /* this host's address as the internet sees it; AF_UNSPEC: none */
};

/* The advertised address of the family of `address`. */
const union netaddr *policy_advertised(const struct policy *policy, const union netaddr *address);

/* Whether an address is this host's own, or the advertised one; loopback is not. */
bool policy_is_own(const struct policy *policy, const union netaddr *canonical);

/* Whether a connection to `to` arrives at a listener of this process. */
bool policy_is_listener(const struct policy *policy, const union netaddr *to);

#endif
