#include "proxy/session/advertised.h"

#define LOG_MODULE "udp"
#include "base/log.h"
#include "policy/reach.h"
#include "proxy/assoc/assoc.h"
#include "proxy/env.h"

/* A client of the internet that is told a private address blames its own firewall. */
static void advertised_warn_private(struct env *env, const union netaddr *client, const union netaddr *told)
{
    char client_text[NETADDR_TEXT_MAX], told_text[NETADDR_TEXT_MAX];
    if (reach_place_of(client) != REACH_PUBLIC || reach_place_of(told) != REACH_PRIVATE)
        return;
    LOG_LIMITED(&env->private_relay_log, env_now(env), LOG_LEVEL_WARNING,
                "client %s is told to send its datagrams to %s, a private address that it can hardly reach: set "
                "udp.advertise_%s to the address that the client connects to",
                netaddr_format_host(client, client_text), netaddr_format(told, told_text),
                told->sa.sa_family == AF_INET ? "v4" : "v6");
}

union netaddr advertised_address(const struct policy *policy, const union netaddr *local)
{
    union netaddr told = *policy_advertised(policy, local);
    if (told.sa.sa_family == AF_UNSPEC || reach_place_of(local) == REACH_LOOPBACK)
        told = *local;
    netaddr_set_port(&told, netaddr_port(local));
    return told;
}

union netaddr advertised_relay(struct env *env, const union netaddr *client, const union netaddr *relay)
{
    const union netaddr told = advertised_address(&env->policy, relay);
    advertised_warn_private(env, client, &told);
    return told;
}

void advertised_review(struct env *env, const union netaddr *client, const struct assoc_flow *flow)
{
    const union netaddr told = advertised_address(&env->policy, &flow->relay);
    bool behind_nat = netaddr_port(&told) != 0 && !netaddr_equal_host(&told, &flow->relay);
    bool arrived = assoc_flow_has_heard_client(flow);
    const bool other_address = flow->dropped[DROP_OTHER_ADDRESS] != 0;
    struct log_limit *limit = &env->private_relay_log;
    if (arrived || !(behind_nat || other_address))
        return;
    char client_text[NETADDR_TEXT_MAX], told_text[NETADDR_TEXT_MAX];
    netaddr_format_host(client, client_text);
    netaddr_format(&told, told_text);
    if (other_address)
        LOG_LIMITED(
            limit, env_now(env), LOG_LEVEL_INFO,
            "client %s: its datagrams came from another address of its IPv6 network and were dropped; switch off "
            "temporary addresses on the client's host, or have it connect over IPv4",
            client_text);
    else if (flow->dropped[DROP_STRANGER])
        LOG_LIMITED(limit, env_now(env), LOG_LEVEL_INFO,
                    "client %s was told to send its datagrams to %s; they came from another address than its "
                    "connection and were dropped: the router or balancer in front of this host must keep the client's "
                    "address for both TCP and udp.ports, or for neither",
                    client_text, told_text);
    else
        LOG_LIMITED(
            limit, env_now(env), LOG_LEVEL_INFO,
            "client %s was told to send its datagrams to %s, and none arrived: if it sent any, check that "
            "udp.advertise_%s is right, and that the NAT forwards UDP port %u and all of udp.ports to this host",
            client_text, told_text, told.sa.sa_family == AF_INET ? "v4" : "v6", netaddr_port(&told));
}
