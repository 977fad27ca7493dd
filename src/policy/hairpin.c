#include "policy/hairpin.h"

/* NULL: nothing is to be turned in that family. An address that this host has itself takes the system's own way. */
static const union netaddr *outside(const struct policy *policy, int family)
{
    const union netaddr *advertised = family == AF_INET ? &policy->advertised_v4 : &policy->advertised_v6;
    bool forwarded = advertised->sa.sa_family == family && policy->config->udp.external_ports.first != 0;
    return forwarded && !own_hosts_contain(&policy->own, advertised) ? advertised : NULL;
}

void hairpin_inward(const struct policy *policy, union netaddr *to)
{
    const union netaddr *named = outside(policy, to->sa.sa_family);
    if (!named || !netaddr_equal_host(named, to) || !own_port_is(OWN_PORT_EXTERNAL, to))
        return;
    /* Such a port is bound to no address in particular: the loopback's will do. */
    if (to->sa.sa_family == AF_INET)
        to->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        to->v6.sin6_addr = in6addr_loopback;
}

void hairpin_outward(const struct policy *policy, union netaddr *from)
{
    const union netaddr *named = outside(policy, from->sa.sa_family);
    if (!named)
        return;
    const bool here = reach_place_of(from) == REACH_LOOPBACK || own_hosts_contain(&policy->own, from);
    if (!here || !own_port_is(OWN_PORT_EXTERNAL, from))
        return;
    const uint16_t port = netaddr_port(from);
    *from = *named;
    netaddr_set_port(from, port);
}
