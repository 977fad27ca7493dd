#include "daemon/advertise.h"

#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "advertise"
#include "base/log.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "policy/snapshot.h"

/* ---- names ---- */

struct advertise_lookup {
    struct event_base *base;
    union netaddr *found;
};

static void advertise_on_resolved(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    struct advertise_lookup *lookup = arg;
    if (status == RESOLVER_FOUND && count > 0)
        *lookup->found = addresses[0];
    event_base_loopbreak(lookup->base);
}

union netaddr advertise_resolve(const struct config *config, const char *name, int family)
{
    const struct resolver_options options = {
        .servers = config->dns.servers, .server_count = config->dns.server_count, .timeout_ms = config->dns.timeout_ms};
    const union netaddr ourselves = netaddr_any(family);
    union netaddr found = {0};
    struct advertise_lookup lookup = {.base = event_base_new(), .found = &found};
    struct resolver *resolver = lookup.base ? resolver_new(lookup.base, &options) : NULL;
    if (resolver && resolver_lookup(resolver, &ourselves, name, family, advertise_on_resolved, &lookup))
        event_base_dispatch(lookup.base);
    if (resolver)
        resolver_free(resolver);
    if (lookup.base)
        event_base_free(lookup.base);
    return found;
}

/* ---- this host's own address ---- */

static bool advertise_is_private(const union netaddr *address)
{
    union netaddr canonical = netaddr_canonical(address);
    enum reach_place place = reach_place_of(&canonical);
    return place == REACH_PRIVATE || place == REACH_LINK_LOCAL || place == REACH_LOOPBACK;
}

static bool is_in_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
           getenv("KUBERNETES_SERVICE_HOST");
}

/* ---- one family ---- */

static const char *advertise_key(int family)
{
    return family == AF_INET ? "udp.advertise_v4" : "udp.advertise_v6";
}

static bool advertise_find_family(const struct config *config, const struct config_advertise *wanted, int family,
                                  union netaddr *found)
{
    *found = wanted->address;
    if (wanted->automatic) {
        *found = sock_default_source(family);
        if (found->sa.sa_family == AF_UNSPEC)
            log_error("%s: auto: found no default route of that family on this host; expected one, or an address",
                      advertise_key(family));
    } else if (wanted->name) {
        *found = advertise_resolve(config, wanted->name, family);
        if (found->sa.sa_family == AF_UNSPEC)
            log_error("%s: %s does not resolve to an %s address; expected a name that does, or an address",
                      advertise_key(family), wanted->name, family == AF_INET ? "IPv4" : "IPv6");
    }
    netaddr_set_port(found, 0);
    if ((wanted->automatic || wanted->name) && found->sa.sa_family != AF_UNSPEC) {
        char text[NETADDR_TEXT_MAX];
        log_info("%s: telling clients to send to %s", advertise_key(family), netaddr_format_host(found, text));
    }
    return found->sa.sa_family != AF_UNSPEC || (!wanted->automatic && !wanted->name);
}

/* A client is told the address that it has connected to, as this host sees it. For a wildcard listener the address of
 * the default route is the best guess. AF_UNSPEC: no client of `family` can connect, or
 * only by an interface, whose addresses change. */
static union netaddr advertise_listener_address(const struct config_listener *listener, int family)
{
    const union netaddr canonical = netaddr_canonical(&listener->address);
    const bool is_any = netaddr_is_any(&listener->address);
    const bool is_dual = is_any && listener->address.sa.sa_family == AF_INET6;
    if ((!is_dual && canonical.sa.sa_family != family) || config_is_interface(&listener->address))
        return (union netaddr){0};
    return is_any ? sock_default_source(family) : canonical;
}

/* The first private address that clients on other hosts are told; AF_UNSPEC: none. */
static union netaddr advertise_find_private(const struct config *config, int family, const union netaddr *advertised)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        union netaddr told = advertise_listener_address(&config->listen[i], family);
        if (told.sa.sa_family == AF_UNSPEC || reach_place_of(&told) == REACH_LOOPBACK)
            continue;
        if (advertised->sa.sa_family != AF_UNSPEC)
            told = *advertised;
        if (advertise_is_private(&told))
            return told;
    }
    return (union netaddr){0};
}

/* A client from the internet that reaches a private address has come through a NAT, and is told an address behind it.
 */
static void advertise_warn(const struct config *config, int family, const union netaddr *advertised)
{
    char text[NETADDR_TEXT_MAX];
    const union netaddr told = advertise_find_private(config, family, advertised);
    if (!config->udp.enabled || told.sa.sa_family == AF_UNSPEC)
        return;
    netaddr_format_host(&told, text);
    if (is_in_container())
        log_warning("clients that connect through a published container port are told to send their datagrams to %s, "
                    "which they can probably not reach: set %s to the address that they connect to, and udp.ports to "
                    "a range that is published",
                    text, advertise_key(family));
    else
        log_info(
            "clients from the internet would be told to send their datagrams to %s, a private address. If there are "
            "any, set %s to the address that they connect to",
            text, advertise_key(family));
}

/* An advertised address is for a host behind a NAT, which forwards only the ports that it is configured for. */
static void advertise_warn_random_ports(const struct config *config)
{
    if (!config->udp.enabled)
        return;
    if (!config->udp.ports.first)
        log_info("udp.ports is random, although an address is advertised: a NAT forwards only ports that it is "
                 "configured for; set udp.ports to a range, and forward that range to this host");
    if (!config->udp.external_ports.first)
        log_info(
            "udp.external_ports is random, although an address is advertised: behind a NAT, only peers that the client "
            "has sent to can reach it; for a full cone set it to a range, and forward that range to this host");
}

bool advertise_find(struct snapshot *snapshot)
{
    const struct config *config = snapshot->config;
    bool found = advertise_find_family(config, &config->udp.advertise_v4, AF_INET, &snapshot->advertised[FAMILY_V4]) &&
                 advertise_find_family(config, &config->udp.advertise_v6, AF_INET6, &snapshot->advertised[FAMILY_V6]);
    if (found) {
        advertise_warn(config, AF_INET, &snapshot->advertised[FAMILY_V4]);
        advertise_warn(config, AF_INET6, &snapshot->advertised[FAMILY_V6]);
        if (snapshot->advertised[FAMILY_V4].sa.sa_family != AF_UNSPEC ||
            snapshot->advertised[FAMILY_V6].sa.sa_family != AF_UNSPEC)
            advertise_warn_random_ports(config);
    }
    return found;
}
