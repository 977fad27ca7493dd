#include "check/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "check/channel.h"
#include "check/io.h"

static void set_bound(struct negotiation *n, const struct socks5_addr *bound)
{
    n->bound_port = bound->port;
    if (bound->atyp == SOCKS5_ATYP_NAME) {
        memcpy(n->bound_name, bound->host, bound->host_len);
        n->bound_name[bound->host_len] = '\0';
        n->bound = (union netaddr){0};
    } else {
        n->bound = netaddr_from_bytes(bound->host, bound->host_len, bound->port);
    }
}

static void set_failure(struct negotiation *n, const struct client_handshake *h)
{
    n->stage = h->ended_at;
    n->end = NEGOTIATION_STRANGE;
    if (h->ended_at == CLIENT_AT_CHOICE && h->in[0] == SOCKS5_VERSION)
        n->end = NEGOTIATION_METHOD;
    else if (h->ended_at == CLIENT_AT_STATUS && h->in[0] == SOCKS5_PASSWORD_VERSION)
        n->end = NEGOTIATION_LOGIN;
    n->strange_len = h->in_len < sizeof(n->strange) ? h->in_len : sizeof(n->strange);
    memcpy(n->strange, h->in, n->strange_len);
}

static void set_error(struct negotiation *n, const struct client_handshake *h, int error)
{
    n->stage = h->state;
    n->error = -error;
    n->end = error == -ETIMEDOUT ? NEGOTIATION_SILENT : NEGOTIATION_CLOSED;
}

/* Until the handshake is over. */
static void converse(struct negotiation *n, struct client_handshake *h, uint64_t deadline)
{
    uint8_t bytes[SOCKS5_REQUEST_MAX];
    enum client_step step = CLIENT_MORE;
    while (step == CLIENT_MORE) {
        int sent = io_send_all(n->fd, h->out, h->out_len, deadline);
        h->out_len = 0;
        ssize_t len = sent < 0 ? sent : io_receive(n->fd, bytes, client_handshake_wants(h), deadline);
        if (len <= 0) {
            set_error(n, h, (int)len);
            return;
        }
        step = client_handshake_advance(h, bytes, (size_t)len);
    }
    n->method = h->method;
    n->stage = h->ended_at;
    n->code = h->code;
    if (step == CLIENT_FAILED) {
        set_failure(n, h);
        return;
    }
    n->end = step == CLIENT_GRANTED ? NEGOTIATION_GRANTED : NEGOTIATION_REFUSED;
    if (step == CLIENT_GRANTED)
        set_bound(n, &h->bound);
}

void negotiate(struct negotiation *n, const struct proxy_url *url, const union netaddr *proxy, uint8_t command,
               const struct socks5_addr *destination, uint64_t deadline)
{
    const struct socks5_password login = {
        .user = url->user, .user_len = url->user_len, .password = url->password, .password_len = url->password_len};
    struct client_handshake h;
    *n = (struct negotiation){.fd = io_dial(proxy, deadline), .method = SOCKS5_METHOD_NO_ACCEPTABLE};
    if (n->fd < 0) {
        n->end = NEGOTIATION_UNREACHABLE;
        n->error = -n->fd;
        n->fd = -1;
        return;
    }
    n->local = io_local(n->fd);
    client_handshake_init(&h, command, destination, url->user_len ? &login : NULL);
    converse(n, &h, deadline);
    n->method = h.method;
    explicit_bzero(h.out, sizeof(h.out));
    if (n->end != NEGOTIATION_GRANTED) {
        close(n->fd);
        n->fd = -1;
    }
}

int negotiate_password_only(const union netaddr *proxy, uint64_t deadline)
{
    static const uint8_t method = SOCKS5_METHOD_PASSWORD;
    const struct socks5_greeting greeting = {.methods = &method, .method_count = 1};
    uint8_t out[SOCKS5_GREETING_MAX], in[2], choice;
    int fd = io_dial(proxy, deadline);
    if (fd < 0)
        return -1;
    bool answered = io_send_all(fd, out, socks5_greeting_encode(out, sizeof(out), &greeting), deadline) == 0 &&
                    io_receive_all(fd, in, sizeof(in), deadline) == 0 &&
                    socks5_choice_decode(in, sizeof(in), &choice) > 0;
    close(fd);
    return answered ? choice : -1;
}

const char *reply_name(uint8_t code)
{
    static const char *const names[] = {
        [SOCKS5_REPLY_SUCCEEDED] = "granted",
        [SOCKS5_REPLY_GENERAL_FAILURE] = "general failure",
        [SOCKS5_REPLY_NOT_ALLOWED] = "not allowed by its rules",
        [SOCKS5_REPLY_NETWORK_UNREACHABLE] = "network unreachable",
        [SOCKS5_REPLY_HOST_UNREACHABLE] = "host unreachable, or its name is not known",
        [SOCKS5_REPLY_CONNECTION_REFUSED] = "connection refused",
        [SOCKS5_REPLY_TTL_EXPIRED] = "timed out",
        [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] = "command not supported",
        [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] = "address type not supported",
    };
    return code < ARRAY_LEN(names) ? names[code] : "a code that RFC 1928 does not have";
}

static const char *stage_name(enum client_state stage)
{
    static const char *const names[] = {
        [CLIENT_AT_CHOICE] = "the greeting", [CLIENT_AT_STATUS] = "the login", [CLIENT_AT_REPLY] = "the request"};
    return stage < ARRAY_LEN(names) ? names[stage] : "the reply";
}

const char *negotiation_explain(const struct negotiation *n, char *text, size_t size)
{
    char bytes[4 * sizeof(n->strange) + 1];
    switch (n->end) {
    case NEGOTIATION_REFUSED:
        snprintf(text, size, "refused, code %u: %s", n->code, reply_name(n->code));
        return text;
    case NEGOTIATION_UNREACHABLE:
        snprintf(text, size, "cannot connect: %s", strerror(n->error));
        return text;
    case NEGOTIATION_SILENT:
        snprintf(text, size, "no answer to %s", stage_name(n->stage));
        return text;
    case NEGOTIATION_CLOSED:
        snprintf(text, size, "the connection was %s after %s", n->error ? "reset" : "closed", stage_name(n->stage));
        return text;
    case NEGOTIATION_STRANGE:
        log_escape(bytes, sizeof(bytes), (const char *)n->strange, n->strange_len);
        snprintf(text, size, "its answer to %s is not SOCKS5: \"%s\"", stage_name(n->stage), bytes);
        return text;
    case NEGOTIATION_METHOD:
        return "it takes none of the ways to log in that it was offered";
    case NEGOTIATION_LOGIN:
        return "it does not accept the user name and the password";
    default:
        return "granted";
    }
}
