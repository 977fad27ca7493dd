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

struct lookup {
    struct event_base *base;
    union netaddr *found;
};

static void on_resolved(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    struct lookup *lookup = arg;
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
    struct lookup lookup = {.base = event_base_new(), .found = &found};
    struct resolver *resolver = lookup.base ? resolver_new(lookup.base, &options) : NULL;
    if (resolver && resolver_lookup(resolver, &ourselves, name, family, on_resolved, &lookup))
        event_base_dispatch(lookup.base);
    if (resolver)
        resolver_free(resolver);
    if (lookup.base)
        event_base_free(lookup.base);
    return found;
}

/* ---- this host's own address ---- */

static bool is_private(const union netaddr *address)
{
    union netaddr canonical = netaddr_canonical(address);
    enum reach_place place = reach_place_of(&canonical);
    return place == REACH_PRIVATE || place == REACH_LINK_LOCAL || place == REACH_LOOPBACK;
}

static bool in_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
           getenv("KUBERNETES_SERVICE_HOST");
}

/* ---- one family ---- */

static const char *key_of(int family)
{
    return family == AF_INET ? "udp.advertise_v4" : "udp.advertise_v6";
}

static bool find_one(const struct config *config, const struct config_advertise *wanted, int family,
                     union netaddr *found)
{
    *found = wanted->address;
    if (wanted->automatic) {
        *found = sock_default_source(family);
        if (found->sa.sa_family == AF_UNSPEC)
            log_error("%s: auto: this host has no default route for it; expected one, or an address", key_of(family));
    } else if (wanted->name) {
        *found = advertise_resolve(config, wanted->name, family);
        if (found->sa.sa_family == AF_UNSPEC)
            log_error("%s: %s does not resolve to an %s address; expected a name that does, or an address",
                      key_of(family), wanted->name, family == AF_INET ? "IPv4" : "IPv6");
    }
    netaddr_set_port(found, 0);
    if ((wanted->automatic || wanted->name) && found->sa.sa_family != AF_UNSPEC) {
        char text[NETADDR_TEXT_MAX];
        log_info("%s: clients are told to send to %s", key_of(family), netaddr_format_host(found, text));
    }
    return found->sa.sa_family != AF_UNSPEC || (!wanted->automatic && !wanted->name);
}

/* A client is told the address that it has connected to, as this host knows it. For a wildcard the one of the default
 * route is the best guess. AF_UNSPEC: no client of `family` can come. */
static union netaddr told_by_listener(const struct config_listener *listener, int family)
{
    const union netaddr canonical = netaddr_canonical(&listener->address);
    const bool is_any = netaddr_is_any(&listener->address);
    const bool is_dual = is_any && listener->address.sa.sa_family == AF_INET6;
    if (!is_dual && canonical.sa.sa_family != family)
        return (union netaddr){0};
    return is_any ? sock_default_source(family) : canonical;
}

/* The first private address that clients beyond this host are told; AF_UNSPEC: none. */
static union netaddr find_private_told(const struct config *config, int family, const union netaddr *advertised)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        union netaddr told = told_by_listener(&config->listen[i], family);
        if (told.sa.sa_family == AF_UNSPEC || reach_place_of(&told) == REACH_LOOPBACK)
            continue;
        if (advertised->sa.sa_family != AF_UNSPEC)
            told = *advertised;
        if (is_private(&told))
            return told;
    }
    return (union netaddr){0};
}

/* Whoever comes from the internet then has come through somebody's NAT, and is told an address behind it. */
static void warn_one(const struct config *config, int family, const union netaddr *advertised)
{
    char text[NETADDR_TEXT_MAX];
    const union netaddr told = find_private_told(config, family, advertised);
    if (!config->udp.enabled || told.sa.sa_family == AF_UNSPEC)
        return;
    netaddr_format_host(&told, text);
    if (in_container())
        log_warning("clients that connect through a published container port are told to send their datagrams to %s, "
                    "which they can hardly reach: set %s to the address that they connect to, and udp.ports to a "
                    "range that is published",
                    text, key_of(family));
    else
        log_info("clients from the internet would be told to send their datagrams to %s, a private address; for them "
                 "set %s to the address that they connect to",
                 text, key_of(family));
}

/* Behind a NAT, which is what an advertised address is for, only ports that it knows of are any good. */
static void tell_of_random_ports(const struct config *config)
{
    if (!config->udp.enabled)
        return;
    if (!config->udp.ports.first)
        log_info("udp.ports is random, while an address is advertised: a NAT lets in only ports that it was told of; "
                 "set udp.ports to a range, and forward that range to this host");
    if (!config->udp.external_ports.first)
        log_info("udp.external_ports is random, while an address is advertised: behind a NAT that lets nobody reach a "
                 "client to whom the client has not sent first; for a full cone set it to a range, and forward that "
                 "range to this host");
}

bool advertise_find(struct snapshot *snapshot)
{
    const struct config *config = snapshot->config;
    bool found = find_one(config, &config->udp.advertise_v4, AF_INET, &snapshot->advertised_v4) &&
                 find_one(config, &config->udp.advertise_v6, AF_INET6, &snapshot->advertised_v6);
    if (found) {
        warn_one(config, AF_INET, &snapshot->advertised_v4);
        warn_one(config, AF_INET6, &snapshot->advertised_v6);
        if (snapshot->advertised_v4.sa.sa_family != AF_UNSPEC || snapshot->advertised_v6.sa.sa_family != AF_UNSPEC)
            tell_of_random_ports(config);
    }
    return found;
}
