#include "admin/status.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/json.h"
#include "admin/status_session.h"
#include "base/util.h"
#include "conf/words.h"
#include "policy/snapshot.h"

/* 0 becomes null. */
static json_t *number_or_null(uint64_t value)
{
    return value ? json_number(value) : json_null();
}

static json_t *moment_json(time_t when)
{
    char text[sizeof("2026-11-22T20:25:00Z") + 16];
    struct tm parts;
    gmtime_r(&when, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

/* ---- what it runs by ---- */

static json_t *configuration_json(const struct status *status)
{
    json_t *json = json_object();
    json = json_with_key(json, "file", json_chosen(status->configuration.file));
    json = json_with_key(json, "loaded", moment_json(status->configuration.loaded));
    json = json_with_key(json, "reloads", json_number(status->configuration.reloads));
    json = json_with_key(json, "reloads_failed", json_number(status->configuration.failed));
    json = json_with_key(json, "last_error", json_chosen(status->configuration.last_error));
    return json_with_key(json, "waiting_for_start", json_chosen(status->configuration.waiting_for_start));
}

static json_t *listener_json(const struct config_listener *listener)
{
    const bool announced = listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
    json_t *json = json_object();
    char text[CONFIG_LISTENER_TEXT_MAX];
    json = json_with_key(json, "name", json_chosen(listener->name));
    json = json_with_key(json, "address", json_string(config_listener_format(listener, text)));
    json = json_with_key(json, "ports", json_number(listener->ports.last - listener->ports.first + 1U));
    json = json_with_key(json, "login", json_boolean(listener->need_password));
    return json_with_key(json, "proxy_protocol", json_boolean(announced));
}

/* `listeners_total` tells how many there are. */
#define LISTENERS_SHOWN_MAX 64

static json_t *listeners_json(const struct config *config)
{
    json_t *listeners = json_array();
    for (size_t i = 0; i < config->listen_count && i < LISTENERS_SHOWN_MAX; i++)
        listeners = json_with(listeners, listener_json(&config->listen[i]));
    return listeners;
}

static json_t *ports_json(const struct config_ports *ports)
{
    if (!ports->first)
        return json_string("any");
    if (ports->first == ports->last)
        return json_sprintf("%u", ports->first);
    return json_sprintf("%u-%u", ports->first, ports->last);
}

static json_t *host_json(const union netaddr *host)
{
    char text[NETADDR_TEXT_MAX];
    return host->sa.sa_family == AF_UNSPEC ? json_null() : json_string(netaddr_format_host(host, text));
}

static json_t *udp_json(const struct snapshot *snapshot)
{
    const struct config *config = snapshot->config;
    json_t *json = json_object();
    json = json_with_key(json, "enabled", json_boolean(config->udp.enabled));
    json = json_with_key(json, "mapping", json_string("endpoint-independent"));
    json = json_with_key(json, "filtering", json_string(config_filtering_word(config->udp.filtering)));
    json = json_with_key(json, "ports", ports_json(&config->udp.ports));
    json = json_with_key(json, "external_ports", ports_json(&config->udp.external_ports));
    json = json_with_key(json, "advertise_v4", host_json(&snapshot->advertised[FAMILY_V4]));
    json = json_with_key(json, "advertise_v6", host_json(&snapshot->advertised[FAMILY_V6]));
    return json_with_key(json, "idle_seconds", number_or_null(config->udp.idle_ms / 1000));
}

static json_t *port_range_json(const struct port_usage *usage)
{
    const struct config_ports range = {usage->first, usage->last};
    json_t *json = json_object();
    json = json_with_key(json, "option", json_string(usage->option));
    json = json_with_key(json, "range", ports_json(&range));
    json = json_with_key(json, "used", json_number(usage->use.used));
    json = json_with_key(json, "resting", json_number(usage->use.resting));
    json = json_with_key(json, "total", json_number(usage->use.total));
    return json_with_key(json, "full", json_number(usage->use.full));
}

static json_t *port_ranges_json(const struct status *status)
{
    json_t *ranges = json_array();
    for (size_t i = 0; i < status->port_count; i++)
        ranges = json_with(ranges, port_range_json(&status->ports[i]));
    return ranges;
}

static json_t *kernel_passed_json(const struct kernel_path_view *view)
{
    json_t *passed = json_object();
    for (size_t i = 0; i < view->reasons; i++)
        if (view->passed[i])
            passed = json_with_key(passed, kernel_path_reason(i), json_number(view->passed[i]));
    return passed;
}

static json_t *kernel_path_json(const struct admin_kernel_path *path)
{
    json_t *json = json_object();
    json = json_with_key(json, "active", json_boolean(!path->why_not));
    json = json_with_key(json, "why_not", json_chosen(path->why_not));
    json = json_with_key(json, "interfaces", json_chosen(path->view.interfaces));
    json = json_with_key(json, "slots_used", json_number(path->view.slots_used));
    json = json_with_key(json, "slots", json_number(path->view.slots));
    return json_with_key(json, "passed", kernel_passed_json(&path->view));
}

/* ---- what there is ---- */

static json_t *counts_json(const struct session_list_counts *counts)
{
    json_t *json = json_object();
    json = json_with_key(json, "sessions", json_number(counts->associations + counts->streams + counts->negotiating));
    json = json_with_key(json, "associations", json_number(counts->associations));
    json = json_with_key(json, "streams", json_number(counts->streams));
    return json_with_key(json, "negotiating", json_number(counts->negotiating));
}

static json_t *workers_json(const struct status *status)
{
    json_t *workers = json_array();
    for (size_t i = 0; i < status->worker_count; i++)
        workers = json_with(workers, counts_json(&status->workers[i]->counts));
    return workers;
}

static json_t *open_json(const struct status *status)
{
    struct session_list_counts sum = {0};
    for (size_t i = 0; i < status->worker_count; i++) {
        sum.associations += status->workers[i]->counts.associations;
        sum.streams += status->workers[i]->counts.streams;
        sum.negotiating += status->workers[i]->counts.negotiating;
    }
    return counts_json(&sum);
}

static json_t *totals_json(const struct metrics *totals)
{
    json_t *json = json_object();
#define X(name, help) json = json_with_key(json, #name, json_number(totals->name));
    METRICS(X)
#undef X
    return json;
}

static json_t *drop_json(enum drop_reason reason, uint64_t count)
{
    json_t *json = json_object();
    json = json_with_key(json, "reason", json_string(drop_reason_name(reason)));
    json = json_with_key(json, "count", json_number(count));
    json = json_with_key(json, "means", json_string(drop_reason_help(reason)));
    return json_with_key(json, "advice", json_string(drop_reason_advice(reason)));
}

static json_t *drops_json(const struct metrics *totals)
{
    json_t *drops = json_array();
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (totals->udp_dropped_total[i])
            drops = json_with(drops, drop_json((enum drop_reason)i, totals->udp_dropped_total[i]));
    return drops;
}

/* Every worker has its own resolver; all ask the same servers. */
static json_t *resolver_json(const struct status *status)
{
    assert(status->worker_count > 0);
    const struct session_list *first = status->workers[0];
    json_t *json = json_object(), *servers = json_array();
    size_t waiting = 0;
    for (size_t i = 0; i < first->server_count; i++)
        servers = json_with(servers, json_address(&first->servers[i]));
    for (size_t i = 0; i < status->worker_count; i++)
        waiting += status->workers[i]->lookups;
    json = json_with_key(json, "servers", servers);
    json = json_with_key(json, "lookups", json_number(status->totals->lookups_total));
    json = json_with_key(json, "failed", json_number(status->totals->lookups_failed_total));
    return json_with_key(json, "waiting", json_number(waiting));
}

/* ---- how much there may be ---- */

/* `used` is null for limits of each client or user: there is no single number. */
static json_t *limit_json(const char *name, uint32_t limit, json_t *used, uint64_t refused)
{
    json_t *json = json_object();
    json = json_with_key(json, "name", json_string(name));
    json = json_with_key(json, "limit", number_or_null(limit));
    json = json_with_key(json, "used", used);
    return json_with_key(json, "refused", json_number(refused));
}

static json_t *limits_json(const struct status *status)
{
    const struct config *config = status->snapshot->config;
    const struct metrics *totals = status->totals;
    json_t *limits = json_array();
#define LIMIT(key, used, refused)                                                                                      \
    limits = json_with(limits, limit_json(#key, config->limits.key, used, totals->refused))
    LIMIT(sessions, json_number(status->sessions_held), limited_sessions_total);
    LIMIT(sessions_per_client, json_null(), limited_sessions_per_client_total);
    LIMIT(sessions_per_user, json_null(), limited_sessions_per_user_total);
    LIMIT(addresses_per_user, json_null(), limited_addresses_per_user_total);
    LIMIT(associations, json_number(status->associations_held), limited_associations_total);
    LIMIT(associations_per_client, json_null(), limited_associations_per_client_total);
    LIMIT(associations_per_user, json_null(), limited_associations_per_user_total);
    LIMIT(handshakes_per_client, json_null(), limited_handshakes_per_client_total);
    LIMIT(lookups_per_user, json_null(), limited_lookups_per_user_total);
    LIMIT(failed_logins, json_null(), auth_throttled_total);
#undef LIMIT
    return limits;
}

static json_t *memory_json(const struct status *status)
{
    static const char *const levels[] = {
        [MEMORY_AMPLE] = "ample",
        [MEMORY_SHORT] = "low",
        [MEMORY_CRITICAL] = "critical",
    };
    static_assert(ARRAY_LEN(levels) == MEMORY_CRITICAL + 1, "a word for each level");
    assert(status->memory.level <= MEMORY_CRITICAL);
    const bool known = status->memory.known;
    json_t *json = json_object();
    json = json_with_key(json, "used_bytes", known ? json_number(status->memory.used) : json_null());
    json = json_with_key(json, "limit_bytes", known ? json_number(status->memory.limit) : json_null());
    return json_with_key(json, "level", json_string(levels[status->memory.level]));
}

/* ---- all of it ---- */

static json_t *status_add_page(json_t *json, const struct status *status)
{
    assert(status->limit > 0);
    const struct session_list_row **rows = calloc(status->limit, sizeof(*rows));
    uint64_t next = 0;
    size_t count = rows ? session_list_merge(status->workers, status->worker_count, rows, status->limit, &next) : 0;
    json_t *sessions = rows ? json_array() : NULL;
    for (size_t i = 0; i < count; i++)
        sessions = json_with(sessions, status_session(rows[i]));
    free(rows);
    json = json_with_key(json, "sessions", sessions);
    return json_with_key(json, "next", number_or_null(next));
}

char *status_json(const struct status *status)
{
    json_t *json = json_object();
    json = json_with_key(json, "version", json_string(CONESOCKS_VERSION));
    json = json_with_key(json, "pid", json_number((uint64_t)getpid()));
    json = json_with_key(json, "started", moment_json(status->started));
    json = json_with_key(json, "uptime_seconds", json_number(status->uptime_ms / 1000));
    json = json_with_key(json, "state", json_string(status->draining ? "draining" : "running"));
    json = json_with_key(json, "configuration", configuration_json(status));
    json = json_with_key(json, "listeners", listeners_json(status->snapshot->config));
    json = json_with_key(json, "listeners_total", json_number(status->snapshot->config->listen_count));
    json = json_with_key(json, "udp", udp_json(status->snapshot));
    json = json_with_key(json, "port_ranges", port_ranges_json(status));
    json = json_with_key(json, "kernel_path", kernel_path_json(&status->kernel_path));
    json = json_with_key(json, "workers", workers_json(status));
    json = json_with_key(json, "open", open_json(status));
    json = json_with_key(json, "totals", totals_json(status->totals));
    json = json_with_key(json, "drops", drops_json(status->totals));
    json = json_with_key(json, "resolver", resolver_json(status));
    json = json_with_key(json, "limits", limits_json(status));
    json = json_with_key(json, "memory", memory_json(status));
    json = json_with_key(json, "users", status_users_json(status->users, status->snapshot));
    return json_text(status_add_page(json, status));
}
