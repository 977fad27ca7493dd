#include "conf/endpoints.h"

#include <assert.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int endpoint_compare(const void *a, const void *b)
{
    const struct config_endpoint *left = a, *right = b;
    const int order = netaddr_compare(&left->address, &right->address);
    return order ? order : (left->listener > right->listener) - (left->listener < right->listener);
}

static size_t listener_ports(const struct config_listener *listener)
{
    return (size_t)listener->ports.last - listener->ports.first + 1;
}

bool endpoints_fill(struct config *config)
{
    size_t count = 0;
    assert(!config->endpoints);
    for (size_t i = 0; i < config->listen_count; i++)
        count += listener_ports(&config->listen[i]);
    if (count > ENDPOINTS_MAX)
        return false;
    config->endpoints = calloc(count ? count : 1, sizeof(*config->endpoints));
    if (!config->endpoints)
        return false;
    for (size_t i = 0; i < config->listen_count; i++) {
        const struct config_listener *listener = &config->listen[i];
        for (size_t j = 0; j < listener_ports(listener); j++) {
            struct config_endpoint *endpoint = &config->endpoints[config->endpoint_count++];
            *endpoint = (struct config_endpoint){listener->address, (uint32_t)i};
            netaddr_set_port(&endpoint->address, (uint16_t)(listener->ports.first + j));
        }
    }
    qsort(config->endpoints, count, sizeof(*config->endpoints), endpoint_compare);
    return true;
}

size_t endpoints_next_double(const struct config *config, size_t first, size_t *before)
{
    for (size_t i = first + 1; i < config->endpoint_count; i++) {
        for (size_t j = i; j-- > 0;) {
            const struct config_endpoint *one = &config->endpoints[j], *other = &config->endpoints[i];
            if (netaddr_compare(&one->address, &other->address) != 0)
                break;
            if (one->listener != other->listener && netaddr_equal(&one->address, &other->address)) {
                *before = j;
                return i;
            }
        }
    }
    return config->endpoint_count;
}

/* The first that is not before `address`. */
static size_t endpoints_position(const struct config *config, const union netaddr *address)
{
    size_t first = 0, end = config->endpoint_count;
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        if (netaddr_compare(&config->endpoints[middle].address, address) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

const struct config_listener *config_endpoint_listener(const struct config *config, size_t endpoint)
{
    assert(endpoint < config->endpoint_count && config->endpoints[endpoint].listener < config->listen_count);
    return &config->listen[config->endpoints[endpoint].listener];
}

const struct config_listener *config_listener_at(const struct config *config, const union netaddr *address)
{
    for (size_t i = endpoints_position(config, address);
         i < config->endpoint_count && netaddr_compare(&config->endpoints[i].address, address) == 0; i++)
        if (netaddr_equal(&config->endpoints[i].address, address)) /* scopes do not count in the order */
            return config_endpoint_listener(config, i);
    return NULL;
}

static const struct config_listener *listener_at_any(const struct config *config, int family, uint16_t port)
{
    union netaddr any = netaddr_any(family);
    netaddr_set_port(&any, port);
    return config_listener_at(config, &any);
}

const struct config_listener *config_listener_for(const struct config *config, const union netaddr *local,
                                                  unsigned interface)
{
    union netaddr at_interface = netaddr_any(AF_INET6);
    netaddr_set_port(&at_interface, netaddr_port(local));
    at_interface.v6.sin6_scope_id = interface;
    const struct config_listener *listener = interface ? config_listener_at(config, &at_interface) : NULL;
    if (!listener)
        listener = config_listener_at(config, local);
    if (!listener && local->sa.sa_family == AF_INET)
        listener = listener_at_any(config, AF_INET, netaddr_port(local));
    return listener ? listener : listener_at_any(config, AF_INET6, netaddr_port(local)); /* "::" takes IPv4 as well */
}

bool config_listens_at(const struct config *config, const union netaddr *own)
{
    union netaddr any = netaddr_any(AF_INET6);
    netaddr_set_port(&any, netaddr_port(own));
    const size_t i = endpoints_position(config, &any); /* or one with a scope, which may have that address */
    return config_listener_at(config, own) || listener_at_any(config, AF_INET, netaddr_port(own)) ||
           (i < config->endpoint_count && netaddr_port(&config->endpoints[i].address) == netaddr_port(own) &&
            netaddr_is_any(&config->endpoints[i].address));
}

/* Of a wildcard address: the first listener with its port that it covers. */
static const struct config_listener *listener_covered(const struct config *config, const union netaddr *any)
{
    union netaddr lowest = netaddr_any(AF_INET);
    netaddr_set_port(&lowest, netaddr_port(any));
    const size_t i = endpoints_position(config, &lowest);
    return i < config->endpoint_count && netaddr_overlaps(&config->endpoints[i].address, any)
               ? config_endpoint_listener(config, i)
               : NULL;
}

const struct config_listener *config_listener_overlapping(const struct config *config, const union netaddr *address)
{
    const struct config_listener *listener = config_listener_for(config, address, 0);
    return listener || !netaddr_is_any(address) ? listener : listener_covered(config, address);
}

bool config_is_interface(const union netaddr *address)
{
    return address->sa.sa_family == AF_INET6 && netaddr_is_any(address) && address->v6.sin6_scope_id != 0;
}

const char *config_listener_format_host(const union netaddr *address, char *text)
{
    char interface[IF_NAMESIZE];
    if (!config_is_interface(address) || !if_indextoname(address->v6.sin6_scope_id, interface))
        return netaddr_format_host(address, text);
    snprintf(text, NETADDR_TEXT_MAX, "%s", interface);
    return text;
}

const char *config_listener_format(const struct config_listener *listener, char *text)
{
    char host[NETADDR_TEXT_MAX];
    if (config_is_interface(&listener->address))
        snprintf(text, CONFIG_LISTENER_TEXT_MAX, "%s:%u", config_listener_format_host(&listener->address, host),
                 listener->ports.first);
    else
        netaddr_format(&listener->address, text);
    const size_t len = strlen(text);
    if (listener->ports.last != listener->ports.first)
        snprintf(text + len, CONFIG_LISTENER_TEXT_MAX - len, "-%u", listener->ports.last);
    return text;
}
