#include "policy/hairpin.h"

/* Whether the advertised address is that of a NAT in front of this host, which forwards the external ports. To an
 * address that this host has itself, the kernel delivers. */
static bool is_nat_in_front(const struct policy *policy, const union netaddr *advertised)
{
    return policy->config->udp.external_ports.first != 0 && !own_hosts_contain(policy->own_hosts, advertised);
}

void hairpin_inward(const struct policy *policy, union netaddr *to)
{
    const union netaddr *advertised = policy_advertised(policy, to);
    if (netaddr_equal_host(advertised, to) && is_nat_in_front(policy, advertised))
        (void)own_ports_locate(policy->own_ports, to);
}

void hairpin_outward(const struct policy *policy, union netaddr *from)
{
    const union netaddr *advertised = policy_advertised(policy, from);
    union netaddr located = *from;
    if (advertised->sa.sa_family != from->sa.sa_family || !own_ports_locate(policy->own_ports, &located) ||
        !netaddr_equal_host(&located, from) || !is_nat_in_front(policy, advertised))
        return;
    const uint16_t port = netaddr_port(from);
    *from = *advertised;
    netaddr_set_port(from, port);
}
