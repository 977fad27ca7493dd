#include "admin/status.h"

#include <stdlib.h>
#include <unistd.h>

#include "admin/json.h"
#include "admin/status_session.h"
#include "base/util.h"
#include "policy/snapshot.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* 0: null. */
static json_t *number_or_null(uint64_t value)
{
    return value ? number(value) : json_null();
}

static json_t *moment(time_t when)
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
    return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o}", "file", json_chosen(status->configuration.file), "loaded",
                     moment(status->configuration.loaded), "reloads", (json_int_t)status->configuration.reloads,
                     "reloads_failed", (json_int_t)status->configuration.failed, "last_error",
                     json_chosen(status->configuration.last_error), "waiting_for_start",
                     json_chosen(status->configuration.waiting_for_start));
}

static json_t *listeners_json(const struct config *config)
{
    json_t *listeners = json_array();
    for (size_t i = 0; i < config->listen_count; i++) {
        const struct config_listener *listener = &config->listen[i];
        const bool announced = listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
        listeners = json_with(listeners, json_pack("{s:o, s:b, s:b}", "address", json_address(&listener->address),
                                                   "login", listener->need_password, "proxy_protocol", announced));
    }
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
    return json_pack("{s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "enabled", config->udp.enabled, "mapping",
                     "endpoint-independent", "filtering", status_filtering(config->udp.filtering), "ports",
                     ports_json(&config->udp.ports), "external_ports", ports_json(&config->udp.external_ports),
                     "advertise_v4", host_json(&snapshot->advertised_v4), "advertise_v6",
                     host_json(&snapshot->advertised_v6), "idle_seconds", number_or_null(config->udp.idle_ms / 1000));
}

/* ---- what there is ---- */

static json_t *counts_json(const struct report_counts *counts)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "sessions",
                     (json_int_t)(counts->associations + counts->streams + counts->negotiating), "associations",
                     (json_int_t)counts->associations, "streams", (json_int_t)counts->streams, "negotiating",
                     (json_int_t)counts->negotiating);
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
    struct report_counts sum = {0};
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
#define X(name, help) json = json_with_key(json, #name, number(totals->name));
    METRICS(X)
#undef X
    return json;
}

static json_t *drops_json(const struct metrics *totals)
{
    json_t *drops = json_array();
    for (int i = 0; i < DROP_REASON_COUNT; i++) {
        const enum drop_reason reason = (enum drop_reason)i;
        if (totals->udp_dropped_total[i])
            drops = json_with(drops, json_pack("{s:s, s:I, s:s, s:s}", "reason", drop_reason_name(reason), "count",
                                               (json_int_t)totals->udp_dropped_total[i], "means",
                                               drop_reason_help(reason), "advice", drop_reason_advice(reason)));
    }
    return drops;
}

/* Each worker has a resolver of its own, which asks the same servers. */
static json_t *resolver_json(const struct status *status)
{
    json_t *servers = json_array();
    const struct report *first = status->workers[0];
    size_t waiting = 0;
    for (size_t i = 0; i < first->server_count; i++)
        servers = json_with(servers, json_address(&first->servers[i]));
    for (size_t i = 0; i < status->worker_count; i++)
        waiting += status->workers[i]->lookups;
    return json_pack("{s:o, s:I, s:I, s:I}", "servers", servers, "lookups", (json_int_t)status->totals->lookups_total,
                     "failed", (json_int_t)status->totals->lookups_failed_total, "waiting", (json_int_t)waiting);
}

/* ---- how much there may be ---- */

/* `used` is null for what is counted for each client or user: there is no one number. */
static json_t *limit_json(const char *name, uint32_t limit, json_t *used, uint64_t refused)
{
    return json_pack("{s:s, s:o, s:o, s:I}", "name", name, "limit", number_or_null(limit), "used", used, "refused",
                     (json_int_t)refused);
}

static json_t *limits_json(const struct status *status)
{
    const struct config *config = status->snapshot->config;
    const struct metrics *totals = status->totals;
    json_t *limits = json_array();
#define LIMIT(key, used, refused)                                                                                      \
    limits = json_with(limits, limit_json(#key, config->limits.key, used, totals->refused))
    LIMIT(sessions, number(status->sessions_held), limited_sessions_total);
    LIMIT(sessions_per_client, json_null(), limited_sessions_per_client_total);
    LIMIT(sessions_per_user, json_null(), limited_sessions_per_user_total);
    LIMIT(associations, number(status->associations_held), limited_associations_total);
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
    const bool known = status->memory.known;
    return json_pack("{s:o, s:o, s:s}", "used_bytes", known ? number(status->memory.used) : json_null(), "limit_bytes",
                     known ? number(status->memory.limit) : json_null(), "level", levels[status->memory.level]);
}

/* ---- all of it ---- */

static json_t *page_json(const struct status *status)
{
    const struct report_row **rows = calloc(status->limit, sizeof(*rows));
    uint64_t next = 0;
    size_t count = rows ? report_merge(status->workers, status->worker_count, rows, status->limit, &next) : 0;
    json_t *sessions = rows ? json_array() : NULL;
    for (size_t i = 0; i < count; i++)
        sessions = json_with(sessions, status_session(rows[i]));
    free(rows);
    return json_pack("{s:o, s:o}", "sessions", sessions, "next", number_or_null(next));
}

char *status_json(const struct status *status)
{
    json_t *json =
        json_pack("{s:s, s:i, s:o, s:I, s:s, s:o}", "version", CONESOCKS_VERSION, "pid", (int)getpid(), "started",
                  moment(status->started), "uptime_seconds", (json_int_t)(status->uptime_ms / 1000), "state",
                  status->draining ? "draining" : "running", "configuration", configuration_json(status));
    json = json_with_key(json, "listeners", listeners_json(status->snapshot->config));
    json = json_with_key(json, "udp", udp_json(status->snapshot));
    json = json_with_key(json, "workers", workers_json(status));
    json = json_with_key(json, "open", open_json(status));
    json = json_with_key(json, "totals", totals_json(status->totals));
    json = json_with_key(json, "drops", drops_json(status->totals));
    json = json_with_key(json, "resolver", resolver_json(status));
    json = json_with_key(json, "limits", limits_json(status));
    json = json_with_key(json, "memory", memory_json(status));
    return json_text(json_with_all(json, page_json(status)));
}
