#include "proxy/record.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "proxy/assoc.h"
#include "proxy/stream.h"

struct text {
    char bytes[960];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, args);
    va_end(args);
    if (n > 0)
        text->len += (size_t)n;
    if (text->len >= sizeof(text->bytes))
        text->len = sizeof(text->bytes) - 1;
}

/* What a client chose: in quotes when it could be taken for another field. */
static void say_chosen(struct text *text, const char *key, const char *value)
{
    if (!strpbrk(value, " \"=")) {
        say(text, " %s=%s", key, value);
        return;
    }
    say(text, " %s=\"", key);
    for (; *value; value++)
        say(text, "%c", *value == '"' ? '\'' : *value);
    say(text, "\"");
}

static const char *format_opened(const union netaddr *external, char *text)
{
    static const union netaddr none;
    return netaddr_format(netaddr_port(external) ? external : &none, text);
}

static void say_assoc(struct text *text, const struct assoc *assoc)
{
    const struct assoc_flow *flow = assoc_flow(assoc);
    char relay[NETADDR_TEXT_MAX], v4[NETADDR_TEXT_MAX], v6[NETADDR_TEXT_MAX], from[NETADDR_TEXT_MAX];
    say(text, " command=%s relay=%s client_udp=%s external_v4=%s external_v6=%s",
        assoc_is_over_tcp(assoc) ? "udp-over-tcp" : "udp", netaddr_format(&flow->relay, relay),
        netaddr_format(&flow->client, from), format_opened(&flow->external[FAMILY_V4], v4),
        format_opened(&flow->external[FAMILY_V6], v6));
    say(text, " up_datagrams=%" PRIu64 " up_bytes=%" PRIu64 " down_datagrams=%" PRIu64 " down_bytes=%" PRIu64,
        flow->up_datagrams, flow->up_bytes, flow->down_datagrams, flow->down_bytes);
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (flow->dropped[i])
            say(text, " dropped_%s=%" PRIu32, drop_reason_name((enum drop_reason)i), flow->dropped[i]);
}

static void say_stream(struct text *text, const struct stream *stream, enum socks5_reply reply)
{
    char via[NETADDR_TEXT_MAX];
    union netaddr remote = stream_remote(stream);
    say(text, " command=%s", stream_command(stream) == CONFIG_COMMAND_BIND ? "bind" : "connect");
    say_chosen(text, "destination", stream_destination(stream));
    if (stream_upstream(stream))
        say_chosen(text, "upstream", stream_upstream(stream));
    say(text, " via=%s reply=%d up_bytes=%" PRIu64 " down_bytes=%" PRIu64, netaddr_format(&remote, via), reply,
        stream_up_bytes(stream), stream_down_bytes(stream));
}

const char *record_refusal(const struct stream *stream, enum socks5_reply code)
{
    static const char *const connect_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "could not try",
        [SOCKS5_REPLY_NOT_ALLOWED] = "destination refused by policy",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "host unreachable or name not found",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "connection refused by destination",
        [SOCKS5_REPLY_TTL_EXPIRED] = "destination did not answer in time",
    };
    static const char *const bind_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "no port could be opened (bind.ports), or descriptors ran out",
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
        [SOCKS5_REPLY_TTL_EXPIRED] = "the upstream says: no answer in time",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "the upstream does not serve this command",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "the upstream does not take this kind of address",
    };
    if (stream_upstream(stream))
        return upstream_texts[code];
    return stream_command(stream) == CONFIG_COMMAND_BIND ? bind_texts[code] : connect_texts[code];
}

void record_log(const struct record *record)
{
    char client[NETADDR_TEXT_MAX];
    struct text text = {.len = 0};
    say(&text, "client=%s", netaddr_format(record->client, client));
    say_chosen(&text, "user", record->user ? record->user : "-");
    if (record->assoc)
        say_assoc(&text, record->assoc);
    else if (record->stream)
        say_stream(&text, record->stream, record->reply);
    else
        say(&text, " command=none");
    if (record->assoc && assoc_upstream(record->assoc))
        say_chosen(&text, "upstream", assoc_upstream(record->assoc));
    say(&text, " seconds=%" PRIu64 ".%03" PRIu64 " why=\"%s\"", record->lasted_ms / 1000, record->lasted_ms % 1000,
        record->why);
    if (record->held_back)
        say(&text, " (%" PRIu32 " similar lines held back)", record->held_back);
    log_info("%s", text.bytes);
}
