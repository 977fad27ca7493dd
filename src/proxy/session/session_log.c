#include "proxy/session/session_log.h"

#include <errno.h>
#include <stddef.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/shortage.h"
#include "proxy/stream/stream.h"

/* Each is filled in once, whatever it is written as. */
struct fields {
    struct log_field list[16 + DROP_REASON_COUNT];
    size_t count;
};

static void add(struct fields *fields, struct log_field field)
{
    fields->list[fields->count++] = field;
}

static void add_text(struct fields *fields, const char *key, const char *text)
{
    add(fields, (struct log_field){.key = key, .type = LOG_TEXT, .text = text});
}

static void add_number(struct fields *fields, const char *key, uint64_t number)
{
    add(fields, (struct log_field){.key = key, .type = LOG_NUMBER, .number = number});
}

static void add_address(struct fields *fields, const char *key, const union netaddr *address)
{
    add(fields, (struct log_field){.key = key, .type = LOG_ADDRESS, .address = address});
}

/* NULL while no socket is open. */
static const union netaddr *opened(const union netaddr *external)
{
    return netaddr_port(external) ? external : NULL;
}

static void add_assoc(struct fields *fields, const struct assoc *assoc)
{
    const struct assoc_flow *flow = assoc_flow(assoc);
    add_text(fields, "command", assoc_is_over_tcp(assoc) ? "udp-over-tcp" : "udp");
    add_address(fields, "relay", &flow->relay);
    add_address(fields, "client_udp", &flow->client);
    add_address(fields, "external_v4", opened(&flow->external[FAMILY_V4]));
    add_address(fields, "external_v6", opened(&flow->external[FAMILY_V6]));
    add_number(fields, "up_datagrams", flow->up_datagrams);
    add_number(fields, "up_bytes", flow->up_bytes);
    add_number(fields, "down_datagrams", flow->down_datagrams);
    add_number(fields, "down_bytes", flow->down_bytes);
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (flow->dropped[i])
            add(fields, (struct log_field){.group = "dropped",
                                           .key = drop_reason_name((enum drop_reason)i),
                                           .type = LOG_NUMBER,
                                           .number = flow->dropped[i]});
    if (assoc_upstream(assoc))
        add_text(fields, "upstream", assoc_upstream(assoc));
}

static void add_stream(struct fields *fields, const struct stream *stream, const union netaddr *remote,
                       const struct session_log *record)
{
    const bool secret = record->hides_destinations;
    add_text(fields, "command", stream_command(stream) == CONFIG_COMMAND_BIND ? "bind" : "connect");
    add_text(fields, "destination", secret ? NULL : stream_destination(stream));
    if (stream_upstream(stream))
        add_text(fields, "upstream", stream_upstream(stream));
    add_address(fields, "via", secret ? NULL : remote);
    add_number(fields, "reply", record->reply);
    add_number(fields, "up_bytes", stream_up_bytes(stream));
    add_number(fields, "down_bytes", stream_down_bytes(stream));
}

/* Of a connection, or a port, that could not be opened on this host; NULL: the reply tells enough. */
static const char *text_of_failure(int error, bool is_bind)
{
    switch (error) {
    case EADDRNOTAVAIL:
        return "this host does not have the address to leave from (outbound.address_v4, address_v6, or those of a user "
               "or "
               "rule)";
    case EADDRINUSE:
        if (is_bind)
            return "every port of bind.ports is in use: make the range larger";
        return "no port of this host is left to connect from: widen net.ipv4.ip_local_port_range, or use more "
               "addresses "
               "(outbound.address_v4, address_v6)";
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return shortage_text(shortage_of_error(error).kind);
    default:
        return NULL;
    }
}

const char *session_log_refusal(const struct stream *stream, enum socks5_reply code)
{
    static const char *const connect_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "could not try",
        [SOCKS5_REPLY_NOT_ALLOWED] = "destination refused by policy",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "host unreachable or name not found",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "connection refused by destination",
        [SOCKS5_REPLY_TTL_EXPIRED] = "destination did not answer in time (timeouts.connect)",
    };
    static const char *const bind_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "no port could be opened (bind.ports)",
        [SOCKS5_REPLY_NOT_ALLOWED] = "peer refused by policy",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "no address of this host leads there",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "no address of this host leads there",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "upstreams are not asked for BIND",
        [SOCKS5_REPLY_TTL_EXPIRED] = "nobody connected in time (bind.timeout)",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "BIND takes the peer's address, not a name",
    };
    static const char *const upstream_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "the upstream could not be asked, or has failed",
        [SOCKS5_REPLY_NOT_ALLOWED] = "the upstream does not allow the destination",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "the upstream says: network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "the upstream says: host unreachable",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "the upstream says: connection refused",
        [SOCKS5_REPLY_TTL_EXPIRED] = "destination did not answer the upstream in time",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "the upstream does not serve this command",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "the upstream does not take this kind of address",
    };
    if (stream_upstream(stream))
        return upstream_texts[code];
    if (stream_is_unresolved(stream))
        return "name not resolved in time (dns.timeout): see whether the name servers answer";
    const bool is_bind = stream_command(stream) == CONFIG_COMMAND_BIND;
    const char *failure =
        code == SOCKS5_REPLY_GENERAL_FAILURE ? text_of_failure(stream_unreached(stream), is_bind) : NULL;
    if (failure)
        return failure;
    return is_bind ? bind_texts[code] : connect_texts[code];
}

void session_log_write(const struct session_log *record)
{
    struct fields fields = {.count = 0};
    union netaddr remote;
    add_number(&fields, "id", record->id);
    add_address(&fields, "client", record->client);
    add_text(&fields, "user", record->user);
    if (record->assoc) {
        add_assoc(&fields, record->assoc);
    } else if (record->stream) {
        remote = stream_remote(record->stream);
        add_stream(&fields, record->stream, &remote, record);
    } else {
        add_text(&fields, "command", "none");
    }
    add(&fields, (struct log_field){.key = "seconds", .type = LOG_SECONDS, .number = record->lasted_ms});
    add(&fields, (struct log_field){.key = "why", .type = LOG_SENTENCE, .text = record->why});
    log_record(&(struct log_record){.level = LOG_LEVEL_INFO,
                                    .module = LOG_MODULE,
                                    .message = "session ended",
                                    .fields = fields.list,
                                    .field_count = fields.count,
                                    .suppressed = record->suppressed});
}
