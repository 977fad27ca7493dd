#include "check/client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "check/io.h"
#include "net/sock.h"

/* ---- one request ---- */

static enum proxy_outcome outcome_of_failure(const struct client_handshake *h)
{
    if (h->ended_at == CLIENT_AT_CHOICE && h->in[0] == SOCKS5_VERSION)
        return PROXY_NO_METHOD;
    bool understood = h->ended_at == CLIENT_AT_STATUS && h->in[0] == SOCKS5_PASSWORD_VERSION;
    return understood ? PROXY_BAD_LOGIN : PROXY_NOT_SOCKS5;
}

static void answer_set_bound(struct proxy_answer *answer)
{
    const struct socks5_addr *bound = &answer->handshake.bound;
    answer->bound_port = bound->port;
    if (bound->atyp == SOCKS5_ATYP_NAME)
        snprintf(answer->bound_name, sizeof(answer->bound_name), "%.*s", bound->host_len, (const char *)bound->host);
    else
        answer->bound = netaddr_from_bytes(bound->host, bound->host_len, bound->port);
}

/* Until the handshake is over. */
static void proxy_converse(struct proxy_answer *answer, uint64_t deadline)
{
    struct client_handshake *h = &answer->handshake;
    uint8_t bytes[SOCKS5_REQUEST_MAX];
    enum client_step step = CLIENT_MORE;
    while (step == CLIENT_MORE) {
        answer->stage = h->state;
        int failed = io_send_all(answer->fd, h->out, h->out_len, deadline);
        h->out_len = 0;
        ssize_t len = failed ? failed : io_receive(answer->fd, bytes, client_handshake_wants(h), deadline);
        if (len <= 0) {
            answer->error = -(int)len;
            answer->outcome = len == -ETIMEDOUT ? PROXY_SILENT : PROXY_CLOSED;
            return;
        }
        step = client_handshake_advance(h, bytes, (size_t)len);
    }
    answer->outcome = step == CLIENT_GRANTED   ? PROXY_GRANTED
                      : step == CLIENT_REFUSED ? PROXY_REFUSED
                                               : outcome_of_failure(h);
    if (step == CLIENT_GRANTED)
        answer_set_bound(answer);
}

void proxy_ask(struct proxy_answer *answer, const struct tested_proxy *proxy, uint8_t command,
               const struct socks5_addr *destination, unsigned timeout_ms)
{
    const struct proxy_url *url = &proxy->url;
    const struct socks5_password login = {
        .user = url->user, .user_len = url->user_len, .password = url->password, .password_len = url->password_len};
    uint64_t deadline = clock_ms() + timeout_ms;
    *answer = (struct proxy_answer){.outcome = PROXY_UNREACHABLE, .fd = io_dial(&proxy->address, deadline)};
    client_handshake_init(&answer->handshake, command, destination, url->user_len ? &login : NULL);
    if (answer->fd < 0) {
        answer->error = -answer->fd;
        answer->fd = -1;
        return;
    }
    answer->local = sock_local(answer->fd);
    proxy_converse(answer, deadline);
    explicit_bzero(answer->handshake.out, sizeof(answer->handshake.out)); /* the password */
    if (answer->outcome != PROXY_GRANTED) {
        close(answer->fd);
        answer->fd = -1;
    }
}

bool proxy_wants_password(const struct tested_proxy *proxy)
{
    static const uint8_t method = SOCKS5_METHOD_PASSWORD;
    const struct socks5_greeting greeting = {.methods = &method, .method_count = 1};
    uint8_t out[SOCKS5_GREETING_MAX], in[2], choice;
    uint64_t deadline = clock_ms() + PROXY_TIMEOUT;
    int fd = io_dial(&proxy->address, deadline);
    if (fd < 0)
        return false;
    bool answered = io_send_all(fd, out, socks5_greeting_encode(out, sizeof(out), &greeting), deadline) == 0 &&
                    io_receive_all(fd, in, sizeof(in), deadline) == 0 &&
                    socks5_choice_decode(in, sizeof(in), &choice) > 0;
    close(fd);
    return answered && choice == SOCKS5_METHOD_PASSWORD;
}

/* ---- outcomes as text ---- */

/* RFC 1928 section 6. */
static const char *reply_name(uint8_t code)
{
    static const char *const names[] = {
        [SOCKS5_REPLY_SUCCEEDED] = "granted",
        [SOCKS5_REPLY_GENERAL_FAILURE] = "general failure",
        [SOCKS5_REPLY_NOT_ALLOWED] = "not allowed by the rules",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "host unreachable, or unknown name",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "connection refused",
        [SOCKS5_REPLY_TTL_EXPIRED] = "timed out",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "command not supported",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "address type not supported",
    };
    return code < ARRAY_LEN(names) ? names[code] : "not a code of RFC 1928";
}

const char *proxy_answer_explain(const struct proxy_answer *answer, char *text, size_t size)
{
    static const char *const stages[] = {
        [CLIENT_AT_CHOICE] = "greeting", [CLIENT_AT_STATUS] = "login", [CLIENT_AT_REPLY] = "request"};
    const struct client_handshake *h = &answer->handshake;
    char bytes[4 * 16 + 1];
    assert(answer->stage < ARRAY_LEN(stages) && answer->outcome != PROXY_GRANTED);
    switch (answer->outcome) {
    case PROXY_NO_METHOD:
        return "the proxy accepts no login method that was offered";
    case PROXY_BAD_LOGIN:
        return "the proxy rejects the user name or the password";
    case PROXY_REFUSED:
        snprintf(text, size, "refused with code %u: %s", h->code, reply_name(h->code));
        break;
    case PROXY_UNREACHABLE:
        snprintf(text, size, "cannot connect to the proxy: %s", strerror(answer->error));
        break;
    case PROXY_SILENT:
        snprintf(text, size, "the proxy does not answer the %s", stages[answer->stage]);
        break;
    case PROXY_CLOSED:
        snprintf(text, size, "the proxy %s the connection after the %s", answer->error ? "reset" : "closed",
                 stages[answer->stage]);
        break;
    default:
        log_escape(bytes, sizeof(bytes), (const char *)h->in, h->in_len < 16 ? h->in_len : 16);
        snprintf(text, size, "the answer to the %s is not SOCKS5: \"%s\"", stages[answer->stage], bytes);
    }
    return text;
}

/* ---- associations ---- */

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Our socket has the address of the control connection: by that a server knows our datagrams. */
static int udp_socket_towards(const union netaddr *relay, const union netaddr *local, uint16_t port)
{
    union netaddr from = local->sa.sa_family == relay->sa.sa_family ? *local : netaddr_any(relay->sa.sa_family);
    netaddr_set_port(&from, port);
    return io_udp(&from, true);
}

bool association_redirect(struct check_association *a, const union netaddr *relay)
{
    bool same_family = a->channel.fd >= 0 && a->channel.relay.sa.sa_family == relay->sa.sa_family;
    assert(a->granted.fd >= 0 && a->channel.kind != CHANNEL_FRAMED);
    a->relay = *relay;
    if (!same_family) {
        close_descriptor(&a->channel.fd);
        a->channel.fd = udp_socket_towards(relay, &a->granted.local, a->port);
    }
    a->channel.kind = CHANNEL_RELAYED;
    a->channel.relay = *relay;
    return a->channel.fd >= 0;
}

static union netaddr relay_meant(const struct proxy_answer *answer, const union netaddr *proxy)
{
    union netaddr relay = answer->bound;
    struct io_addresses found;
    if (answer->bound_name[0] && io_resolve(answer->bound_name, answer->bound_port, &found) == 0) {
        const union netaddr *same = io_of_family(&found, proxy->sa.sa_family);
        return same ? *same : found.list[0];
    }
    if (netaddr_is_any(&relay)) {
        relay = *proxy;
        netaddr_set_port(&relay, answer->bound_port);
    }
    netaddr_unmap(&relay);
    return relay;
}

static bool association_ask(struct check_association *a, const struct tested_proxy *proxy, uint8_t command,
                            const union netaddr *hint)
{
    union netaddr nowhere = netaddr_any(proxy->address.sa.sa_family);
    const struct socks5_addr destination = socks5_addr_of(hint ? hint : &nowhere);
    *a = (struct check_association){.channel.fd = -1, .port = hint ? netaddr_port(hint) : 0};
    proxy_ask(&a->granted, proxy, command, &destination, PROXY_TIMEOUT);
    return a->granted.outcome == PROXY_GRANTED;
}

bool association_open(struct check_association *a, const struct tested_proxy *proxy, const union netaddr *hint)
{
    if (!association_ask(a, proxy, SOCKS5_COMMAND_UDP_ASSOCIATE, hint))
        return false;
    union netaddr relay = relay_meant(&a->granted, &proxy->address);
    return netaddr_port(&relay) != 0 && association_redirect(a, &relay);
}

bool association_open_framed(struct check_association *a, const struct tested_proxy *proxy)
{
    if (!association_ask(a, proxy, SOCKS5_COMMAND_UDP_IN_TCP, NULL))
        return false;
    a->channel = (struct channel){.kind = CHANNEL_FRAMED, .fd = a->granted.fd};
    return true;
}

bool association_has_ended(const struct check_association *a)
{
    uint8_t byte;
    ssize_t received = a->granted.fd < 0 ? 0 : recv(a->granted.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return received == 0 || (received < 0 && errno != EAGAIN && errno != EINTR);
}

void association_close(struct check_association *a)
{
    if (a->channel.fd != a->granted.fd)
        close_descriptor(&a->channel.fd);
    close_descriptor(&a->granted.fd);
    a->channel.fd = -1;
}
