#include "policy/policy.h"

#include "policy/reach.h"

static bool has_listener(const struct config *config, const union netaddr *canonical)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        const union netaddr *listener = &config->listen[i].address;
        if (netaddr_port(listener) == netaddr_port(canonical) &&
            (netaddr_is_any(listener) || netaddr_equal_host(listener, canonical)))
            return true;
    }
    return false;
}

const union netaddr *policy_advertised(const struct policy *policy, const union netaddr *address)
{
    return &policy->advertised[family_index(address->sa.sa_family)];
}

bool policy_is_own(const struct policy *policy, const union netaddr *canonical)
{
    return own_hosts_contain(policy->own_hosts, canonical) ||
           netaddr_equal_host(policy_advertised(policy, canonical), canonical);
}

bool policy_is_listener(const struct policy *policy, const union netaddr *to)
{
    const union netaddr canonical = netaddr_canonical(to);
    return (policy_is_own(policy, &canonical) || reach_place_of(&canonical) == REACH_LOOPBACK) &&
           has_listener(policy->config, &canonical);
}
