#include "conf/types.h"

#include <stddef.h>

const struct config_listener *config_listener_at(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_equal(&config->listen[i].address, address))
            return &config->listen[i];
    return NULL;
}

const struct config_listener *config_listener_overlapping(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_overlaps(&config->listen[i].address, address))
            return &config->listen[i];
    return NULL;
}

uint16_t config_shared_port(const struct config *config)
{
    const struct config_ports *ports = &config->udp.ports;
    return ports->first == ports->last ? ports->first : 0;
}

bool config_has_mark(const struct config *config)
{
    bool has = config->outbound.mark != 0;
    for (size_t i = 0; i < config->user_count && !has; i++)
        has = config->users[i].terms.mark != 0;
    for (size_t i = 0; i < config->rule_count && !has; i++)
        has = config->rules[i].terms.mark != 0;
    return has;
}

bool config_has_interface(const struct config *config)
{
    bool has = config->outbound.interface != NULL;
    for (size_t i = 0; i < config->user_count && !has; i++)
        has = config->users[i].terms.interface != NULL;
    for (size_t i = 0; i < config->rule_count && !has; i++)
        has = config->rules[i].terms.interface != NULL;
    return has;
}
