#include "policy/rule_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "policy/key.h"

/* Room for one more of `count` things; doubles as it grows, so that `room` need not be kept. NULL: no memory. */
static void *list_grow(void *list, size_t count, size_t size)
{
    if (count & (count - 1))
        return list;
    return reallocarray(list, count ? 2 * count : 1, size);
}

uint32_t rule_list_next(const struct rule_list *list, uint32_t rule, uint32_t end)
{
    size_t first = 0, behind = list->count;
    while (first < behind) {
        size_t middle = first + (behind - first) / 2;
        if (list->rules[middle] < rule)
            first = middle + 1;
        else
            behind = middle;
    }
    return first < list->count && list->rules[first] < end ? list->rules[first] : end;
}

static bool rule_list_has(const struct rule_list *list, uint32_t rule)
{
    return rule_list_next(list, rule, UINT32_MAX) == rule;
}

uint32_t rule_list_next_common(const struct rule_list *few, const struct rule_list *many, size_t *at, uint32_t end)
{
    while (*at < few->count && few->rules[*at] < end) {
        const uint32_t rule = few->rules[(*at)++];
        if (rule_list_has(many, rule))
            return rule;
    }
    return end;
}

/* ---- networks ---- */

/*
 * Each network that some rule names is a node; `wider` is the next wider one that contains it. The edges cut the
 * addresses of a family into pieces whose addresses are in the same networks. So a search finds the piece, and goes
 * from its narrowest network outwards.
 */
struct network_entry { /* a rule names a network */
    struct key start;
    uint32_t rule;
    uint8_t bits;
};

struct rule_network {
    struct key start;
    const struct rule_network *wider;
    const uint32_t *rules;
    size_t count;
    uint8_t bits;
};

struct network_edge { /* from this address on, up to the next edge, this is the narrowest network */
    struct key start;
    const struct rule_network *narrowest;
};

struct network_table {
    struct network_entry *entries; /* until it is sorted */
    size_t entry_count;
    struct rule_network *nodes;
    struct network_edge *edges;
    uint32_t *rules;
    size_t node_count, edge_count, rule_count;
};

struct rule_networks {
    struct network_table tables[FAMILY_COUNT];
};

struct rule_networks *rule_networks_new(void)
{
    return calloc(1, sizeof(struct rule_networks));
}

void rule_networks_free(struct rule_networks *networks)
{
    for (int i = 0; networks && i < FAMILY_COUNT; i++) {
        free(networks->tables[i].entries);
        free(networks->tables[i].nodes);
        free(networks->tables[i].edges);
        free(networks->tables[i].rules);
    }
    free(networks);
}

bool rule_networks_add(struct rule_networks *networks, const struct config_network *network, uint32_t rule)
{
    struct network_table *table = &networks->tables[family_index(network->address.sa.sa_family)];
    struct network_entry *entries = list_grow(table->entries, table->entry_count, sizeof(struct network_entry));
    if (!entries)
        return false;
    assert(!table->edges);
    table->entries = entries;
    entries[table->entry_count++] = (struct network_entry){key_of(&network->address), rule, network->bits};
    return true;
}

static int by_network(const void *a, const void *b)
{
    const struct network_entry *left = a, *right = b;
    if (!key_equal(left->start, right->start))
        return key_less(right->start, left->start) - key_less(left->start, right->start);
    if (left->bits != right->bits)
        return left->bits - right->bits;
    return (left->rule > right->rule) - (left->rule < right->rule);
}

static void table_add_edge(struct network_table *table, struct key start, const struct rule_network *narrowest)
{
    if (table->edge_count && key_equal(table->edges[table->edge_count - 1].start, start))
        table->edge_count--;
    assert(table->edge_count < 2 * table->entry_count);
    table->edges[table->edge_count++] = (struct network_edge){start, narrowest};
}

/* Leaves `node`: from the address after its last one, the next wider network is the narrowest. */
static const struct rule_network *table_leave_network(struct network_table *table, const struct rule_network *node)
{
    struct key after = key_next(key_last(node->start, node->bits));
    if (after.high || after.low)
        table_add_edge(table, after, node->wider);
    return node->wider;
}

/* Makes one node of the entries of one network, from `first` on. Returns how many entries these are. */
static size_t table_add_node(struct network_table *table, size_t first, const struct rule_network *wider)
{
    const struct network_entry *entry = &table->entries[first];
    assert(table->node_count < table->entry_count && wider != &table->nodes[table->node_count]);
    struct rule_network *node = &table->nodes[table->node_count++];
    *node = (struct rule_network){entry->start, wider, &table->rules[table->rule_count], 0, entry->bits};
    size_t next = first;
    for (; next < table->entry_count && table->entries[next].bits == entry->bits &&
           key_equal(table->entries[next].start, entry->start);
         next++) {
        if (next > first && table->entries[next].rule == table->entries[next - 1].rule)
            continue;
        table->rules[table->rule_count++] = table->entries[next].rule;
        node->count++;
    }
    return next - first;
}

static void table_draw_edges(struct network_table *table)
{
    const struct rule_network *inside = NULL;
    for (size_t i = 0; i < table->entry_count;) {
        while (inside && key_less(key_last(inside->start, inside->bits), table->entries[i].start))
            inside = table_leave_network(table, inside);
        i += table_add_node(table, i, inside);
        inside = &table->nodes[table->node_count - 1];
        table_add_edge(table, inside->start, inside);
    }
    while (inside)
        inside = table_leave_network(table, inside);
}

static bool table_sort(struct network_table *table)
{
    if (table->entry_count == 0)
        return true;
    table->nodes = calloc(table->entry_count, sizeof(struct rule_network));
    table->edges = calloc(2 * table->entry_count, sizeof(struct network_edge));
    table->rules = calloc(table->entry_count, sizeof(uint32_t));
    if (!table->nodes || !table->edges || !table->rules)
        return false;
    qsort(table->entries, table->entry_count, sizeof(struct network_entry), by_network);
    table_draw_edges(table);
    free(table->entries);
    table->entries = NULL;
    return true;
}

bool rule_networks_sort(struct rule_networks *networks)
{
    return table_sort(&networks->tables[FAMILY_V4]) && table_sort(&networks->tables[FAMILY_V6]);
}

const struct rule_network *rule_networks_find(const struct rule_networks *networks, const union netaddr *address)
{
    const struct network_table *table = &networks->tables[family_index(address->sa.sa_family)];
    const struct key key = key_of(address);
    size_t first = 0, end = table->edge_count;
    while (first < end) { /* the last edge that is not past the key */
        size_t middle = first + (end - first) / 2;
        if (key_less(key, table->edges[middle].start))
            end = middle;
        else
            first = middle + 1;
    }
    return first ? table->edges[first - 1].narrowest : NULL;
}

const struct rule_network *rule_network_wider(const struct rule_network *network)
{
    return network->wider;
}

struct rule_list rule_network_list(const struct rule_network *network)
{
    return (struct rule_list){network->rules, network->count};
}

unsigned rule_network_bits(const struct rule_network *network)
{
    return network->bits;
}

size_t rule_networks_piece_count(const struct rule_networks *networks)
{
    return networks->tables[FAMILY_V4].edge_count + networks->tables[FAMILY_V6].edge_count;
}

union netaddr rule_networks_piece(const struct rule_networks *networks, size_t i)
{
    const struct network_table *v4 = &networks->tables[FAMILY_V4], *v6 = &networks->tables[FAMILY_V6];
    return i < v4->edge_count ? key_address(v4->edges[i].start, AF_INET)
                              : key_address(v6->edges[i - v4->edge_count].start, AF_INET6);
}

/* ---- texts ---- */

struct text_entry {
    const char *text;
    uint32_t rule;
};

struct rule_texts {
    struct text_entry *named;
    uint32_t *rules; /* the same order */
    size_t count;
};

struct rule_texts *rule_texts_new(void)
{
    return calloc(1, sizeof(struct rule_texts));
}

void rule_texts_free(struct rule_texts *texts)
{
    if (!texts)
        return;
    free(texts->named);
    free(texts->rules);
    free(texts);
}

bool rule_texts_add(struct rule_texts *texts, const char *text, uint32_t rule)
{
    struct text_entry *named = list_grow(texts->named, texts->count, sizeof(struct text_entry));
    if (!named)
        return false;
    texts->named = named;
    named[texts->count++] = (struct text_entry){text, rule};
    return true;
}

static int by_text(const void *a, const void *b)
{
    const struct text_entry *left = a, *right = b;
    int order = strcmp(left->text, right->text);
    return order ? order : (left->rule > right->rule) - (left->rule < right->rule);
}

bool rule_texts_sort(struct rule_texts *texts)
{
    size_t kept = 0;
    if (texts->count == 0)
        return true;
    texts->rules = calloc(texts->count, sizeof(uint32_t));
    if (!texts->rules)
        return false;
    qsort(texts->named, texts->count, sizeof(struct text_entry), by_text);
    for (size_t i = 0; i < texts->count; i++) {
        if (kept && by_text(&texts->named[kept - 1], &texts->named[i]) == 0)
            continue;
        texts->named[kept] = texts->named[i];
        texts->rules[kept++] = texts->named[i].rule;
    }
    assert(kept <= texts->count);
    texts->count = kept;
    return true;
}

bool rule_texts_is_empty(const struct rule_texts *texts)
{
    return texts->count == 0;
}

/* The first one that is not before the text or, if `behind`, is after it. */
static size_t texts_position(const struct rule_texts *texts, const char *text, bool behind)
{
    size_t first = 0, end = texts->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        int order = strcmp(texts->named[middle].text, text);
        if (order < 0 || (behind && order == 0))
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

struct rule_list rule_texts_find(const struct rule_texts *texts, const char *text)
{
    size_t first = texts_position(texts, text, false);
    if (first == texts->count || strcmp(texts->named[first].text, text) != 0)
        return (struct rule_list){NULL, 0};
    return (struct rule_list){&texts->rules[first], texts_position(texts, text, true) - first};
}
