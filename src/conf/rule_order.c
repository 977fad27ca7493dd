#include "conf/rule_order.h"

#include <string.h>

/* ---- does one value take all that another does? ---- */

static bool network_covers(const struct config_network *wide, const struct config_network *narrow)
{
    return wide->bits <= narrow->bits && config_network_contains(wide, &narrow->address);
}

static bool name_covers(const struct config_target *wide, const struct config_target *narrow)
{
    if (wide->kind == CONFIG_TARGET_NAME)
        return narrow->kind == CONFIG_TARGET_NAME && strcmp(wide->name, narrow->name) == 0;
    size_t len = strlen(wide->name), other_len = strlen(narrow->name);
    if (narrow->kind == CONFIG_TARGET_NAME && strcmp(narrow->name, wide->name + 1) == 0)
        return true;
    return other_len >= len && strcmp(narrow->name + other_len - len, wide->name) == 0;
}

static bool target_covers(const void *a, const void *b)
{
    const struct config_target *wide = a, *narrow = b;
    if (wide->kind == CONFIG_TARGET_ANY)
        return true;
    if (wide->name || narrow->name)
        return wide->name && narrow->name && name_covers(wide, narrow);
    if (narrow->kind != CONFIG_TARGET_NETWORK)
        return wide->kind == narrow->kind;
    if (wide->kind == CONFIG_TARGET_NETWORK)
        return network_covers(&wide->network, &narrow->network);
    for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS; i++)
        if (network_covers(&config_private_networks[i], &narrow->network))
            return true;
    return false;
}

static bool from_covers(const void *wide, const void *narrow)
{
    return network_covers(wide, narrow);
}

static bool text_covers(const void *wide, const void *narrow)
{
    return strcmp(*(char *const *)wide, *(char *const *)narrow) == 0;
}

static bool command_covers(const void *wide, const void *narrow)
{
    return *(const enum config_command *)wide == *(const enum config_command *)narrow;
}

static bool ports_cover(const void *a, const void *b)
{
    const struct config_ports *wide = a, *narrow = b;
    return wide->first <= narrow->first && narrow->last <= wide->last;
}

/* ---- and one list? ---- */

struct list {
    const void *elements;
    size_t count, size;
};
#define LIST_OF(elements_, count_) ((struct list){(elements_), (count_), sizeof(*(elements_))})

static bool list_covers(struct list wide, struct list narrow, bool (*covers)(const void *wide, const void *narrow))
{
    if (wide.count == 0)
        return true;
    for (size_t i = 0; i < narrow.count; i++) {
        size_t j = 0;
        while (j < wide.count &&
               !covers((const char *)wide.elements + j * wide.size, (const char *)narrow.elements + i * narrow.size))
            j++;
        if (j == wide.count)
            return false;
    }
    return narrow.count > 0;
}

static bool rule_takes_any(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_ANY)
            return true;
    return rule->to_count == 0;
}

static bool rule_covers(const struct config_rule *wide, const struct config_rule *narrow)
{
    return (rule_takes_any(wide) ||
            list_covers(LIST_OF(wide->to, wide->to_count), LIST_OF(narrow->to, narrow->to_count), target_covers)) &&
           list_covers(LIST_OF(wide->ports, wide->port_count), LIST_OF(narrow->ports, narrow->port_count),
                       ports_cover) &&
           list_covers(LIST_OF(wide->from, wide->from_count), LIST_OF(narrow->from, narrow->from_count), from_covers) &&
           list_covers(LIST_OF(wide->users, wide->user_count), LIST_OF(narrow->users, narrow->user_count),
                       text_covers) &&
           list_covers(LIST_OF(wide->listeners, wide->listener_count),
                       LIST_OF(narrow->listeners, narrow->listener_count), text_covers) &&
           list_covers(LIST_OF(wide->commands, wide->command_count), LIST_OF(narrow->commands, narrow->command_count),
                       command_covers);
}

size_t rule_order_shadow(const struct config_rule *rules, size_t i)
{
    for (size_t earlier = 0; earlier < i; earlier++)
        if (rule_covers(&rules[earlier], &rules[i]))
            return earlier;
    return i;
}

bool rule_order_takes_everywhere(const struct config_rule *rule)
{
    return rule_takes_any(rule) && rule->port_count == 0;
}

/* A network that no organization owns as a whole, such as 0.0.0.0/1 or 2000::/3, counts as everybody. */
static bool network_is_everybody(const struct config_network *network)
{
    unsigned widest = network->address.sa.sa_family == AF_INET ? 8 : 7; /* 10.0.0.0/8 and fc00::/7 */
    return network->bits < widest;
}

static bool rule_names_clients(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->from_count; i++)
        if (network_is_everybody(&rule->from[i]))
            return false;
    return rule->from_count > 0;
}

bool rule_order_names_clients(const struct config_rule *rules, size_t count)
{
    static const struct config_rule everything = {0};
    for (size_t i = 0; i < count; i++) {
        if (rules[i].action == CONFIG_ACTION_DENY && rule_covers(&rules[i], &everything))
            return true;
        if (rules[i].action == CONFIG_ACTION_ALLOW && !rule_names_clients(&rules[i]))
            return false;
    }
    return false;
}
