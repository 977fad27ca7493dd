#include "proxy/session/refusal.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/stream/stream.h"

/* ---- streams ---- */

/* Of a connection, or a port, that could not be opened on this host; NULL: the reply tells enough. */
static const char *refusal_of_error(int error, bool is_bind)
{
    switch (error) {
    case EADDRNOTAVAIL:
        return "this host does not have the source address (outbound.address_v4, address_v6, or those of a user or "
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

const char *refusal_of_stream(const struct stream *stream, enum socks5_reply code)
{
    static const char *const connect_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "no attempt could be made",
        [SOCKS5_REPLY_NOT_ALLOWED] = "destination refused by policy",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "host unreachable or name not found",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "connection refused by destination",
        [SOCKS5_REPLY_TTL_EXPIRED] = "destination did not answer in time (timeouts.connect)",
    };
    static const char *const bind_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "no port could be opened (bind.ports)",
        [SOCKS5_REPLY_NOT_ALLOWED] = "peer refused by policy",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "this host has no route to the peer",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "this host has no route to the peer",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "BIND does not work through an upstream",
        [SOCKS5_REPLY_TTL_EXPIRED] = "nobody connected in time (bind.timeout)",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "BIND takes the peer's address, not a name",
    };
    static const char *const upstream_texts[] = {
        [SOCKS5_REPLY_GENERAL_FAILURE] = "the upstream could not be reached, or has failed",
        [SOCKS5_REPLY_NOT_ALLOWED] = "the upstream does not allow the destination",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "the upstream reports: network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "the upstream reports: host unreachable",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "the upstream reports: connection refused",
        [SOCKS5_REPLY_TTL_EXPIRED] = "destination did not answer the upstream in time",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "the upstream does not serve this command",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "the upstream does not accept this kind of address",
    };
    assert(code != SOCKS5_REPLY_SUCCEEDED && code < ARRAY_LEN(upstream_texts) && code < ARRAY_LEN(bind_texts));
    if (stream_upstream(stream))
        return upstream_texts[code];
    if (stream_is_unresolved(stream))
        return "name not resolved in time (dns.timeout): see whether the name servers answer";
    const bool is_bind = stream_command(stream) == CONFIG_COMMAND_BIND;
    const char *failure =
        code == SOCKS5_REPLY_GENERAL_FAILURE ? refusal_of_error(stream_reach_error(stream), is_bind) : NULL;
    if (failure)
        return failure;
    return is_bind ? bind_texts[code] : connect_texts[code];
}

/* ---- associations ---- */

const char *refusal_of_assoc(int error, const struct shortage *of_ports, char text[SHORTAGE_TEXT_MAX])
{
    const char *cause;
    switch (error) {
    case EACCES:
        return "the rules leave this client no destination";
    case EADDRINUSE:
        return shortage_format(of_ports, "no association", text);
    case EADDRNOTAVAIL:
        cause = "this host does not have the source address (outbound)";
        break;
    case EBUSY:
        cause = "another program has the port (udp.ports)";
        break;
    case EMFILE:
    case ENFILE:
        cause = shortage_text(shortage_of_error(error).kind);
        break;
    default:
        cause = strerror(error);
    }
    snprintf(text, SHORTAGE_TEXT_MAX, "no association: %s", cause);
    return text;
}
