#include "wire/handshake.h"

#include <assert.h>
#include <string.h>

static_assert(HANDSHAKE_OUTPUT_MAX >= 2 + 2 + 22, "a method, a status and a reply wait together");
static_assert(HANDSHAKE_INPUT_MAX >= SOCKS5_GREETING_MAX && HANDSHAKE_INPUT_MAX >= SOCKS5_REQUEST_MAX,
              "the longest message is the login");

void handshake_init(struct handshake *h, bool need_password)
{
    *h = (struct handshake){.state = HANDSHAKE_AT_GREETING, .need_password = need_password};
}

static void handshake_fail(struct handshake *h, const char *why)
{
    assert(!h->failure); /* it fails once */
    h->state = HANDSHAKE_OVER;
    h->failure = why;
}

static void handshake_say_method(struct handshake *h, uint8_t method)
{
    h->out_len += (uint8_t)socks5_choice_encode(h->out + h->out_len, sizeof(h->out) - h->out_len, method);
}

static void handshake_say_status(struct handshake *h, uint8_t status)
{
    h->out_len += (uint8_t)socks5_password_status_encode(h->out + h->out_len, sizeof(h->out) - h->out_len, status);
}

static void handshake_say_reply(struct handshake *h, uint8_t code, const struct socks5_addr *bound)
{
    static const uint8_t zero[4];
    static const struct socks5_addr nowhere = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = zero};
    struct socks5_reply_message message = {.code = code, .bound = bound ? *bound : nowhere};
    h->out_len += (uint8_t)socks5_reply_encode(h->out + h->out_len, sizeof(h->out) - h->out_len, &message);
}

/* Nobody learns from a log line "bad version 71" that a browser was set to the wrong kind of proxy. */
static const char *handshake_guess_protocol(uint8_t first)
{
    if (first == 4)
        return "SOCKS4 spoken to a SOCKS5 port: set the client to SOCKS5";
    if (first == 0x16) /* the record type of a ClientHello */
        return "TLS spoken to a SOCKS5 port: set the client to SOCKS5 without encryption";
    if (first >= 'A' && first <= 'Z')
        return "HTTP spoken to a SOCKS5 port: set the client to SOCKS5, not to an HTTP proxy";
    return "not SOCKS5: the first byte must be 5";
}

/* Returns the greeting's length when a method was agreed on. */
static size_t handshake_take_greeting(struct handshake *h, const uint8_t *in, size_t len)
{
    struct socks5_greeting greeting;
    int n = socks5_greeting_decode(in, len, &greeting);
    if (n == 0)
        return 0;
    if (n == SOCKS5_E_VERSION) {
        handshake_fail(
            h, handshake_guess_protocol(in[0])); /* and say nothing: a stranger's protocol gets no bytes from us */
        return 0;
    }
    if (n > 0 && h->trusted && memchr(greeting.methods, SOCKS5_METHOD_NONE, greeting.method_count))
        h->need_password = false;
    uint8_t method = h->need_password ? SOCKS5_METHOD_PASSWORD : SOCKS5_METHOD_NONE;
    if (n < 0 || !memchr(greeting.methods, method, greeting.method_count)) {
        handshake_say_method(h, SOCKS5_METHOD_NO_ACCEPTABLE);
        handshake_fail(h, n < 0 ? "the client offers no authentication method at all"
                          : h->need_password
                              ? "a user name and password are needed, and the client offers none"
                              : "the client offers only methods with a login, and this listener asks for none");
        return 0;
    }
    handshake_say_method(h, method);
    h->state = h->need_password ? HANDSHAKE_AT_PASSWORD : HANDSHAKE_AT_REQUEST;
    return (size_t)n;
}

static size_t handshake_take_password(struct handshake *h, const uint8_t *in, size_t len)
{
    const char *wrong = NULL;
    int n = socks5_password_decode(in, len, &h->login);
    if (n == 0)
        return 0;
    if (n == SOCKS5_E_VERSION)
        wrong = "a login that is not RFC 1929: its first byte must be 1";
    else if (n < 0)
        wrong = "a login with an empty user name";
    /* The check works on C strings: a NUL would let "name\0anything" pass for "name". */
    else if (memchr(h->login.user, 0, h->login.user_len) || memchr(h->login.password, 0, h->login.password_len))
        wrong = "a login with a NUL byte inside";
    if (wrong) {
        handshake_say_status(h, 1);
        handshake_fail(h, wrong);
        return 0;
    }
    h->state = HANDSHAKE_AT_VERDICT;
    return (size_t)n;
}

static bool request_has_hint_only(uint8_t command)
{
    return command == SOCKS5_COMMAND_UDP_ASSOCIATE || command == SOCKS5_COMMAND_UDP_IN_TCP;
}

/*
 * A UDP ASSOCIATE to an empty name: its address is only a hint, so the client is served as if it had said 0.0.0.0.
 * The length is known, whatever the decoder thinks of it.
 */
static size_t handshake_take_hint(struct handshake *h, const uint8_t *in, size_t len)
{
    static const uint8_t zero[4];
    enum { LENGTH = 7 }; /* VER CMD RSV ATYP, a length of 0, a port */
    if (len < LENGTH)
        return 0;
    uint16_t port = (uint16_t)(in[5] << 8 | in[6]);
    h->request.command = in[1];
    h->request.destination =
        (struct socks5_addr){.atyp = SOCKS5_ATYP_IPV4, .host_len = sizeof(zero), .host = zero, .port = port};
    h->state = HANDSHAKE_AT_REPLY;
    return LENGTH;
}

static size_t handshake_take_request(struct handshake *h, const uint8_t *in, size_t len)
{
    int n = socks5_request_decode(in, len, &h->request);
    if (n == SOCKS5_E_EMPTY && request_has_hint_only(in[1]))
        return handshake_take_hint(h, in, len);
    if (n < 0) {
        handshake_say_reply(
            h, n == SOCKS5_E_ATYP ? SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED : SOCKS5_REPLY_GENERAL_FAILURE, NULL);
        handshake_fail(h, n == SOCKS5_E_ATYP    ? "a request with an unknown address type: 1, 3 and 4 are defined"
                          : n == SOCKS5_E_EMPTY ? "a request for an empty host name"
                                                : "a request whose first byte is not 5");
        return 0;
    }
    if (n > 0)
        h->state = HANDSHAKE_AT_REPLY;
    return (size_t)n;
}

enum handshake_step handshake_advance(struct handshake *h, const uint8_t *in, size_t len, size_t *used)
{
    *used = 0;
    assert(h->out_len <= sizeof(h->out));
    if (h->state == HANDSHAKE_AT_GREETING) {
        *used = handshake_take_greeting(h, in, len);
        if (*used == 0)
            return h->failure ? HANDSHAKE_FAILED : HANDSHAKE_MORE;
        in += *used; /* the next message may be here already */
        len -= *used;
    }
    size_t n = 0;
    if (h->state == HANDSHAKE_AT_PASSWORD)
        n = handshake_take_password(h, in, len);
    else if (h->state == HANDSHAKE_AT_REQUEST)
        n = handshake_take_request(h, in, len);
    *used += n;
    if (h->failure)
        return HANDSHAKE_FAILED;
    if (n == 0)
        return HANDSHAKE_MORE;
    return h->state == HANDSHAKE_AT_VERDICT ? HANDSHAKE_PASSWORD : HANDSHAKE_REQUEST;
}

void handshake_password_checked(struct handshake *h, bool accepted)
{
    if (h->state != HANDSHAKE_AT_VERDICT)
        return;
    handshake_say_status(h, accepted ? 0 : 1);
    h->state = HANDSHAKE_AT_REQUEST;
    if (!accepted)
        handshake_fail(h, "wrong user name or password");
}

void handshake_reply(struct handshake *h, uint8_t code, const struct socks5_addr *bound)
{
    if (h->state != HANDSHAKE_AT_REPLY)
        return;
    handshake_say_reply(h, code, bound);
    h->state = HANDSHAKE_OVER;
}

void handshake_listening(struct handshake *h, const struct socks5_addr *bound)
{
    if (h->state == HANDSHAKE_AT_REPLY)
        handshake_say_reply(h, SOCKS5_REPLY_SUCCEEDED, bound);
}
