#include "conf/consistent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/netaddr.h"
#include "conf/consistent_impl.h"
#include "conf/exposure.h"
#include "conf/rule_order.h"
#include "conf/spot.h"
#include "conf/user_names.h"

/* ---- users ---- */

static void consistent_users(const struct consistency *check, const struct config *config)
{
    struct user_name *names = user_names_sorted(config, config->inline_user_count);
    if (!names) {
        report_error(check->report, (struct place){0}, NULL, "out of memory");
        return;
    }
    for (size_t i = 1; i < config->inline_user_count; i++) {
        if (strcmp(names[i - 1].name, names[i].name) != 0)
            continue;
        struct spot spot = spot_in_list(check->document, "users", names[i].index, "name");
        report_error(check->report, spot.place, spot.key, "found the same name as users[%zu], expected a different one",
                     names[i - 1].index);
    }
    free(names);
}

/* ---- rules ---- */

/* Each rule is compared with all before it. With more rules, this would delay a start or a reload. */
#define RULES_COMPARED_MAX 3000

static void consistent_rules(const struct consistency *check, const struct config *config)
{
    for (size_t i = 0; i < config->rule_count && i < RULES_COMPARED_MAX; i++) {
        size_t earlier = rule_order_shadow(config->rules, i);
        if (earlier == i)
            continue;
        struct spot spot = spot_in_list(check->document, "rules", i, "action");
        report_warning(check->report, spot.place, spot.key,
                       "has no effect: rules[%zu], above it, matches everything that this rule matches", earlier);
    }
}

static bool listener_is_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (config->listen[i].name && strcmp(config->listen[i].name, name) == 0)
            return true;
    return false;
}

/* A rule about a listener that does not exist would never match: what it denies would be allowed. */
static void consistent_rule_listeners(const struct consistency *check, const struct config *config, size_t i)
{
    const struct config_rule *rule = &config->rules[i];
    for (size_t j = 0; j < rule->listener_count; j++) {
        if (listener_is_named(config, rule->listeners[j]))
            continue;
        struct spot spot = spot_of_value(check->document, "rules", i, "listener", j);
        report_error(check->report, spot.place, spot.key,
                     "found a name that no listener has, expected a listen[].name");
    }
}

static bool is_about_udp(const struct config_rule *rule)
{
    for (size_t i = 0; i < rule->command_count; i++)
        if (rule->commands[i] == CONFIG_COMMAND_UDP)
            return true;
    return rule->command_count == 0;
}

/* The first key of the terms that is set; NULL: none. */
static const char *first_term(const struct config_terms *terms)
{
    if (terms->filtering != CONFIG_FILTERING_INHERITED)
        return "filtering";
    if (terms->address_v4.kind != CONFIG_POOL_NONE)
        return "address_v4";
    if (terms->address_v6.kind != CONFIG_POOL_NONE)
        return "address_v6";
    if (terms->mark != 0)
        return "mark";
    if (terms->interface)
        return "interface";
    if (terms->dscp != 0)
        return "dscp";
    if (terms->upstream)
        return "upstream";
    return terms->datagrams != 0 ? "datagrams" : terms->bandwidth != 0 ? "bandwidth" : NULL;
}

/* Each destination of an association chooses its upstream for itself. The other terms are those of the association. */
static void consistent_terms_of_destinations(const struct consistency *check, const struct config_rule *rule, size_t i,
                                             bool for_udp)
{
    struct config_terms others = rule->terms;
    others.upstream = NULL;
    const char *key = first_term(&others);
    if (!key || !is_about_udp(rule) || rule_order_takes_everywhere(rule))
        return;
    struct spot spot = spot_in_list(check->document, "rules", i, key);
    report_error(check->report, spot.place, spot.key,
                 "found together with to or ports, but a UDP association uses the same value for all destinations; "
                 "remove to and ports%s",
                 for_udp ? "" : ", or set command: [connect]");
}

/* A term that could never apply is an error: its author expects an effect. */
static void consistent_terms(const struct consistency *check, const struct config_rule *rule, size_t i)
{
    const char *key = first_term(&rule->terms);
    if (!key)
        return;
    bool for_udp = rule->terms.filtering != CONFIG_FILTERING_INHERITED || rule->terms.datagrams != 0;
    struct spot spot = spot_in_list(check->document, "rules", i, key);
    if (rule->action == CONFIG_ACTION_DENY)
        report_error(check->report, spot.place, spot.key,
                     "found in a rule with action: deny, expected only with action: allow");
    else if (for_udp && !is_about_udp(rule))
        report_error(check->report, spot.place, spot.key,
                     "found in a rule whose command does not include udp, expected only with udp");
    else
        consistent_terms_of_destinations(check, rule, i, for_udp);
}

/* ---- ports ---- */

/* The last port that needs root. A shared port is opened after root is given up. */
#define PRIVILEGED_LAST 1023

static void consistent_shared_port(const struct consistency *check, const struct config *config)
{
    uint16_t port = config_shared_port(config);
    const struct config_ports *external = &config->udp.external_ports;
    if (port && port <= PRIVILEGED_LAST)
        report_error(check->report, place_in_group(check->document, "udp", "ports"), "udp.ports",
                     "found %u, expected one shared port of 1024 or above, a range, or random", port);
    if (port && external->first == port && external->last == port)
        report_error(check->report, place_in_group(check->document, "udp", "external_ports"), "udp.external_ports",
                     "found the same port as udp.ports, expected other ports");
}

/* One range for both is a way to open fewer ports. Ranges that share some ports are a slip. */
static void consistent_port_ranges(const struct consistency *check, const struct config *config)
{
    const struct config_ports *ports = &config->udp.ports, *external = &config->udp.external_ports;
    uint16_t first = ports->first > external->first ? ports->first : external->first;
    uint16_t last = ports->last < external->last ? ports->last : external->last;
    bool same = ports->first == external->first && ports->last == external->last;
    if (first > 0 && first <= last && ports->first != ports->last && !same)
        report_warning(check->report, place_in_group(check->document, "udp", "external_ports"), "udp.external_ports",
                       "shares ports %u to %u with udp.ports, so fewer associations fit; separate ranges such as %s "
                       "are clearer",
                       first, last, "30000-30999 and 31000-31999");
}

/* ---- how long associations may be idle ---- */

/* RFC 4787 REQ-5: a NAT must not forget a UDP mapping earlier. */
#define IDLE_LEAST_MS (2 * 60 * 1000)

static void consistent_idle(const struct consistency *check, const struct config *config)
{
    if (config->udp.idle_ms && config->udp.idle_ms < IDLE_LEAST_MS)
        report_warning(check->report, place_in_group(check->document, "udp", "idle"), "udp.idle",
                       "is below 2m: a call or a game that is silent for that long loses its external port; "
                       "applications count on two minutes (RFC 4787)");
}

/* ---- upstreams ---- */

static size_t upstream_find(const struct config *config, const char *name)
{
    size_t i = 0;
    while (i < config->upstream_count && strcmp(config->upstreams[i].name, name) != 0)
        i++;
    return i;
}

/* `name` is the value of an option at `place`; NULL: not set. */
static void consistent_upstream_name(const struct consistency *check, const struct config *config, const char *name,
                                     struct place place, const char *key)
{
    if (name && strcmp(name, CONFIG_NO_UPSTREAM) != 0 && upstream_find(config, name) == config->upstream_count)
        report_error(check->report, place, key,
                     "found a name that is not in upstreams, expected a name from there, or none");
}

static void consistent_upstream_names(const struct consistency *check, const struct config *config)
{
    consistent_upstream_name(check, config, config->outbound.upstream,
                             place_in_group(check->document, "outbound", "upstream"), "outbound.upstream");
    for (size_t i = 0; i < config->listen_count; i++) {
        struct spot spot = spot_in_list(check->document, "listen", i, "upstream");
        consistent_upstream_name(check, config, config->listen[i].terms.upstream, spot.place, spot.key);
    }
    for (size_t i = 0; i < config->inline_user_count; i++) {
        struct spot spot = spot_in_list(check->document, "users", i, "upstream");
        consistent_upstream_name(check, config, config->users[i].terms.upstream, spot.place, spot.key);
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        struct spot spot = spot_in_list(check->document, "rules", i, "upstream");
        consistent_upstream_name(check, config, config->rules[i].terms.upstream, spot.place, spot.key);
    }
}

static bool upstream_is_named(const char *said, const char *name)
{
    return said && strcmp(said, name) == 0;
}

static bool upstream_is_used(const struct config *config, const char *name)
{
    bool used = upstream_is_named(config->outbound.upstream, name);
    for (size_t i = 0; i < config->listen_count && !used; i++)
        used = upstream_is_named(config->listen[i].terms.upstream, name);
    for (size_t i = 0; i < config->inline_user_count && !used; i++)
        used = upstream_is_named(config->users[i].terms.upstream, name);
    for (size_t i = 0; i < config->rule_count && !used; i++)
        used = upstream_is_named(config->rules[i].terms.upstream, name);
    return used;
}

/* Whether it is one of our own listeners, as far as that is known before names are resolved. */
static bool upstream_is_own_listener(const struct config *config, const struct config_upstream *upstream)
{
    union netaddr address = upstream->host.address;
    netaddr_set_port(&address, (uint16_t)upstream->port);
    bool on_this_host = !upstream->host.name && exposure_of(&address) == EXPOSURE_HOST;
    return on_this_host ? config_listens_at(config, &address) : config_listener_at(config, &address) != NULL;
}

static void consistent_upstream(const struct consistency *check, const struct config *config, size_t i)
{
    struct config_upstream *upstream = &config->upstreams[i];
    struct spot name = spot_in_list(check->document, "upstreams", i, "name");
    struct spot address = spot_in_list(check->document, "upstreams", i, "address");
    struct spot password = spot_in_list(check->document, "upstreams", i, "password");
    upstream->line = address.place.line;
    upstream->column = address.place.column;
    if (strcmp(upstream->name, CONFIG_NO_UPSTREAM) == 0 || strcmp(upstream->name, "default") == 0)
        report_error(check->report, name.place, name.key, "found a reserved word, expected another name");
    else if (upstream_find(config, upstream->name) < i)
        report_error(check->report, name.place, name.key,
                     "found the same name as upstreams[%zu], expected a different one",
                     upstream_find(config, upstream->name));
    else if (!upstream_is_used(config, upstream->name))
        report_warning(check->report, name.place, name.key,
                       "is not used: no rule, no user, no listener and no outbound.upstream refers to it");
    if (upstream->password && !upstream->user)
        report_error(check->report, password.place, password.key,
                     "found a password without a user, expected both or neither");
    if (upstream_is_own_listener(config, upstream))
        report_error(check->report, address.place, address.key,
                     "found one of this proxy's own listeners, which would make a loop; expected another server");
}

/* ---- the admin listener ---- */

/* The longest path in a sockaddr_un. */
#define SOCKET_PATH_MAX 107
static_assert(SOCKET_PATH_MAX == sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, "as the system has it");

/* The admin listener shows who uses the proxy and for what: a network must not see that by accident. */
static void consistent_admin(const struct consistency *check, const struct config *config)
{
    const union netaddr *address = &config->admin.address;
    char text[NETADDR_TEXT_MAX];
    bool listens = netaddr_port(address) != 0, own = exposure_of(address) == EXPOSURE_HOST;
    netaddr_format_host(address, text);
    if (listens && !own && !config->admin.open)
        report_error(check->report, place_in_group(check->document, "admin", "address"), "admin.address",
                     "found %s, where other hosts could see who uses the proxy; expected one of: 127.0.0.1; "
                     "admin.socket instead; or, to show it to anybody who can reach it, open: true",
                     text);
    if (listens && own && config->admin.open)
        report_warning(check->report, place_in_group(check->document, "admin", "open"), "admin.open",
                       "true has no effect for a loopback address");
    const struct config_listener *listener = listens ? config_listener_at(config, address) : NULL;
    if (listener)
        report_error(check->report, place_in_group(check->document, "admin", "port"), "admin.port",
                     "found the same address and port as listen[%td], expected different ones",
                     listener - config->listen);
    if (config->admin.socket && strlen(config->admin.socket) > SOCKET_PATH_MAX)
        report_error(check->report, place_in_group(check->document, "admin", "socket"), "admin.socket",
                     "found a path of %zu bytes, expected at most %d", strlen(config->admin.socket), SOCKET_PATH_MAX);
}

/* ---- what follows ---- */

static bool advertise_is_set(const struct config_advertise *advertise)
{
    return advertise->name || advertise->automatic || advertise->address.sa.sa_family != AF_UNSPEC;
}

static void consistent_log(const struct consistency *check, const struct config *config)
{
    if (config->log.target == LOG_TARGET_FILE && !config->log.file)
        report_error(check->report, place_in_group(check->document, "log", "target"), "log.target",
                     "found file without log.file, expected both: log: {target: file, file: "
                     "/var/log/conesocks/log}");
    if (config->log.target != LOG_TARGET_FILE && config->log.file)
        report_warning(check->report, place_in_group(check->document, "log", "file"), "log.file",
                       "has no effect without log.target: file");
}

/* Behind a NAT or a balancer all clients may appear to come from a private network, which proves nothing then. */
static enum config_reach consistent_active_reach(const struct config *config)
{
    bool behind = advertise_is_set(&config->udp.advertise_v4) || advertise_is_set(&config->udp.advertise_v6);
    for (size_t i = 0; i < config->listen_count; i++)
        behind |= config->listen[i].proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
    return config->reach == CONFIG_REACH_AUTO && behind ? CONFIG_REACH_PUBLIC : config->reach;
}

bool consistent_check(struct config *config, yaml_document_t *document, struct report *report)
{
    const struct consistency check = {document, report};
    assert(config->user_count == config->inline_user_count); /* users_file is read afterwards */
    unsigned before = report->error_count;
    config->active_reach = consistent_active_reach(config);
    const bool any_password = consistent_listeners(&check, config);
    consistent_shared_port(&check, config);
    consistent_idle(&check, config);
    consistent_port_ranges(&check, config);
    consistent_users(&check, config);
    consistent_rules(&check, config);
    for (size_t i = 0; i < config->rule_count; i++)
        consistent_terms(&check, &config->rules[i], i);
    for (size_t i = 0; i < config->rule_count; i++)
        consistent_rule_listeners(&check, config, i);
    consistent_upstream_names(&check, config);
    for (size_t i = 0; i < config->upstream_count; i++)
        consistent_upstream(&check, config, i);
    consistent_log(&check, config);
    consistent_admin(&check, config);
    if (config->inline_user_count > 0 && !any_password)
        report_warning(report, place_in_list(check.document, "users", 0, "name"), "users",
                       "no listener requires a login, so these users have no effect");
    if (config->users_file && !any_password)
        report_warning(report,
                       document_place(document_get(document, yaml_document_get_root_node(document), "users_file")),
                       "users_file", "no listener requires a login, so its users have no effect");
    return report->error_count == before;
}
