#include "conf/types.h"

#include <stddef.h>

bool config_listener_trusts(const struct config_listener *listener, const union netaddr *client)
{
    for (size_t i = 0; i < listener->trusted_count; i++)
        if (config_network_contains(&listener->trusted[i], client))
            return true;
    return false;
}

uint16_t config_shared_port(const struct config *config)
{
    const struct config_ports *ports = &config->udp.ports;
    return ports->first == ports->last ? ports->first : 0;
}

bool config_has_mark(const struct config *config)
{
    bool has = config->outbound.mark != 0;
    for (size_t i = 0; i < config->listen_count && !has; i++)
        has = config->listen[i].terms.mark != 0;
    for (size_t i = 0; i < config->user_count && !has; i++)
        has = config->users[i].terms.mark != 0;
    for (size_t i = 0; i < config->rule_count && !has; i++)
        has = config->rules[i].terms.mark != 0;
    return has;
}

bool config_has_interface(const struct config *config)
{
    bool has = config->outbound.interface != NULL;
    for (size_t i = 0; i < config->listen_count && !has; i++)
        has = config->listen[i].terms.interface != NULL;
    for (size_t i = 0; i < config->user_count && !has; i++)
        has = config->users[i].terms.interface != NULL;
    for (size_t i = 0; i < config->rule_count && !has; i++)
        has = config->rules[i].terms.interface != NULL;
    return has;
}
