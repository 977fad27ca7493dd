#include "policy/verdict.h"

#include <stdio.h>

/* Of an address of this host's. */
static bool is_listener(const struct policy *policy, const union netaddr *canonical)
{
    for (size_t i = 0; i < policy->config->listen_count; i++) {
        const union netaddr *listener = &policy->config->listen[i].address;
        if (netaddr_port(listener) == netaddr_port(canonical) &&
            (netaddr_is_any(listener) || netaddr_equal_host(listener, canonical)))
            return true;
    }
    return false;
}

const union netaddr *policy_advertised(const struct policy *policy, const union netaddr *address)
{
    return address->sa.sa_family == AF_INET ? &policy->advertised_v4 : &policy->advertised_v6;
}

/* Whether a datagram to one of this host's addresses arrives at a socket of ours. An address that only a NAT before
 * this host has stands for whichever address that port is bound at. */
static bool arrives_at(const struct policy *policy, enum own_port kind, const union netaddr *canonical)
{
    if (own_ports_has(policy->own_ports, kind, canonical))
        return true;
    return netaddr_equal_host(policy_advertised(policy, canonical), canonical) &&
           !own_hosts_contain(policy->own, canonical) && own_ports_has_anywhere(policy->own_ports, kind, canonical);
}

/* Relay ports are no destination for anybody: what came back from there would be taken for the client's. Nor are
 * listeners: who came by way of them would be this host itself. */
static bool is_loop(const struct policy *policy, const struct subject *subject, const union netaddr *canonical)
{
    if (subject->command == CONFIG_COMMAND_UDP)
        return arrives_at(policy, OWN_PORT_RELAY, canonical);
    return is_listener(policy, canonical);
}

/* An external port of ours: hairpin. */
static bool is_mapping(const struct policy *policy, const struct subject *subject, const union netaddr *canonical)
{
    return subject->command == CONFIG_COMMAND_UDP && arrives_at(policy, OWN_PORT_EXTERNAL, canonical);
}

/* A wide network that a rule allows does not open the special addresses within: 0.0.0.0/0 is no word on 127.0.0.1. */
static bool is_meant(const struct rules_match *match, const union netaddr *canonical, bool own)
{
    unsigned special = !own ? reach_place_bits(canonical) : canonical->sa.sa_family == AF_INET ? 32 : 128;
    return match->bits > 0 && match->bits >= special;
}

bool policy_is_own(const struct policy *policy, const union netaddr *canonical)
{
    return own_hosts_contain(policy->own, canonical) ||
           netaddr_equal_host(policy_advertised(policy, canonical), canonical);
}

bool policy_is_listener(const struct policy *policy, const union netaddr *to)
{
    const union netaddr canonical = netaddr_canonical(to);
    return (policy_is_own(policy, &canonical) || reach_place_of(&canonical) == REACH_LOOPBACK) &&
           is_listener(policy, &canonical);
}

static enum verdict_code judge(const struct policy *policy, const struct subject *subject, const char *name,
                               const union netaddr *canonical, bool any_port, struct verdict *verdict)
{
    bool own = policy_is_own(policy, canonical);
    if (!any_port && (own || verdict->place == REACH_LOOPBACK) && is_loop(policy, subject, canonical))
        return VERDICT_LOOP;
    if (subject->rules) {
        struct rules_match match = rules_find(subject, name, canonical, netaddr_port(canonical));
        verdict->rule = match.rule;
        if (match.rule != RULES_NO_MATCH) {
            if (policy->config->rules[match.rule].action == CONFIG_ACTION_DENY)
                return VERDICT_RULE;
            if (is_meant(&match, canonical, own))
                return VERDICT_ALLOWED;
        }
    }
    if (own && !is_mapping(policy, subject, canonical) &&
        reach_for(policy->config->reach_in_force, &subject->client) != CONFIG_REACH_ALL)
        return VERDICT_OWN;
    enum reach_place place;
    if (own || reach_allowed(policy->config->reach_in_force, &subject->client, canonical, &place))
        return VERDICT_ALLOWED;
    return VERDICT_REACH;
}

static struct verdict find(const struct policy *policy, const struct subject *subject, const char *name,
                           const union netaddr *to, bool any_port)
{
    union netaddr canonical = netaddr_canonical(to);
    struct verdict verdict = {.place = reach_place_of(&canonical), .rule = RULES_NO_MATCH};
    verdict.code =
        reach_never(verdict.place) ? VERDICT_NEVER : judge(policy, subject, name, &canonical, any_port, &verdict);
    return verdict;
}

struct verdict verdict_find(const struct policy *policy, const struct subject *subject, const char *name,
                            const union netaddr *to)
{
    return find(policy, subject, name, to, false);
}

struct verdict verdict_find_on_any_port(const struct policy *policy, const struct subject *subject, const char *name,
                                        const union netaddr *to)
{
    return find(policy, subject, name, to, true);
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
            snprintf(text, VERDICT_TEXT_MAX, "allowed: rules[%u] (%s address)", verdict->rule, place);
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
        snprintf(text, VERDICT_TEXT_MAX, "denied: this proxy's own port, which would be a loop; nothing allows it");
        break;
    case VERDICT_NEVER:
    case VERDICT_COUNT:
        snprintf(text, VERDICT_TEXT_MAX, "denied: %s %s address, which nothing allows", place[0] == 'u' ? "an" : "a",
                 place);
        break;
    }
    return text;
}
