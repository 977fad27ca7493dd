#include "policy/policy.h"

#include "policy/reach.h"

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
           config_listens_at(policy->config, &canonical);
}
