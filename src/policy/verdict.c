#include "policy/verdict.h"

#include <assert.h>
#include <stdio.h>

/* Whether a datagram to one of this host's addresses arrives at a socket of this process. An address that only a NAT in
 * front of this host has stands for whichever address that port is bound at. */
static bool arrives_at_port(const struct policy *policy, enum own_port kind, const union netaddr *canonical)
{
    if (own_ports_has(policy->own_ports, kind, canonical))
        return true;
    return netaddr_equal_host(policy_advertised(policy, canonical), canonical) &&
           !own_hosts_contain(policy->own_hosts, canonical) &&
           own_ports_has_anywhere(policy->own_ports, kind, canonical);
}

/* Nobody may send to relay ports: what came back from there would be taken for the client's. Nor to listeners: the
 * client that they would see is this host itself. */
static bool is_loop(const struct policy *policy, const struct subject *subject, const union netaddr *canonical)
{
    if (subject->command == CONFIG_COMMAND_UDP)
        return arrives_at_port(policy, OWN_PORT_RELAY, canonical);
    return policy_is_listener(policy, canonical);
}

/* An external port of this process: hairpinning. */
static bool is_mapping(const struct policy *policy, const struct subject *subject, const union netaddr *canonical)
{
    return subject->command == CONFIG_COMMAND_UDP && arrives_at_port(policy, OWN_PORT_EXTERNAL, canonical);
}

/* A wide network that a rule allows does not open the special addresses in it: 0.0.0.0/0 does not mean 127.0.0.1. */
static bool rule_means(const struct rules_match *match, const union netaddr *canonical, bool own)
{
    unsigned special = !own ? reach_place_bits(canonical) : canonical->sa.sa_family == AF_INET ? 32 : 128;
    return match->bits > 0 && match->bits >= special;
}

static enum verdict_code verdict_code_of(const struct policy *policy, const struct subject *subject, const char *name,
                                         const union netaddr *canonical, bool any_port, struct verdict *verdict)
{
    bool own = policy_is_own(policy, canonical);
    if (!any_port && (own || verdict->place == REACH_LOOPBACK) && is_loop(policy, subject, canonical))
        return VERDICT_LOOP;
    if (subject->rules) {
        struct rules_match match = rules_find(subject, name, canonical, netaddr_port(canonical));
        assert(match.rule == RULES_NO_MATCH || match.rule < policy->config->rule_count);
        verdict->rule = match.rule;
        if (match.rule != RULES_NO_MATCH) {
            if (policy->config->rules[match.rule].action == CONFIG_ACTION_DENY)
                return VERDICT_RULE;
            if (rule_means(&match, canonical, own))
                return VERDICT_ALLOWED;
        }
    }
    if (own && !is_mapping(policy, subject, canonical) &&
        reach_for(policy->config->active_reach, &subject->client) != CONFIG_REACH_ALL)
        return VERDICT_OWN;
    enum reach_place place;
    if (own || reach_allowed(policy->config->active_reach, &subject->client, canonical, &place))
        return VERDICT_ALLOWED;
    return VERDICT_REACH;
}

static struct verdict verdict_of(const struct policy *policy, const struct subject *subject, const char *name,
                                 const union netaddr *to, bool any_port)
{
    assert(subject->command < CONFIG_COMMAND_COUNT);
    const union netaddr canonical = netaddr_canonical(to);
    struct verdict verdict = {.place = reach_place_of(&canonical), .rule = RULES_NO_MATCH};
    verdict.code = reach_never(verdict.place) ? VERDICT_NEVER
                                              : verdict_code_of(policy, subject, name, &canonical, any_port, &verdict);
    return verdict;
}

struct verdict verdict_find(const struct policy *policy, const struct subject *subject, const char *name,
                            const union netaddr *to)
{
    return verdict_of(policy, subject, name, to, false);
}

struct verdict verdict_find_on_any_port(const struct policy *policy, const struct subject *subject, const char *name,
                                        const union netaddr *to)
{
    return verdict_of(policy, subject, name, to, true);
}

const char *verdict_explain(const struct verdict *verdict, const union netaddr *to, char *text)
{
    char host[NETADDR_TEXT_MAX] = "ADDRESS";
    const char *place = reach_place_name(verdict->place);
    if (to) {
        union netaddr canonical = netaddr_canonical(to);
        netaddr_format_host(&canonical, host);
    }
    switch (verdict->code) {
    case VERDICT_ALLOWED:
        if (verdict->rule == RULES_NO_MATCH)
            snprintf(text, VERDICT_TEXT_MAX, "allowed: no rule matches, and reach allows it (%s address)", place);
        else
            snprintf(text, VERDICT_TEXT_MAX, "allowed by rules[%u] (%s address)", verdict->rule, place);
        break;
    case VERDICT_RULE:
        snprintf(text, VERDICT_TEXT_MAX, "denied by rules[%u]; to allow it, put an allow rule above this one",
                 verdict->rule);
        break;
    case VERDICT_REACH:
        snprintf(text, VERDICT_TEXT_MAX,
                 "denied by reach (%s address); to allow it: reach: %s, or a rule {action: allow, to: [\"%s\"]}", place,
                 verdict->place == REACH_PRIVATE ? "private" : "all", host);
        break;
    case VERDICT_OWN:
        snprintf(text, VERDICT_TEXT_MAX,
                 "denied: an address of the proxy's own host; to allow it: a rule {action: allow, to: [\"%s\"]}", host);
        break;
    case VERDICT_LOOP:
        snprintf(text, VERDICT_TEXT_MAX,
                 "denied: the destination is this proxy's own port, which would make a loop; no rule can allow it");
        break;
    case VERDICT_NEVER:
    case VERDICT_COUNT:
        snprintf(text, VERDICT_TEXT_MAX, "denied: %s addresses are never allowed", place);
        break;
    }
    return text;
}
