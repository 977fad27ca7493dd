#include "policy/rules.h"

#include <stdlib.h>
#include <string.h>

#include "policy/key.h"

/*
 * Each network that some rule names is a node; its parent is the next wider one that holds it. The edges cut the
 * addresses of a family into pieces that lie in the same networks. So: search the piece, then walk from the narrowest
 * network outwards, through at most as many as an address has bits.
 */
struct entry { /* a rule names a network */
    struct key start;
    uint32_t rule;
    uint8_t bits;
};

#define NO_NODE UINT32_MAX

struct node { /* entries of the same network, in the order of their rules */
    uint32_t first, count, parent;
};

struct edge { /* from this address on, up to the next edge, `node` is the narrowest network */
    struct key start;
    uint32_t node;
};

struct table {
    struct entry *entries;
    struct node *nodes;
    struct edge *edges;
    size_t entry_count, node_count, edge_count;
};

struct named {
    const char *text; /* "example.com", or ".example.com" for that and all below */
    uint32_t rule;
};

enum { TABLE_V4, TABLE_V6, TABLE_COUNT };

struct rules {
    const struct config_rule *list;
    size_t count;
    struct table tables[TABLE_COUNT];
    struct named *names;
    size_t name_count;
    /* What is the same for all subjects, so that thousands of rules make no session slow to begin. */
    uint64_t *for_all;      /* a bit for each rule without from, user and command */
    uint32_t first_opening; /* of these */
    uint32_t *unsettled;    /* the other rules, and those that take every destination */
    size_t unsettled_count;
};

static size_t words(const struct rules *rules)
{
    return (rules->count + 63) / 64;
}

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= (uint64_t)1 << i % 64;
}

static bool has_bit(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

/* ---- compiling ---- */

static void add_network(struct rules *rules, uint32_t rule, const struct config_network *network)
{
    struct table *table = &rules->tables[network->address.sa.sa_family == AF_INET ? TABLE_V4 : TABLE_V6];
    table->entries[table->entry_count++] = (struct entry){key_of(&network->address), rule, network->bits};
}

static void add_target(struct rules *rules, uint32_t rule, const struct config_target *target)
{
    switch (target->kind) {
    case CONFIG_TARGET_NETWORK:
        add_network(rules, rule, &target->network);
        break;
    case CONFIG_TARGET_PRIVATE:
        for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS; i++)
            add_network(rules, rule, &config_private_networks[i]);
        break;
    case CONFIG_TARGET_NAME:
    case CONFIG_TARGET_SUFFIX:
        rules->names[rules->name_count++] = (struct named){target->name, rule};
        break;
    case CONFIG_TARGET_ANY: /* see takes_anywhere() */
        break;
    }
}

static int by_network(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    if (!key_equal(left->start, right->start))
        return key_less(right->start, left->start) - key_less(left->start, right->start);
    if (left->bits != right->bits)
        return left->bits - right->bits;
    return (left->rule > right->rule) - (left->rule < right->rule);
}

static int by_name(const void *a, const void *b)
{
    const struct named *left = a, *right = b;
    int order = strcmp(left->text, right->text);
    return order ? order : (left->rule > right->rule) - (left->rule < right->rule);
}

static struct key last_of(const struct table *table, uint32_t node)
{
    const struct entry *entry = &table->entries[table->nodes[node].first];
    return key_last(entry->start, entry->bits);
}

static void add_edge(struct table *table, struct key start, uint32_t node)
{
    if (table->edge_count && key_equal(table->edges[table->edge_count - 1].start, start))
        table->edge_count--;
    table->edges[table->edge_count++] = (struct edge){start, node};
}

/* Leaves `node`: from the address after its last one its parent is the narrowest. */
static uint32_t leave(struct table *table, uint32_t node)
{
    struct key after = key_next(last_of(table, node));
    uint32_t parent = table->nodes[node].parent;
    if (after.high || after.low)
        add_edge(table, after, parent);
    return parent;
}

static void draw_edges(struct table *table)
{
    uint32_t inside = NO_NODE;
    qsort(table->entries, table->entry_count, sizeof(struct entry), by_network);
    for (uint32_t i = 0; i < table->entry_count;) {
        const struct entry *entry = &table->entries[i];
        while (inside != NO_NODE && key_less(last_of(table, inside), entry->start))
            inside = leave(table, inside);
        uint32_t node = (uint32_t)table->node_count++, first = i;
        while (i < table->entry_count && table->entries[i].bits == entry->bits &&
               key_equal(table->entries[i].start, entry->start))
            i++;
        table->nodes[node] = (struct node){first, i - first, inside};
        add_edge(table, entry->start, node);
        inside = node;
    }
    while (inside != NO_NODE)
        inside = leave(table, inside);
}

static bool takes_anywhere(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_ANY)
            return true;
    return rule->to_count == 0;
}

static bool opens_addresses(const struct config_rule *rule)
{
    for (size_t i = 0; rule->action == CONFIG_ACTION_ALLOW && i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_NETWORK || rule->to[i].kind == CONFIG_TARGET_PRIVATE)
            return true;
    return false;
}

static void settle(struct rules *rules)
{
    rules->first_opening = UINT32_MAX;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct config_rule *rule = &rules->list[i];
        bool for_all = rule->from_count == 0 && rule->user_count == 0 && rule->command_count == 0;
        if (for_all)
            set_bit(rules->for_all, i);
        if (for_all && rules->first_opening == UINT32_MAX && opens_addresses(rule))
            rules->first_opening = i;
        if (!for_all || takes_anywhere(rule))
            rules->unsettled[rules->unsettled_count++] = i;
    }
}

static bool allocate(struct rules *rules)
{
    size_t targets = 0;
    for (size_t i = 0; i < rules->count; i++)
        for (size_t j = 0; j < rules->list[i].to_count; j++)
            targets += rules->list[i].to[j].kind == CONFIG_TARGET_PRIVATE ? CONFIG_PRIVATE_NETWORKS : 1;
    rules->names = calloc(targets + 1, sizeof(struct named));
    rules->for_all = calloc(words(rules) + 1, sizeof(uint64_t));
    rules->unsettled = calloc(rules->count + 1, sizeof(uint32_t));
    bool able = rules->names && rules->for_all && rules->unsettled;
    for (int i = 0; i < TABLE_COUNT; i++) {
        struct table *table = &rules->tables[i];
        table->entries = calloc(targets + 1, sizeof(struct entry));
        table->nodes = calloc(targets + 1, sizeof(struct node));
        table->edges = calloc(2 * targets + 1, sizeof(struct edge));
        able &= table->entries && table->nodes && table->edges;
    }
    return able;
}

struct rules *rules_compile(const struct config_rule *list, size_t count)
{
    struct rules *rules = calloc(1, sizeof(*rules));
    if (!rules)
        return NULL;
    rules->list = list;
    rules->count = count;
    if (!allocate(rules)) {
        rules_free(rules);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        for (size_t j = 0; j < list[i].to_count; j++)
            add_target(rules, i, &list[i].to[j]);
    for (int i = 0; i < TABLE_COUNT; i++)
        draw_edges(&rules->tables[i]);
    qsort(rules->names, rules->name_count, sizeof(struct named), by_name);
    settle(rules);
    return rules;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (int i = 0; i < TABLE_COUNT; i++) {
        free(rules->tables[i].entries);
        free(rules->tables[i].nodes);
        free(rules->tables[i].edges);
    }
    free(rules->names);
    free(rules->for_all);
    free(rules->unsettled);
    free(rules);
}

/* ---- subjects ---- */

static bool is_from(const struct config_rule *rule, const union netaddr *client)
{
    for (size_t i = 0; i < rule->from_count; i++) {
        const struct config_network *network = &rule->from[i];
        if (network->address.sa.sa_family != client->sa.sa_family)
            continue;
        struct key start = key_of(&network->address), key = key_of(client);
        if (!key_less(key, start) && !key_less(key_last(start, network->bits), key))
            return true;
    }
    return rule->from_count == 0;
}

static bool is_by(const struct config_rule *rule, const char *user)
{
    for (size_t i = 0; user && i < rule->user_count; i++)
        if (strcmp(rule->users[i], user) == 0)
            return true;
    return rule->user_count == 0;
}

static bool is_for(const struct config_rule *rule, enum config_command command)
{
    for (size_t i = 0; i < rule->command_count; i++)
        if (rule->commands[i] == command)
            return true;
    return rule->command_count == 0;
}

static void add_rule(struct subject *subject, uint32_t i, const struct config_rule *rule)
{
    set_bit(subject->applies, i);
    if (takes_anywhere(rule))
        subject->anywhere[subject->anywhere_count++] = i;
    if (opens_addresses(rule) && i < subject->first_opening)
        subject->first_opening = i;
}

bool subject_init(struct subject *subject, const struct rules *rules, const union netaddr *client, const char *user,
                  enum config_command command)
{
    *subject = (struct subject){.client = *client, .command = command, .first_opening = UINT32_MAX};
    netaddr_unmap(&subject->client);
    if (!rules || rules->count == 0)
        return true;
    subject->rules = rules;
    subject->first_opening = rules->first_opening;
    subject->applies = malloc(words(rules) * sizeof(uint64_t));
    subject->anywhere = calloc(rules->unsettled_count + 1, sizeof(uint32_t));
    if (!subject->applies || !subject->anywhere) {
        subject_deinit(subject);
        return false;
    }
    memcpy(subject->applies, rules->for_all, words(rules) * sizeof(uint64_t));
    for (size_t i = 0; i < rules->unsettled_count; i++) {
        const struct config_rule *rule = &rules->list[rules->unsettled[i]];
        if (is_from(rule, &subject->client) && is_by(rule, user) && is_for(rule, command))
            add_rule(subject, rules->unsettled[i], rule);
    }
    return true;
}

void subject_deinit(struct subject *subject)
{
    free(subject->applies);
    free(subject->anywhere);
    *subject = (struct subject){0};
}

/* ---- finding ---- */

static bool has_port(const struct config_rule *rule, uint16_t port)
{
    for (size_t i = 0; i < rule->port_count; i++)
        if (rule->ports[i].first <= port && port <= rule->ports[i].last)
            return true;
    return rule->port_count == 0;
}

static bool matches(const struct subject *subject, uint32_t rule, uint16_t port)
{
    return has_bit(subject->applies, rule) && has_port(&subject->rules->list[rule], port);
}

static uint32_t narrowest(const struct table *table, struct key key)
{
    size_t first = 0, end = table->edge_count;
    while (first < end) { /* the last edge that is not past the key */
        size_t middle = first + (end - first) / 2;
        if (key_less(key, table->edges[middle].start))
            end = middle;
        else
            first = middle + 1;
    }
    return first ? table->edges[first - 1].node : NO_NODE;
}

static void find_by_address(const struct subject *subject, const union netaddr *address, uint16_t port,
                            struct rules_match *best)
{
    const struct table *table = &subject->rules->tables[address->sa.sa_family == AF_INET ? TABLE_V4 : TABLE_V6];
    uint32_t parent;
    for (uint32_t at = narrowest(table, key_of(address)); at != NO_NODE; at = parent) {
        const struct entry *entry = &table->entries[table->nodes[at].first], *end = entry + table->nodes[at].count;
        for (; entry < end && entry->rule < best->rule; entry++)
            if (matches(subject, entry->rule, port))
                *best = (struct rules_match){entry->rule, entry->bits};
        parent = table->nodes[at].parent;
    }
}

static void find_anywhere(const struct subject *subject, uint16_t port, struct rules_match *best)
{
    for (size_t i = 0; i < subject->anywhere_count && subject->anywhere[i] < best->rule; i++)
        if (has_port(&subject->rules->list[subject->anywhere[i]], port))
            *best = (struct rules_match){subject->anywhere[i], 0};
}

static void find_by_text(const struct subject *subject, const char *text, uint16_t port, struct rules_match *best)
{
    const struct rules *rules = subject->rules;
    size_t first = 0, end = rules->name_count;
    while (first < end) { /* the first that is not before the text */
        size_t middle = first + (end - first) / 2;
        if (strcmp(rules->names[middle].text, text) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    for (; first < rules->name_count && strcmp(rules->names[first].text, text) == 0; first++) {
        uint32_t rule = rules->names[first].rule;
        if (rule < best->rule && matches(subject, rule, port))
            *best = (struct rules_match){rule, 0};
    }
}

/* By the name, and by each domain that it lies in. */
static void find_by_name(const struct subject *subject, const char *name, uint16_t port, struct rules_match *best)
{
    char dotted[1 + 256] = ".";
    size_t len = strlen(name);
    if (subject->rules->name_count == 0 || len >= sizeof(dotted) - 1)
        return;
    memcpy(dotted + 1, name, len + 1);
    find_by_text(subject, dotted + 1, port, best);
    for (const char *domain = dotted; domain; domain = strchr(domain + 1, '.'))
        find_by_text(subject, domain, port, best);
}

struct rules_match rules_find(const struct subject *subject, const char *name, const union netaddr *canonical,
                              uint16_t port)
{
    struct rules_match best = {RULES_NO_MATCH, 0};
    if (!subject->rules)
        return best;
    find_by_address(subject, canonical, port, &best);
    find_anywhere(subject, port, &best);
    if (name)
        find_by_name(subject, name, port, &best);
    return best;
}

uint32_t rules_find_everywhere(const struct subject *subject)
{
    for (size_t i = 0; i < subject->anywhere_count; i++)
        if (subject->rules->list[subject->anywhere[i]].port_count == 0)
            return subject->anywhere[i];
    return RULES_NO_MATCH;
}

uint32_t rules_find_name(const struct subject *subject, const char *name, uint16_t port)
{
    struct rules_match best = {RULES_NO_MATCH, 0};
    if (!subject->rules)
        return best.rule;
    find_anywhere(subject, port, &best);
    find_by_name(subject, name, port, &best);
    return best.rule;
}

uint32_t rules_deny_name(const struct subject *subject, const char *name, uint16_t port)
{
    uint32_t rule = rules_find_name(subject, name, port);
    bool denies = rule != RULES_NO_MATCH && rule < subject->first_opening &&
                  subject->rules->list[rule].action == CONFIG_ACTION_DENY;
    return denies ? rule : RULES_NO_MATCH;
}

bool rules_deny_all(const struct subject *subject)
{
    if (subject->anywhere_count == 0)
        return false;
    uint32_t rule = subject->anywhere[0];
    for (uint32_t i = 0; i < rule; i++)
        if (has_bit(subject->applies, i))
            return false;
    return subject->rules->list[rule].action == CONFIG_ACTION_DENY && subject->rules->list[rule].port_count == 0;
}
