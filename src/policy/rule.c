#include "policy/rule.h"

#include <string.h>

#include "policy/key.h"

bool rule_is_personal(const struct config_rule *rule)
{
    return rule->from_count > 0 || rule->user_count > 0 || rule->listener_count > 0;
}

bool rule_is_from(const struct config_rule *rule, const union netaddr *client)
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

bool rule_is_at(const struct config_rule *rule, const char *listener)
{
    for (size_t i = 0; listener && i < rule->listener_count; i++)
        if (strcmp(rule->listeners[i], listener) == 0)
            return true;
    return rule->listener_count == 0;
}

bool rule_is_for(const struct config_rule *rule, enum config_command command)
{
    for (size_t i = 0; i < rule->command_count; i++)
        if (rule->commands[i] == command)
            return true;
    return rule->command_count == 0;
}

bool rule_takes_anywhere(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_ANY)
            return true;
    return rule->to_count == 0;
}

bool rule_opens_addresses(const struct config_rule *rule)
{
    for (size_t i = 0; rule->action == CONFIG_ACTION_ALLOW && i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_NETWORK || rule->to[i].kind == CONFIG_TARGET_PRIVATE)
            return true;
    return false;
}
