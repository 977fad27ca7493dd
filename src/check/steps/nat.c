/* Which kind of NAT, through the proxy and without it. */
#include <stdio.h>
#include <unistd.h>

#include "check/steps/steps.h"

static struct nat_verdict *verdict_of(struct check *check, int family)
{
    return family == AF_INET ? &check->nat_v4 : &check->nat_v6;
}

static const char *mark_of(enum nat_type type)
{
    return type == NAT_OPEN ? "open" : type == NAT_MODERATE ? "moderate" : type == NAT_STRICT ? "strict" : "unknown";
}

/* "endpoint-independent mapping and filtering", or each by its own. */
static const char *describe(const struct nat_verdict *verdict, char *text, size_t size)
{
    bool same = verdict->mapping == verdict->filtering;
    snprintf(text, size, same ? "%s mapping and filtering" : "%s mapping, %s filtering",
             nat_behaviour_name(verdict->mapping), nat_behaviour_name(verdict->filtering));
    return text;
}

/* With one address of the far end. It is a loose end, unless there cannot be another one: ours on this machine. */
static void say_one_address(const struct check *check, const struct nat_probe *probe, struct check_result *result)
{
    const struct nat_observations *seen = &probe->seen;
    const union netaddr *first = &seen->mapped[NAT_PRIMARY], *second = &seen->mapped[NAT_OTHER_PORT];
    bool steady = second->sa.sa_family != AF_UNSPEC && netaddr_equal(first, second);
    enum check_status unknown = check->far_end.own ? CHECK_INFO : CHECK_SKIPPED;
    if (steady && seen->from_other_port == NAT_ARRIVED)
        result_say(result, unknown,
                   "the far end's other port is let in, and sees the same external port; of other addresses its one "
                   "address cannot tell");
    else if (steady && seen->from_other_port == NAT_SILENT && seen->proof_other_port == NAT_ARRIVED)
        result_say(result, CHECK_WARNING,
                   "%s filtering: not even the far end's other port is let in before it is sent to",
                   nat_behaviour_name(NAT_ADDRESS_AND_PORT_DEPENDENT));
    else if (second->sa.sa_family != AF_UNSPEC && !steady)
        result_say(result, CHECK_FAILED, "the far end's other port sees another external port: \"symmetric\"");
    else
        result_say(result, CHECK_SKIPPED, "unknown: not all of the far end's answers came");
    if (result->status == CHECK_SKIPPED)
        result_fix(result, "give the far end a second address, or name a STUN server that has two (RFC 5780)");
}

static void say_verdict(const struct check *check, const struct nat_probe *probe, const struct nat_verdict *verdict,
                        struct check_result *result)
{
    static const enum check_status statuses[] = {[NAT_TYPE_UNKNOWN] = CHECK_SKIPPED,
                                                 [NAT_OPEN] = CHECK_OK,
                                                 [NAT_MODERATE] = CHECK_WARNING,
                                                 [NAT_STRICT] = CHECK_FAILED};
    char text[128], external[NETADDR_TEXT_MAX], disguise[NETADDR_TEXT_MAX];
    bool disguised = probe->disguise.sa.sa_family != AF_UNSPEC;
    enum check_status status = disguised && verdict->type == NAT_OPEN ? CHECK_WARNING : statuses[verdict->type];
    describe(verdict, text, sizeof(text));
    netaddr_format(&probe->seen.mapped[NAT_PRIMARY], external);
    result_data(result, "mapping", json_string(nat_behaviour_name(verdict->mapping)));
    result_data(result, "filtering", json_string(nat_behaviour_name(verdict->filtering)));
    result_data(result, "nat_type", json_string(mark_of(verdict->type)));
    result_data(result, "external", json_string(external));
    result_data(result, "strangers_seem",
                disguised ? json_string(netaddr_format(&probe->disguise, disguise)) : json_null());
    if (!probe->answered)
        result_say(result, CHECK_SKIPPED, "unknown: the far end did not answer");
    else if (probe->one_address)
        say_one_address(check, probe, result);
    else if (probe->lacks)
        result_say(result, CHECK_SKIPPED, "unknown: %s", probe->lacks);
    else if (verdict->type == NAT_TYPE_UNKNOWN)
        result_say(result, CHECK_SKIPPED, "unknown, although it is %s: not all of the far end's answers came", text);
    else
        result_say(result, status, "%s (%s): game consoles call this NAT type %s%s%s", nat_cone_name(verdict), text,
                   nat_type_name(verdict->type), disguised ? "; but a stranger seems to be " : "",
                   disguised ? disguise : "");
    if (result->status == CHECK_SKIPPED && probe->answered && !probe->one_address)
        result_fix(result, "name a STUN server that has two addresses and two ports and does RFC 5780, such as coturn");
}

/* ---- through the proxy ---- */

/* That the external address is the one by which we reach the server does not say that no NAT has it. */
static void explain(const struct nat_probe *probe, const struct nat_verdict *verdict, struct check_result *result)
{
    if (probe->disguise.sa.sa_family != AF_UNSPEC) {
        result_cause(result, "who sends to a client first cannot be answered, for another address stands in his place: "
                             "that of a process or a NAT that hands datagrams on to the server (rootless docker and "
                             "Docker Desktop do), or the server itself names the wrong one");
        result_fix(result, "have addresses kept on the way in to the server's external UDP ports: docker's firewall "
                           "rules do, and network_mode: host");
    } else if (verdict->type == NAT_STRICT) {
        result_cause(result, "each destination sees another port, so that no two peers can meet: the server opens a "
                             "socket for each, or a NAT in front of it does the like");
        result_fix(result, "use a server with endpoint-independent mapping; where it stands behind a NAT, forward its "
                           "external UDP ports, each under its own number (conesocks: udp.external_ports)");
    } else if (verdict->type == NAT_MODERATE) {
        result_cause(result, "the server lets in only whom the client has sent to, or what stands in front of it does: "
                             "a firewall, or a NAT that does not forward its external ports");
        result_fix(result, "conesocks: udp.filtering: endpoint-independent, and let UDP in to udp.external_ports from "
                           "everywhere (dante can do no better); on the server's host, conesocks check --direct "
                           "tells whether it is the server or the network");
    }
}

void step_nat(struct check *check, int family, struct check_result *result)
{
    const union netaddr *server = io_of_family(&check->far_end.addresses, family);
    struct association association;
    struct nat_probe probe;
    if (!check_associate(check, &association)) {
        result_say(result, CHECK_SKIPPED, "the proxy did not give us another association");
        association_close(&association);
        return;
    }
    nat_probe(&probe, &association.channel, server, check->far_end.key, &check->datagram);
    association_close(&association);
    struct nat_verdict verdict = nat_judge(&probe.seen);
    *verdict_of(check, family) = verdict;
    say_verdict(check, &probe, &verdict, result);
    explain(&probe, &verdict, result);
}

/* ---- without ---- */

static void compare(const struct check *check, const struct nat_verdict *through, const struct nat_verdict *direct,
                    struct check_result *result)
{
    if (through->type == NAT_TYPE_UNKNOWN || direct->type == NAT_TYPE_UNKNOWN || !check_proxy_is_here(check))
        return;
    if (through->type <= NAT_OPEN)
        return;
    if (direct->type < through->type)
        result_cause(result,
                     "this host's own network is better than what the proxy makes of it: the server is to blame");
    else
        result_cause(result,
                     "the proxy's host, which is this machine, has no better at a port that nobody has let in or "
                     "forwarded: its firewall or a NAT in front of it is to blame, unless udp.external_ports are; "
                     "then it is the server (conesocks: udp.filtering)");
}

void step_direct(struct check *check, int family, struct check_result *result)
{
    const union netaddr *server = io_of_family(&check->far_end.addresses, family);
    union netaddr any = netaddr_any(family);
    struct channel straight = {.kind = CHANNEL_STRAIGHT, .fd = io_udp(&any)};
    struct nat_probe probe;
    if (straight.fd < 0) {
        result_say(result, CHECK_INFO, "this machine has no %s", check_family_name(family));
        return;
    }
    nat_probe(&probe, &straight, server, check->far_end.key, &check->datagram);
    close(straight.fd);
    struct nat_verdict verdict = nat_judge(&probe.seen);
    say_verdict(check, &probe, &verdict, result);
    if (check_wants_proxy(check)) { /* the proxy is what is being checked; this explains it */
        result->status = CHECK_INFO;
        compare(check, family == AF_INET ? &check->nat_v4 : &check->nat_v6, &verdict, result);
    }
}
