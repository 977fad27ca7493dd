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

/* How closely a listener fits the address that a connection came to; 0: not at all. "::" takes IPv4 as well. */
static int config_listener_fit(const union netaddr *listener, const union netaddr *local)
{
    if (netaddr_equal(listener, local))
        return 3;
    if (!netaddr_is_any(listener) || netaddr_port(listener) != netaddr_port(local))
        return 0;
    return listener->sa.sa_family == local->sa.sa_family ? 2 : listener->sa.sa_family == AF_INET6;
}

const struct config_listener *config_listener_for(const struct config *config, const union netaddr *local)
{
    const struct config_listener *closest = NULL;
    int best = 0;
    for (size_t i = 0; i < config->listen_count; i++) {
        const int fit = config_listener_fit(&config->listen[i].address, local);
        if (fit <= best)
            continue;
        best = fit;
        closest = &config->listen[i];
    }
    return closest;
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
