/* What a listener must agree with: it must not become an open proxy by accident. */
#include <inttypes.h>

#include "base/netaddr.h"
#include "conf/consistent_impl.h"
#include "conf/endpoints.h"
#include "conf/exposure.h"
#include "conf/report.h"
#include "conf/rule_order.h"

static bool config_has_users(const struct config *config)
{
    return config->inline_user_count > 0 || config->users_file;
}

static bool listener_has_balancer(const struct config_listener *listener)
{
    return listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
}

static void consistent_balancers(const struct consistency *check, const struct config_listener *listener, size_t i)
{
    struct spot protocol = spot_in_list(check->document, "listen", i, "proxy_protocol");
    struct spot from = spot_in_list(check->document, "listen", i, "proxy_from");
    if (listener_has_balancer(listener) && listener->proxy_from_count == 0)
        report_error(check->report, protocol.place, from.key,
                     "found no trusted balancer, expected the addresses or networks that send the PROXY protocol, such "
                     "as proxy_from: [10.0.0.5]");
    else if (!listener_has_balancer(listener) && listener->proxy_from_count > 0)
        report_warning(check->report, from.place, from.key, "has no effect without proxy_protocol: required");
}

/* A public advertised address means clients on the internet: a router forwards them to the private address. */
static bool invites_the_world(const struct config *config)
{
    const union netaddr *v4 = &config->udp.advertise_v4.address, *v6 = &config->udp.advertise_v6.address;
    return (v4->sa.sa_family != AF_UNSPEC && exposure_of(v4) == EXPOSURE_WORLD) ||
           (v6->sa.sa_family != AF_UNSPEC && exposure_of(v6) == EXPOSURE_WORLD);
}

/* An open proxy is found and abused within hours, so it has to be configured explicitly. */
static void consistent_exposure(const struct consistency *check, const struct config *config, size_t i)
{
    const struct config_listener *listener = &config->listen[i];
    struct spot spot = spot_in_list(check->document, "listen", i, "address");
    const char *login =
        config_has_users(config) ? "auth: password" : "add users; conesocks hash-password makes the hash";
    char address[NETADDR_TEXT_MAX];
    enum exposure exposure = exposure_of(&listener->address);
    config_listener_format_host(&listener->address, address);
    bool said_open = listener->open && listener->auth == CONFIG_AUTH_NONE;
    bool invited = exposure == EXPOSURE_NETWORK && invites_the_world(config);
    if (invited)
        exposure = EXPOSURE_WORLD;
    if (listener_has_balancer(listener) && !said_open)
        report_error(check->report, spot.place, spot.key,
                     "found %s without a login behind a balancer, so anybody could use it; expected one of: a login "
                     "(%s); rules that allow some clients (from) and then deny the others (- action: deny); or, to "
                     "serve anybody, both auth: none and open: true",
                     address, login);
    else if (exposure == EXPOSURE_WORLD && !said_open)
        report_error(check->report, spot.place, spot.key,
                     "found %s without a login%s, which is an open proxy; expected one of: a login (%s); address: "
                     "127.0.0.1; rules that allow some clients (from) and then deny the others (- action: deny); or, "
                     "to serve anybody, both auth: none and open: true",
                     address, invited ? " while udp advertises a public address" : "", login);
    else if (exposure == EXPOSURE_NETWORK && !listener->open)
        report_warning(check->report, spot.place, spot.key,
                       "anybody who can reach %s can use this proxy; add users, or set open: true if you want that",
                       address);
}

/* A router may forward the internet to a private address. A listener that only its address protects then refuses
 * clients from elsewhere. */
static bool listener_is_private_only(const struct config *config, const struct config_listener *listener)
{
    return !listener->need_password && !listener->open && !listener_has_balancer(listener) &&
           exposure_of(&listener->address) != EXPOSURE_WORLD &&
           !rule_order_names_clients(config->rules, config->rule_count);
}

/* A network that spans more than one site's addresses, and is not private, loopback or link-local. */
static bool network_is_wide(const struct config_network *network)
{
    enum { SITE_BITS_V4 = 16, SITE_BITS_V6 = 32 };
    const bool v4 = network->address.sa.sa_family == AF_INET;
    if (network->bits >= (v4 ? SITE_BITS_V4 : SITE_BITS_V6))
        return false;
    for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS; i++)
        if (network->bits >= config_private_networks[i].bits &&
            config_network_contains(&config_private_networks[i], &network->address))
            return false;
    const enum exposure exposure = exposure_of(&network->address);
    return v4 ? exposure != EXPOSURE_HOST || network->bits < 8 : exposure != EXPOSURE_NETWORK || network->bits < 10;
}

static void consistent_trusted(const struct consistency *check, const struct config_listener *listener, size_t i)
{
    struct spot spot = spot_in_list(check->document, "listen", i, "trusted");
    if (listener->trusted_count > 0 && !listener->need_password)
        report_warning(check->report, spot.place, spot.key, "has no effect: this listener requires no login");
    for (size_t j = 0; j < listener->trusted_count; j++) {
        char host[NETADDR_TEXT_MAX];
        const struct config_network *network = &listener->trusted[j];
        if (listener->need_password && !listener->open && network_is_wide(network))
            report_error(check->report, spot.place, spot.key,
                         "found %s/%u, whose addresses belong to strangers, who could use this proxy without a login; "
                         "expected your own networks, or open: true to serve anybody",
                         netaddr_format_host(&network->address, host), network->bits);
    }
}

/* How many addresses a pool has for ports; 0: it is not made of addresses. */
static uint64_t pool_size(const struct config_pool *pool, unsigned family_bits)
{
    if (pool->kind == CONFIG_POOL_LIST)
        return pool->count;
    if (pool->kind != CONFIG_POOL_NETWORK)
        return 0;
    const unsigned host_bits = family_bits - pool->bits;
    return ((uint64_t)1 << (host_bits < 32 ? host_bits : 32)) - (family_bits == 32 ? 2 : 1);
}

static void consistent_pool_by_port(const struct consistency *check, const struct config_listener *listener,
                                    const struct config_pool *pool, unsigned family_bits, const struct spot *spot)
{
    const unsigned ports = listener->ports.last - listener->ports.first + 1U;
    const uint64_t addresses = pool_size(pool, family_bits);
    if (pool->kind == CONFIG_POOL_LISTENER)
        report_error(check->report, spot->place, spot->key,
                     "found listener together with address_by_port, expected a list of addresses or a network");
    else if (pool->kind != CONFIG_POOL_NONE && addresses < ports)
        report_error(check->report, spot->place, spot->key,
                     "found %" PRIu64 " addresses for %u ports, expected one for each (address_by_port)", addresses,
                     ports);
}

static void consistent_address_by_port(const struct consistency *check, const struct config_listener *listener,
                                       size_t i)
{
    const struct config_pool *v4 = &listener->terms.address_v4, *v6 = &listener->terms.address_v6;
    const struct spot spot = spot_in_list(check->document, "listen", i, "address_by_port");
    const struct spot of_v4 = spot_in_list(check->document, "listen", i, "address_v4");
    const struct spot of_v6 = spot_in_list(check->document, "listen", i, "address_v6");
    if (!listener->address_by_port)
        return;
    if (v4->kind == CONFIG_POOL_NONE && v6->kind == CONFIG_POOL_NONE)
        report_error(check->report, spot.place, spot.key,
                     "found without addresses, expected address_v4 or address_v6 of this listener, too");
    consistent_pool_by_port(check, listener, v4, 32, &of_v4);
    consistent_pool_by_port(check, listener, v6, 128, &of_v6);
}

static void consistent_listener(const struct consistency *check, const struct config *config, size_t i)
{
    const struct config_listener *listener = &config->listen[i];
    struct spot auth = spot_in_list(check->document, "listen", i, "auth");
    struct spot open = spot_in_list(check->document, "listen", i, "open");
    consistent_balancers(check, listener, i);
    consistent_trusted(check, listener, i);
    if (!listener->need_password && !rule_order_names_clients(config->rules, config->rule_count))
        consistent_exposure(check, config, i);
    else if (listener->need_password && !config_has_users(config))
        report_error(check->report, auth.place, auth.key,
                     "found password, but there are no users; expected users, or auth: none");
    else if (listener->need_password && listener->open && listener->trusted_count == 0)
        report_warning(check->report, open.place, open.key, "true has no effect where a password is required");
    consistent_address_by_port(check, listener, i);
}

/* Each pair of listeners is reported once, whatever the number of ports that they share. */
static void consistent_endpoints(const struct consistency *check, const struct config *config)
{
    size_t before;
    for (size_t i = endpoints_next_double(config, 0, &before); i < config->endpoint_count;
         i = endpoints_next_double(config, i, &before)) {
        const uint32_t one = config->endpoints[before].listener, other = config->endpoints[i].listener;
        const bool ranges = config->listen[one].ports.first != config->listen[one].ports.last ||
                            config->listen[other].ports.first != config->listen[other].ports.last;
        const struct spot spot = spot_in_list(check->document, "listen", other, ranges ? "port" : "address");
        if (ranges)
            report_error(check->report, spot.place, spot.key,
                         "found port %u, which listen[%" PRIu32 "] has at the same address, expected different ports",
                         netaddr_port(&config->endpoints[i].address), one);
        else
            report_error(check->report, spot.place, spot.key,
                         "found the same address and port as listen[%" PRIu32 "], expected different ones", one);
        if (ranges)
            return; /* the next ports would only repeat it */
    }
}

/* false: there are too many. */
static bool consistent_fill_endpoints(const struct consistency *check, struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++)
        netaddr_set_port(&config->listen[i].address, config->listen[i].ports.first);
    if (endpoints_fill(config))
        return true;
    report_error(check->report, place_in_group(check->document, NULL, "listen"), "listen",
                 "found too many ports, expected at most %d in all", ENDPOINTS_MAX);
    return false;
}

bool consistent_listeners(const struct consistency *check, struct config *config)
{
    bool any_password = false;
    if (consistent_fill_endpoints(check, config))
        consistent_endpoints(check, config);
    for (size_t i = 0; i < config->listen_count; i++) {
        struct config_listener *listener = &config->listen[i];
        listener->need_password =
            listener->auth == CONFIG_AUTH_PASSWORD || (listener->auth == CONFIG_AUTH_AUTO && config_has_users(config));
        listener->private_only = listener_is_private_only(config, listener);
        any_password |= listener->need_password;
        consistent_listener(check, config, i);
    }
    return any_password;
}
