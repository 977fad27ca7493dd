#include "admin/status_session.h"

#include "admin/json.h"
#include "proxy/sketch.h"

/* Where an upstream has the mapping, which it has, and lets in whom it will. */
#define BY_UPSTREAM "upstream"

const char *status_filtering(enum config_filtering filtering)
{
    static const char *const names[] = {
        [CONFIG_FILTERING_INHERITED] = "endpoint-independent",
        [CONFIG_FILTERING_ENDPOINT_INDEPENDENT] = "endpoint-independent",
        [CONFIG_FILTERING_ADDRESS_DEPENDENT] = "address-dependent",
        [CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
    };
    return names[filtering];
}

static json_t *external_json(const struct assoc_flow *flow)
{
    json_t *external = json_array();
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (netaddr_port(&flow->external[slot])) /* it is open */
            external = json_with(external, json_address(&flow->external[slot]));
    return external;
}

static json_t *dropped_json(const struct assoc_flow *flow)
{
    json_t *dropped = json_object();
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (flow->dropped[i])
            dropped = json_with_key(dropped, drop_reason_name((enum drop_reason)i),
                                    json_integer((json_int_t)flow->dropped[i]));
    return dropped;
}

static json_t *assoc_json(const struct report_row *row)
{
    const struct assoc_flow *flow = &row->assoc.flow;
    const bool by_upstream = row->upstream[0] != '\0';
    return json_pack("{s:I, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}",                         //
                     "idle_seconds", (json_int_t)(row->assoc.idle_ms / 1000),                                //
                     "relay", json_address(&flow->relay),                                                    //
                     "client_udp", json_address(&flow->client),                                              //
                     "external", external_json(flow),                                                        //
                     "mapping", by_upstream ? BY_UPSTREAM : "endpoint-independent",                          //
                     "filtering", by_upstream ? BY_UPSTREAM : status_filtering(row->assoc.filtering),        //
                     "destinations", (json_int_t)sketch_estimate(flow->destinations),                        //
                     "up_datagrams", (json_int_t)flow->up_datagrams, "up_bytes", (json_int_t)flow->up_bytes, //
                     "down_datagrams", (json_int_t)flow->down_datagrams,                                     //
                     "down_bytes", (json_int_t)flow->down_bytes, "dropped", dropped_json(flow));
}

static json_t *stream_json(const struct report_row *row)
{
    return json_pack("{s:o, s:o, s:I, s:I}", "destination", json_chosen(row->stream.destination), "remote",
                     json_address(&row->stream.remote), "up_bytes", (json_int_t)row->stream.up_bytes, "down_bytes",
                     (json_int_t)row->stream.down_bytes);
}

json_t *status_session(const struct report_row *row)
{
    static const char *const kinds[] = {
        [REPORT_NEGOTIATION] = "negotiation",
        [REPORT_CONNECT] = "connect",
        [REPORT_BIND] = "bind",
        [REPORT_ASSOCIATION] = "association",
        [REPORT_ASSOCIATION_OVER_TCP] = "association-over-tcp",
    };
    json_t *json = json_pack("{s:I, s:s, s:o, s:o, s:I, s:o}", "id", (json_int_t)row->id, "kind", kinds[row->kind],
                             "client", json_address(&row->client), "user", json_chosen(row->user), "age_seconds",
                             (json_int_t)(row->age_ms / 1000), "upstream", json_chosen(row->upstream));
    switch (row->kind) {
    case REPORT_ASSOCIATION:
    case REPORT_ASSOCIATION_OVER_TCP:
        return json_with_all(json, assoc_json(row));
    case REPORT_CONNECT:
    case REPORT_BIND:
        return json_with_all(json, stream_json(row));
    case REPORT_NEGOTIATION:
        break;
    }
    return json;
}
