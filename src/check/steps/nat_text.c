/* The words for a NAT's type and for what it rests on. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "check/steps/nat_text.h"

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

void nat_say_probed(const struct check_run *check, const struct nat_probe *probe, const struct nat_verdict *verdict,
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

/* The external address may still be a NAT's, although it is the one by which we reach the server. */
void nat_explain(const union netaddr *disguise, const union netaddr *asked, const struct nat_verdict *verdict,
                 struct check_result *result)
{
    static const struct advice disguised = {
        "you can join games; people who want to join yours, or to call you, get no answer",
        "clients cannot answer a peer that sends first, because its address is replaced: by a NAT or process in front "
        "of "
        "the server (rootless Docker and Docker Desktop do that), or by the server itself",
        "keep the sender's address on the way to the server's external UDP ports: with Docker, use its firewall rules "
        "or "
        "network_mode: host",
        "let others host, and tell the server's owner"};
    static const struct advice by_type[] = {
        [NAT_TYPE_UNKNOWN] = {NULL, NULL, NULL, NULL},
        [NAT_OPEN] = {"Open: you can join and host games, and voice chats reach everybody", NULL, NULL, NULL},
        [NAT_MODERATE] =
            {"Moderate: you can join most games; hosting and some voice chats fail",
             "only peers that the client has sent to can send to it: the server or a firewall filters, or a NAT does "
             "not "
             "forward the server's external ports",
             "conesocks: set udp.filtering: endpoint-independent, set udp.external_ports to a range, and let UDP in to "
             "it "
             "from everywhere; "
             "run conesocks check --direct on the proxy's host to see whether the server or the network filters; dante "
             "cannot do better",
             "let others host; for an open NAT type, ask the server's owner or use another server"},
        [NAT_STRICT] =
            {"Strict: you can play on the game's own servers; games and calls between players often fail",
             "each destination sees another port, so players cannot connect to each other: the server opens a socket "
             "for "
             "each destination, or a NAT in front of it changes the port",
             "use a server with endpoint-independent mapping; behind a NAT, forward its external UDP ports to the same "
             "port numbers (conesocks: udp.external_ports)",
             "ask the server's owner, or use another server"},
    };
    static_assert(ARRAY_LEN(by_type) == NAT_TYPES, "each has advice");
    /* A gateway explains a strict type, too: a peer that has sent first holds the port that the NAT would choose again.
     * If the wrong address is the one that was asked, the proxy itself gives it. */
    const bool explains = verdict->type != NAT_STRICT || !netaddr_equal_host(disguise, asked);
    if (disguise->sa.sa_family != AF_UNSPEC && explains)
        result_explain(result, &disguised);
    else if (verdict->type != NAT_TYPE_UNKNOWN)
        result_explain(result, &by_type[verdict->type]);
    else if (verdict->mapping == NAT_ENDPOINT_INDEPENDENT)
        result_means(result, "you can join most games; whether you can host them is unknown");
}

/* ---- what several servers and strangers have seen ---- */

/* Why the filtering is unknown, and how it can be found out. */
static const struct {
    const char *why, *fix;
} doubts[] = {
    [NAT_DOUBT_NEAR_OPEN] =
        {"this machine gets in, but it is in the proxy's own network: whether a firewall or router in "
         "front of both lets others in is unknown",
         "run the check from another network, such as a phone's hotspot"},
    [NAT_DOUBT_NEAR_SILENT] =
        {"this machine does not get in, but it is in the proxy's own network, whose router may not "
         "send such datagrams back",
         "run the check from another network, such as a phone's hotspot"},
    [NAT_DOUBT_NO_FAMILY] = {"this machine cannot send to the proxy's external address without the proxy",
                             "run the check on a machine with that IP version, or use --peer"},
    [NAT_DOUBT_NO_WAY] = {"this network lets no UDP out without the proxy, so this machine cannot try to get in",
                          "run the check from another network, such as a phone's hotspot, or use --peer"},
    [NAT_DOUBT_ONE_SOCKET] = {"the proxy uses one port for clients and peers, so it takes this machine for the client",
                              "use --peer with a machine at another address"},
    [NAT_DOUBT_OWN_NAT] = {"this machine does not get in, but the NAT of this network uses another port for each "
                           "destination, so perhaps the proxy expects another port",
                           "run the check from another network, such as a phone's hotspot, or use --peer"},
    [NAT_DOUBT_LOST] = {"datagrams of this machine do not reach the proxy's external port at all: a firewall here or "
                        "there drops them",
                        "run the check from another network, such as a phone's hotspot, or use --peer"},
};
static_assert(ARRAY_LEN(doubts) == NAT_DOUBTS, "each has a text");

static const char *const filter_words[NAT_BASES][2] = {
    [NAT_BASIS_NONE] = {"", ""},
    [NAT_BASIS_SERVER] = {"a STUN server's second address gets in",
                          "a STUN server's second address gets in only after the client has sent there"},
    [NAT_BASIS_HERE] = {"this machine gets in without the proxy",
                        "this machine gets in without the proxy only after the client has sent to it"},
    [NAT_BASIS_CLIENT] = {"another client of the proxy gets in",
                          "another client of the proxy gets in only after this one has sent to it"},
};

const char *nat_basis_name(enum nat_basis basis)
{
    static const char *const names[] = {NULL, "stun_second_address", "this_machine", "another_client"};
    static_assert(ARRAY_LEN(names) == NAT_BASES, "each has a name");
    return names[basis];
}

/* "203.0.113.1:40000, 203.0.113.1:40001" */
static const char *list_views(const struct nat_evidence *evidence, char *text, size_t size)
{
    char one[NETADDR_TEXT_MAX];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < evidence->view_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
                                 netaddr_format(&evidence->views[i].mapped, one));
    return text;
}

/* "3 servers and this machine" */
static const char *describe_places(const struct nat_evidence *evidence, const struct nat_conclusion *c, char text[64])
{
    size_t servers = c->places - evidence->last_is_ours;
    snprintf(text, 64, "%zu server%s%s", servers, servers == 1 ? "" : "s",
             evidence->last_is_ours ? " and this machine" : "");
    return text;
}

static void say_unknown(const struct nat_evidence *evidence, const struct nat_conclusion *c,
                        struct check_result *result)
{
    char places[64];
    const char *open = c->proxy_is_open && c->doubt != NAT_DOUBT_NEAR_OPEN
                           ? "; the proxy itself does not filter: another client of it gets in"
                           : "";
    if (c->verdict.mapping == NAT_UNKNOWN) {
        result_say(result, CHECK_SKIPPED,
                   "unknown: %zu address has answered, and two are needed to compare what they see",
                   evidence->view_count);
        result_fix(result, "try again later, or name other STUN servers with --stun");
        return;
    }
    result_say(result, CHECK_SKIPPED,
               "Open or Moderate: %s see the same external port (%s mapping), but the filtering is unknown: %s%s",
               describe_places(evidence, c, places), nat_behaviour_name(c->verdict.mapping), doubts[c->doubt].why,
               open);
    result_fix(result, "%s", doubts[c->doubt].fix);
}

static void say_odd_view(const struct check_run *check, const struct nat_view *odd, struct check_result *result)
{
    char server[CHECK_NAME_MAX], seen[NETADDR_TEXT_MAX];
    if (result->status == CHECK_OK)
        result->status = CHECK_WARNING;
    result_cause(
        result,
        "%s sees us as %s, unlike all others: that server is wrong, or the proxy's host sends there by another "
        "network",
        check_server_name(check, &odd->from, server), netaddr_format(&odd->mapped, seen));
}

void nat_say_concluded(const struct check_run *check, const struct nat_evidence *evidence,
                       const struct nat_conclusion *c, const union netaddr *disguise, struct check_result *result)
{
    const struct nat_verdict *verdict = &c->verdict;
    char text[128], views[NAT_VIEWS_MAX * NETADDR_TEXT_MAX], seen[NETADDR_TEXT_MAX];
    bool disguised = disguise->sa.sa_family != AF_UNSPEC, open = verdict->filtering == NAT_ENDPOINT_INDEPENDENT;
    char counted[128] = "", places[64];
    describe_places(evidence, c, places);
    if (c->places > 1)
        snprintf(counted, sizeof(counted), "%s see the same external port, and ", places);
    if (verdict->type == NAT_TYPE_UNKNOWN)
        say_unknown(evidence, c, result);
    else if (verdict->type == NAT_STRICT)
        result_say(result, CHECK_FAILED, "%s, \"%s\" on game consoles (%s mapping): %s see different addresses: %s",
                   nat_cone_name(verdict), nat_type_name(verdict->type), nat_behaviour_name(verdict->mapping), places,
                   list_views(evidence, views, sizeof(views)));
    else
        result_say(result, open && !disguised ? CHECK_OK : CHECK_WARNING, "%s, \"%s\" on game consoles (%s)%s%s; %s%s",
                   nat_cone_name(verdict), nat_type_name(verdict->type),
                   describe_behaviour(verdict, text, sizeof(text)), disguised ? "; but new peers appear as " : "",
                   disguised ? netaddr_format(disguise, seen) : "", counted, filter_words[c->basis][!open]);
    result_data(result, "{s:s, s:s, s:s, s:s?, s:s?, s:i, s:s?}", "mapping", nat_behaviour_name(verdict->mapping),
                "filtering", nat_behaviour_name(verdict->filtering), "nat_type", mark_of(verdict->type), "external",
                evidence->view_count ? netaddr_format(&evidence->views[0].mapped, seen) : NULL, "strangers_seem",
                disguised ? netaddr_format(disguise, views) : NULL, "mapping_seen_by", (int)c->places,
                "filtering_seen_by", nat_basis_name(c->basis));
    if (c->odd)
        say_odd_view(check, c->odd, result);
}
