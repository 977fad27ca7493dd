#include "admin/status_session.h"

#include "admin/json.h"
#include "conf/words.h"
#include "proxy/assoc/sketch.h"

/* For sessions through an upstream: it owns the mapping and does the filtering. */
#define BY_UPSTREAM "upstream"

static json_t *external_json(const struct assoc_flow *flow)
{
    json_t *external = json_array();
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (netaddr_port(&flow->external[slot])) /* it is open */
            external = json_with(external, json_address(&flow->external[slot]));
    return external;
}

static json_t *mapping_json(const struct assoc_flow *flow, const struct assoc_mapping *mapping)
{
    struct assoc_flow at = {.client = flow->client};
    netaddr_set_port(&at.client, mapping->client_port);
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        at.external[slot] = flow->external[slot];
        netaddr_set_port(&at.external[slot], mapping->external_port[slot]);
    }
    json_t *json = json_with_key(json_object(), "client_udp", json_address(&at.client));
    return json_with_key(json, "external", external_json(&at));
}

/* One element for each port of a client that uses several. */
static json_t *mappings_json(const struct session_list_row *row)
{
    json_t *json = json_array();
    for (size_t i = 0; i < row->assoc.mapping_count; i++)
        json = json_with(json, mapping_json(&row->assoc.flow, &row->assoc.mappings[i]));
    return json;
}

static json_t *dropped_json(const uint32_t dropped_counts[DROP_REASON_COUNT])
{
    json_t *dropped = json_object();
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (dropped_counts[i])
            dropped = json_with_key(dropped, drop_reason_name((enum drop_reason)i), json_number(dropped_counts[i]));
    return dropped;
}

static json_t *kernel_use_json(const struct kernel_use *use)
{
    const bool is_active = use->reason == KERNEL_REASON_NONE;
    json_t *json = json_object();
    json = json_with_key(json, "active", json_boolean(is_active));
    json = json_with_key(json, "why_not", is_active ? json_null() : json_string(kernel_reason_word(use->reason)));
    json = json_with_key(json, "up_datagrams", json_number(use->up_datagrams));
    return json_with_key(json, "down_datagrams", json_number(use->down_datagrams));
}

static json_t *session_json_add_assoc(json_t *json, const struct session_list_row *row)
{
    const struct assoc_flow *flow = &row->assoc.flow;
    const bool by_upstream = row->upstream[0] != '\0';
    const char *mapping = by_upstream ? BY_UPSTREAM : "endpoint-independent";
    const char *filtering = by_upstream ? BY_UPSTREAM : config_filtering_word(row->assoc.filtering);
    json = json_with_key(json, "idle_seconds", json_number(row->assoc.idle_ms / 1000));
    json = json_with_key(json, "relay", json_address(&flow->relay));
    json = json_with_key(json, "client_udp", json_address(&flow->client));
    json = json_with_key(json, "external", external_json(flow));
    if (row->assoc.mapping_count > 1)
        json = json_with_key(json, "client_ports", mappings_json(row));
    if (row->assoc.exits[0])
        json = json_with_key(json, "other_upstreams", json_chosen(row->assoc.exits));
    json = json_with_key(json, "mapping", json_string(mapping));
    json = json_with_key(json, "filtering", json_string(filtering));
    json = json_with_key(json, "destinations", json_number(sketch_estimate(flow->destinations)));
    json = json_with_key(json, "up_datagrams", json_number(flow->up_datagrams));
    json = json_with_key(json, "up_bytes", json_number(flow->up_bytes));
    json = json_with_key(json, "down_datagrams", json_number(flow->down_datagrams));
    json = json_with_key(json, "down_bytes", json_number(flow->down_bytes));
    json = json_with_key(json, "kernel_path", kernel_use_json(&row->assoc.kernel));
    return json_with_key(json, "dropped", dropped_json(row->assoc.dropped));
}

static json_t *session_json_add_stream(json_t *json, const struct session_list_row *row)
{
    json = json_with_key(json, "destination", json_chosen(row->stream.destination));
    json = json_with_key(json, "remote", json_address(&row->stream.remote));
    json = json_with_key(json, "up_bytes", json_number(row->stream.up_bytes));
    return json_with_key(json, "down_bytes", json_number(row->stream.down_bytes));
}

json_t *status_session(const struct session_list_row *row)
{
    json_t *json = json_object();
    json = json_with_key(json, "id", json_number(row->id));
    json = json_with_key(json, "kind", json_string(session_kind_word(row->kind)));
    json = json_with_key(json, "client", json_address(&row->client));
    json = json_with_key(json, "user", json_chosen(row->user));
    json = json_with_key(json, "age_seconds", json_number(row->age_ms / 1000));
    json = json_with_key(json, "upstream", json_chosen(row->upstream));
    switch (row->kind) {
    case KIND_ASSOCIATION:
    case KIND_ASSOCIATION_OVER_TCP:
        return session_json_add_assoc(json, row);
    case KIND_CONNECT:
    case KIND_BIND:
        return session_json_add_stream(json, row);
    default:
        return json;
    }
}
