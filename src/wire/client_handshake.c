#include "wire/client_handshake.h"

#include <assert.h>
#include <string.h>

/* VER REP RSV ATYP, and the first byte of the address: from then on a reply's length is known. */
#define REPLY_START 5

static_assert(SOCKS5_PASSWORD_MAX >= SOCKS5_REQUEST_MAX && SOCKS5_PASSWORD_MAX >= SOCKS5_GREETING_MAX,
              "the longest message is the login");

static bool client_say_greeting(struct client_handshake *h)
{
    static const uint8_t methods[] = {SOCKS5_METHOD_NONE, SOCKS5_METHOD_PASSWORD};
    const struct socks5_greeting greeting = {.methods = methods, .method_count = h->login.user_len ? 2 : 1};
    h->out_len = (uint16_t)socks5_greeting_encode(h->out, sizeof(h->out), &greeting);
    return h->out_len > 0;
}

static void client_say_login(struct client_handshake *h)
{
    h->out_len = (uint16_t)socks5_password_encode(h->out, sizeof(h->out), &h->login);
    h->state = CLIENT_AT_STATUS;
}

static bool client_say_request(struct client_handshake *h)
{
    const struct socks5_request request = {.command = h->command, .destination = h->destination};
    h->out_len = (uint16_t)socks5_request_encode(h->out, sizeof(h->out), &request);
    h->state = CLIENT_AT_REPLY;
    return h->out_len > 0;
}

bool client_handshake_init(struct client_handshake *h, uint8_t command, const struct socks5_addr *destination,
                           const struct socks5_password *login)
{
    memset(h, 0, sizeof(*h));
    h->command = command;
    h->destination = *destination;
    if (login)
        h->login = *login;
    bool sayable = client_say_request(h) && (!login || login->user_len > 0);
    h->state = CLIENT_AT_CHOICE;
    h->method = SOCKS5_METHOD_NO_ACCEPTABLE;
    return client_say_greeting(h) && sayable;
}

/* The length of the message at hand, as far as it is known. */
static size_t client_message_length(const struct client_handshake *h)
{
    if (h->state != CLIENT_AT_REPLY)
        return 2;
    if (h->in_len < REPLY_START)
        return REPLY_START;
    switch (h->in[3]) {
    case SOCKS5_ATYP_IPV4:
        return 4 + 4 + 2;
    case SOCKS5_ATYP_IPV6:
        return 4 + 16 + 2;
    case SOCKS5_ATYP_NAME:
        return 4 + 1 + (size_t)h->in[4] + 2;
    default:
        return REPLY_START;
    }
}

size_t client_handshake_wants(const struct client_handshake *h)
{
    return h->state == CLIENT_OVER ? 0 : client_message_length(h) - h->in_len;
}

static enum client_step client_fail(struct client_handshake *h, const char *why)
{
    h->failure = why;
    return CLIENT_FAILED;
}

static enum client_step client_take_choice(struct client_handshake *h)
{
    uint8_t method;
    if (socks5_choice_decode(h->in, h->in_len, &method) < 0)
        return client_fail(h, "what answers there does not speak SOCKS5");
    h->method = method;
    if (method == SOCKS5_METHOD_NONE)
        client_say_request(h);
    else if (method == SOCKS5_METHOD_PASSWORD && h->login.user_len)
        client_say_login(h);
    else
        return client_fail(
            h, h->login.user_len ? "it accepts none of the offered login methods: no login, or a user name and password"
                                 : "it asks for a login: the upstream's user and password are not configured");
    return CLIENT_MORE;
}

static enum client_step client_take_status(struct client_handshake *h)
{
    uint8_t status;
    if (h->in[0] == SOCKS5_VERSION) /* some servers put that where RFC 1929 has its own version */
        h->in[0] = SOCKS5_PASSWORD_VERSION;
    if (socks5_password_status_decode(h->in, h->in_len, &status) < 0)
        return client_fail(h, "its answer to the login is not RFC 1929");
    if (status != 0)
        return client_fail(h, "it does not accept the upstream's user and password");
    client_say_request(h);
    return CLIENT_MORE;
}

static enum client_step client_take_reply(struct client_handshake *h)
{
    static const uint8_t nowhere[4];
    struct socks5_reply_message reply;
    int decoded = socks5_reply_decode(h->in, h->in_len, &reply);
    if (decoded == SOCKS5_E_VERSION)
        return client_fail(h, "its reply is not SOCKS5");
    h->code = h->in[1];
    if (h->code != SOCKS5_REPLY_SUCCEEDED)
        return CLIENT_REFUSED; /* whatever address it has put behind that */
    if (decoded == SOCKS5_E_ATYP)
        return client_fail(h, "its reply has an unknown address type");
    h->bound = reply.bound;
    if (decoded == SOCKS5_E_EMPTY) /* an empty name is nobody's address, but its port may be meant */
        h->bound = (struct socks5_addr){
            .atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = nowhere, .port = (uint16_t)(h->in[5] << 8 | h->in[6])};
    return CLIENT_GRANTED;
}

enum client_step client_handshake_advance(struct client_handshake *h, const uint8_t *bytes, size_t len)
{
    assert(h->state != CLIENT_OVER && len <= client_handshake_wants(h));
    memcpy(h->in + h->in_len, bytes, len);
    h->in_len = (uint16_t)(h->in_len + len);
    if (client_handshake_wants(h) > 0)
        return CLIENT_MORE;
    enum client_state state = h->state;
    enum client_step step = state == CLIENT_AT_CHOICE   ? client_take_choice(h)
                            : state == CLIENT_AT_STATUS ? client_take_status(h)
                                                        : client_take_reply(h);
    if (step == CLIENT_MORE) {
        h->in_len = 0;
    } else {
        h->ended_at = state;
        h->state = CLIENT_OVER;
    }
    return step;
}
