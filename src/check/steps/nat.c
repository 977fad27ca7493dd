/* Which type of NAT, through the proxy and without it. */
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "check/nat_probe.h"
#include "check/steps/steps.h"

static const char *mark_of(enum nat_type type)
{
    static const char *const marks[] = {"unknown", "open", "moderate", "strict"};
    static_assert(ARRAY_LEN(marks) == NAT_TYPES, "each has a mark");
    return marks[type];
}

/* "endpoint-independent mapping and filtering", or each by its own. */
static const char *describe_behaviour(const struct nat_verdict *verdict, char *text, size_t size)
{
    bool same = verdict->mapping == verdict->filtering;
    snprintf(text, size, same ? "%s mapping and filtering" : "%s mapping, %s filtering",
             nat_behaviour_name(verdict->mapping), nat_behaviour_name(verdict->filtering));
    return text;
}

/* With one address of the test server, the type stays unknown. Our own on this machine cannot have another one. */
static void say_one_address(const struct check_run *check, const struct nat_probe *probe, struct check_result *result)
{
    const struct nat_observations *seen = &probe->seen;
    const union netaddr *first = &seen->mapped[NAT_PRIMARY], *second = &seen->mapped[NAT_OTHER_PORT];
    bool steady = second->sa.sa_family != AF_UNSPEC && netaddr_equal(first, second);
    enum check_status unknown = check->server.own ? CHECK_INFO : CHECK_SKIPPED;
    if (steady && seen->from_other_port == NAT_ARRIVED)
        result_say(
            result, unknown,
            "partly tested, because the test server has one address: its two ports see the same external port, and "
            "both can send to us");
    else if (steady && seen->from_other_port == NAT_SILENT && seen->proof_other_port == NAT_ARRIVED)
        result_say(result, CHECK_WARNING, "%s filtering: even another port of the test server cannot send to us first",
                   nat_behaviour_name(NAT_ADDRESS_AND_PORT_DEPENDENT));
    else if (second->sa.sa_family != AF_UNSPEC && !steady)
        result_say(result, CHECK_FAILED, "Symmetric: the test server's other port sees another external port");
    else
        result_say(result, CHECK_SKIPPED, "unknown: some of the test server's answers are missing");
    if (result->status == CHECK_SKIPPED)
        result_fix(result, "give the test server a second address, or use a STUN server that has two (RFC 5780)");
}

static void say_verdict(const struct check_run *check, const struct nat_probe *probe, const struct nat_verdict *verdict,
                        struct check_result *result)
{
    static const enum check_status statuses[] = {[NAT_TYPE_UNKNOWN] = CHECK_SKIPPED,
                                                 [NAT_OPEN] = CHECK_OK,
                                                 [NAT_MODERATE] = CHECK_WARNING,
                                                 [NAT_STRICT] = CHECK_FAILED};
    char text[128], external[NETADDR_TEXT_MAX], disguise[NETADDR_TEXT_MAX];
    bool disguised = probe->disguise.sa.sa_family != AF_UNSPEC;
    enum check_status status = disguised && verdict->type == NAT_OPEN ? CHECK_WARNING : statuses[verdict->type];
    describe_behaviour(verdict, text, sizeof(text));
    netaddr_format(&probe->seen.mapped[NAT_PRIMARY], external);
    netaddr_format(&probe->disguise, disguise);
    result_data(result, "{s:s, s:s, s:s, s:s, s:s?}", "mapping", nat_behaviour_name(verdict->mapping), "filtering",
                nat_behaviour_name(verdict->filtering), "nat_type", mark_of(verdict->type), "external", external,
                "strangers_seem", disguised ? disguise : NULL);
    if (!probe->answered)
        result_say(result, CHECK_SKIPPED, "unknown: the test server did not answer");
    else if (probe->one_address)
        say_one_address(check, probe, result);
    else if (probe->lacks)
        result_say(result, CHECK_SKIPPED, "unknown: %s", probe->lacks);
    else if (verdict->type == NAT_TYPE_UNKNOWN)
        result_say(result, CHECK_SKIPPED, "unknown: some of the test server's answers are missing (%s)", text);
    else
        result_say(result, status, "%s, \"%s\" on game consoles (%s)%s%s", nat_cone_name(verdict),
                   nat_type_name(verdict->type), text, disguised ? "; but new peers appear as " : "",
                   disguised ? disguise : "");
    if (result->status == CHECK_SKIPPED && probe->answered && !probe->one_address)
        result_fix(result, "use a STUN server with two addresses and two ports (RFC 5780), such as coturn");
}

/* ---- through the proxy ---- */

/* The external address may still be a NAT's, although it is the one by which we reach the server. */
static void explain_nat(const struct nat_probe *probe, const struct nat_verdict *verdict, struct check_result *result)
{
    if (probe->disguise.sa.sa_family != AF_UNSPEC)
        result_advise(
            result,
            "clients cannot answer a peer that sends first, because its address is replaced: by a NAT or process in "
            "front of the server (rootless Docker and Docker Desktop do that), or by the server itself",
            "keep the sender's address on the way to the server's external UDP ports: with Docker, use its "
            "firewall rules or network_mode: host");
    else if (verdict->type == NAT_STRICT)
        result_advise(result,
                      "each destination sees another port, so players cannot connect to each other: the server opens a "
                      "socket for each destination, or a NAT in front of it changes the port",
                      "use a server with endpoint-independent mapping; behind a NAT, forward its external UDP ports to "
                      "the same port numbers (conesocks: udp.external_ports)");
    else if (verdict->type == NAT_MODERATE)
        result_advise(result,
                      "only peers that the client has sent to can send to it: the server or a firewall filters, or a "
                      "NAT does not forward the server's external ports",
                      "conesocks: set udp.filtering: endpoint-independent, and let UDP in to udp.external_ports from "
                      "everywhere; run conesocks check --direct on the proxy's host to see whether the server or the "
                      "network filters; dante cannot do better");
}

void step_nat(struct check_run *check, struct check_result *result)
{
    struct check_association association;
    struct nat_probe probe;
    bool associated = check_associate(check, &association);
    if (associated) {
        const struct server_line line = check_line(check, &association.channel);
        nat_probe(&probe, &line);
    }
    association_close(&association);
    if (!associated) {
        result_say(result, CHECK_SKIPPED, "the proxy granted no second association");
        return;
    }
    struct nat_verdict *verdict = check_nat(check, check->family);
    *verdict = nat_judge(&probe.seen);
    say_verdict(check, &probe, verdict, result);
    explain_nat(&probe, verdict, result);
}

/* ---- without ---- */

static void compare_with_proxy(const struct nat_verdict *through, const struct nat_verdict *direct,
                               struct check_result *result)
{
    if (through->type <= NAT_OPEN || direct->type == NAT_TYPE_UNKNOWN)
        return;
    if (direct->type < through->type)
        result_cause(result, "without the proxy, this machine's network is better: the proxy server is at fault");
    else
        result_cause(
            result,
            "without the proxy, the result for this machine is no better: its firewall or a NAT in front of it is at "
            "fault; but if udp.external_ports are open there, the server filters (conesocks: udp.filtering)");
}

void step_direct(struct check_run *check, struct check_result *result)
{
    union netaddr any = netaddr_any(check->family);
    struct channel direct = {.kind = CHANNEL_DIRECT, .fd = io_udp(&any, true)};
    const struct server_line line = check_line(check, &direct);
    struct nat_probe probe;
    if (direct.fd < 0) {
        result_say(result, CHECK_INFO, "this machine has no %s", check_family_name(check->family));
        return;
    }
    nat_probe(&probe, &line);
    close(direct.fd);
    struct nat_verdict verdict = nat_judge(&probe.seen);
    say_verdict(check, &probe, &verdict, result);
    if (!check_wants_proxy(check))
        return;
    result->status = CHECK_INFO; /* the proxy is tested; this explains its result */
    if (check_proxy_is_here(check))
        compare_with_proxy(check_nat(check, check->family), &verdict, result);
}
