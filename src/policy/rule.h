/*
 * What a single rule of the configuration matches. rules.h compiles all of them.
 */
#ifndef CONESOCKS_POLICY_RULE_H
#define CONESOCKS_POLICY_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* It is about some clients, users or listeners only: it has `from`, `user` or `listener`. */
bool rule_is_personal(const struct config_rule *rule);
bool rule_is_from(const struct config_rule *rule, const union netaddr *client);
/* `listener` is a name; NULL: it has none. */
bool rule_is_at(const struct config_rule *rule, const char *listener);
bool rule_is_for(const struct config_rule *rule, enum config_command command);
/* It matches every destination. */
bool rule_takes_anywhere(const struct config_rule *rule);
/* It allows destinations by their addresses. */
bool rule_opens_addresses(const struct config_rule *rule);

/* Asked for each datagram. */
static inline bool rule_has_port(const struct config_rule *rule, uint16_t port)
{
    for (size_t i = 0; i < rule->port_count; i++)
        if (rule->ports[i].first <= port && port <= rule->ports[i].last)
            return true;
    return rule->port_count == 0;
}

#endif
