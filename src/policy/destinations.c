#include "policy/destinations.h"

#include <stdio.h>
#include <string.h>

#include "policy/key.h"

/*
 * The networks and ranges of the rules and of `reach` cut the addresses and the ports into pieces; within a piece the
 * verdict is the same. So it is enough to check the first address and the first port of each piece.
 *
 * What decides a piece is either a rule that takes every address, or a rule about some, or no rule. Rules that allow
 * are tried in their order, each on its own pieces; nearly always the first piece that is tried is allowed. All
 * pieces are tried only where nothing is left.
 */

struct destination_search {
    const struct policy *policy;
    const struct subject *subject;
    bool names_leave;
    struct rules_ports ports; /* the ports to try, of which only the first of each piece matters */
    const char *name;         /* the name that the destination is asked for by; NULL: its address */
};

/* ---- ports ---- */

static void ports_add_range(struct rules_ports *ports, const struct config_ports *range)
{
    for (uint32_t port = range->first; port <= range->last; port++)
        ports->bits[port / 64] |= (uint64_t)1 << port % 64;
}

/* The ports of a rule; 0 is not one. */
static void ports_of_rule(const struct config_rule *rule, struct rules_ports *ports)
{
    if (rule->port_count == 0) {
        memset(ports, 0xff, sizeof(*ports));
        ports->bits[0] &= ~(uint64_t)1;
        return;
    }
    *ports = (struct rules_ports){0};
    for (size_t i = 0; i < rule->port_count; i++)
        ports_add_range(ports, &rule->ports[i]);
}

static bool ports_has_any(const struct rules_ports *ports)
{
    uint64_t any = 0;
    for (size_t i = 0; i < RULES_PORT_WORDS; i++)
        any |= ports->bits[i];
    return any != 0;
}

static void ports_intersect(struct rules_ports *ports, const struct rules_ports *others)
{
    for (size_t i = 0; i < RULES_PORT_WORDS; i++)
        ports->bits[i] &= others->bits[i];
}

static void ports_subtract(struct rules_ports *ports, const struct rules_ports *others)
{
    for (size_t i = 0; i < RULES_PORT_WORDS; i++)
        ports->bits[i] &= ~others->bits[i];
}

/* Leaves the first port of each piece. Without rules all ports are one. */
static void ports_keep_firsts(struct rules_ports *ports, const struct rules *rules)
{
    static const struct rules_ports one_piece = {.bits = {1U << 1}};
    ports_intersect(ports, rules ? rules_port_pieces(rules) : &one_piece);
}

/* The first port from `port` on; 0: there is none. */
static uint16_t ports_next(const struct rules_ports *ports, uint32_t port)
{
    for (size_t i = port / 64; i < RULES_PORT_WORDS; i++, port = 0) {
        uint64_t left = ports->bits[i] & UINT64_MAX << port % 64;
        if (left)
            return (uint16_t)(i * 64 + (unsigned)__builtin_ctzll(left));
    }
    return 0;
}

/* ---- addresses ---- */

static union netaddr next_address(const union netaddr *address)
{
    const int family = address->sa.sa_family;
    return key_address(key_next(key_last(key_of(address), family == AF_INET ? 32 : 128)), family);
}

static bool search_reaches_port(const struct destination_search *search, union netaddr to, uint16_t port)
{
    for (;;) {
        netaddr_set_port(&to, port);
        switch (verdict_find_on_any_port(search->policy, search->subject, search->name, &to).code) {
        case VERDICT_ALLOWED:
            return true;
        case VERDICT_OWN: /* this host's own addresses cut the pieces, too */
            to = own_hosts_last(search->policy->own_hosts, &to);
            to = next_address(&to);
            break;
        default:
            return false;
        }
    }
}

static bool search_reaches(const struct destination_search *search, const union netaddr *to)
{
    for (uint16_t port = ports_next(&search->ports, 0); port; port = ports_next(&search->ports, port + 1U))
        if (search_reaches_port(search, *to, port))
            return true;
    return false;
}

static bool search_reaches_network(const struct destination_search *search, const struct config_network *network)
{
    union netaddr piece;
    if (search_reaches(search, &network->address))
        return true;
    for (size_t i = 0; reach_piece(i, &piece); i++)
        if (config_network_contains(network, &piece) && search_reaches(search, &piece))
            return true;
    for (size_t i = 0; rules_address_piece(search->subject->rules, i, &piece); i++)
        if (config_network_contains(network, &piece) && search_reaches(search, &piece))
            return true;
    return false;
}

static bool search_reaches_any(const struct destination_search *search)
{
    const struct config_network v4 = {.address = netaddr_any(AF_INET)}, v6 = {.address = netaddr_any(AF_INET6)};
    return search_reaches_network(search, &v4) || search_reaches_network(search, &v6);
}

/* ---- names ---- */

static bool can_ask_upstream(const struct destination_search *search)
{
    for (uint16_t port = ports_next(&search->ports, 0); port; port = ports_next(&search->ports, port + 1U)) {
        uint32_t rule = rules_find_name(search->subject, search->name, port);
        if (rule == RULES_NO_MATCH || search->policy->config->rules[rule].action == CONFIG_ACTION_ALLOW)
            return true;
    }
    return false;
}

static bool search_reaches_name(struct destination_search *search, const char *name)
{
    search->name = name;
    bool can = (search->names_leave && can_ask_upstream(search)) || search_reaches_any(search);
    search->name = NULL;
    return can;
}

/* A domain stands for itself and for a name below it that no rule is about. */
static bool search_reaches_domain(struct destination_search *search, const char *suffix)
{
    char below[32 + 256];
    if (search_reaches_name(search, suffix + 1))
        return true;
    unsigned i = 0;
    do
        snprintf(below, sizeof(below), ".%u%s", i++, suffix);
    while (rules_mention(search->subject->rules, below) || rules_mention(search->subject->rules, below + 1));
    return search_reaches_name(search, below + 1);
}

/* ---- rules ---- */

static bool search_reaches_target(struct destination_search *search, const struct config_target *target)
{
    switch (target->kind) {
    case CONFIG_TARGET_NETWORK:
        return search_reaches_network(search, &target->network);
    case CONFIG_TARGET_PRIVATE:
        for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS; i++)
            if (search_reaches_network(search, &config_private_networks[i]))
                return true;
        return false;
    case CONFIG_TARGET_NAME:
        return search_reaches_name(search, target->name);
    case CONFIG_TARGET_SUFFIX:
        return search_reaches_domain(search, target->name);
    case CONFIG_TARGET_ANY: /* see search_everywhere() */
        break;
    }
    return false;
}

static bool search_reaches_by(struct destination_search *search, const struct config_rule *rule)
{
    if (rule->action == CONFIG_ACTION_DENY)
        return false;
    ports_of_rule(rule, &search->ports);
    ports_keep_firsts(&search->ports, search->subject->rules);
    for (size_t i = 0; i < rule->to_count; i++)
        if (search_reaches_target(search, &rule->to[i]))
            return true;
    return false;
}

/* With thousands of ports to try, nearly always the first one has an address that is allowed. */
static bool search_reaches_at_first_port(const struct destination_search *search)
{
    struct destination_search first = *search;
    const uint16_t port = ports_next(&search->ports, 0);
    first.ports = (struct rules_ports){0};
    first.ports.bits[port / 64] |= (uint64_t)1 << port % 64;
    return search_reaches_any(&first);
}

/* Every address at these ports, for which the rules that take every address have been looked at. */
static bool search_reaches_everywhere(struct destination_search *search, const struct rules_ports *ports)
{
    if (!ports_has_any(ports))
        return false;
    search->ports = *ports;
    ports_keep_firsts(&search->ports, search->subject->rules);
    return search->names_leave || search_reaches_at_first_port(search) || search_reaches_any(search);
}

/* Looks at the rules that take every address. `*end` is the rule behind which no port is left to decide about. */
static bool search_everywhere(struct destination_search *search, uint32_t *end)
{
    const struct subject *subject = search->subject;
    const struct config_rule everything = {0};
    struct rules_ports left, taken;
    ports_of_rule(&everything, &left);
    *end = RULES_NO_MATCH;
    for (uint32_t i = rules_next_everywhere(subject, 0); i != RULES_NO_MATCH && *end == RULES_NO_MATCH;
         i = rules_next_everywhere(subject, i + 1)) {
        const struct config_rule *rule = &search->policy->config->rules[i];
        ports_of_rule(rule, &taken);
        ports_intersect(&taken, &left);
        ports_subtract(&left, &taken);
        if (rule->action == CONFIG_ACTION_ALLOW && search_reaches_everywhere(search, &taken))
            return true;
        if (!ports_has_any(&left))
            *end = i;
    }
    return search_reaches_everywhere(search, &left);
}

bool destinations_exist(const struct policy *policy, const struct subject *subject, bool names_leave)
{
    if (!subject->rules) /* each association asks: spare it the search's eight kilobytes */
        return true;
    struct destination_search search = {.policy = policy, .subject = subject, .names_leave = names_leave};
    uint32_t end;
    if (search_everywhere(&search, &end))
        return true;
    for (uint32_t i = rules_next(subject, 0); i < end; i = rules_next(subject, i + 1))
        if (search_reaches_by(&search, &policy->config->rules[i]))
            return true;
    return false;
}

struct verdict destinations_find_at(const struct policy *policy, const struct subject *subject,
                                    const union netaddr *address)
{
    const struct config_rule everything = {0};
    struct rules_ports ports;
    struct verdict first = {.code = VERDICT_COUNT};
    union netaddr to = *address;
    ports_of_rule(&everything, &ports);
    ports_keep_firsts(&ports, subject->rules);
    for (uint16_t port = ports_next(&ports, 0); port; port = ports_next(&ports, port + 1U)) {
        netaddr_set_port(&to, port);
        const struct verdict verdict = verdict_find_on_any_port(policy, subject, NULL, &to);
        if (verdict.code == VERDICT_ALLOWED)
            return verdict;
        if (first.code == VERDICT_COUNT)
            first = verdict;
    }
    return first;
}
