/*
 * Plays a client's bytes to the handshake, as a session would, and writes down what happened as one line of text:
 *
 *   0502 login bob/secret 0100 request 1 03:6578616d706c65@443 05000001c000020902c3 over, 5 bytes left
 *
 * Bytes said are in hexadecimal. How the input was cut does not show, so every cut must make the same line.
 * The owner here accepts the password "secret" and grants the commands of RFC 1928.
 */
#ifndef TEST_SUPPORT_CONVERSATION_H
#define TEST_SUPPORT_CONVERSATION_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/handshake.h"

struct conversation {
    struct handshake handshake;
    uint8_t input[HANDSHAKE_INPUT_MAX]; /* no larger than the header promises to be enough */
    size_t input_len, heard, used, said;
    bool known; /* the client has logged in, or need not */
    char line[8192];
    size_t line_len;
};

static inline void conversation_must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "conversation: broken promise: %s\n", what);
        abort();
    }
}

__attribute__((format(printf, 2, 3))) static inline void conversation_note(struct conversation *c, const char *format,
                                                                           ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(c->line + c->line_len, sizeof(c->line) - c->line_len, format, args);
    va_end(args);
    conversation_must(n >= 0 && (size_t)n < sizeof(c->line) - c->line_len, "a line has room");
    c->line_len += (size_t)n;
}

static inline void conversation_note_bytes(struct conversation *c, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        conversation_note(c, "%02x", bytes[i]);
}

static inline void conversation_note_text(struct conversation *c, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        conversation_note(c, bytes[i] > ' ' && bytes[i] < 0x7f ? "%c" : "\\%02x", bytes[i]);
}

static inline void conversation_note_login(struct conversation *c, const struct socks5_password *login)
{
    conversation_note(c, " login ");
    conversation_note_text(c, login->user, login->user_len);
    conversation_note(c, "/");
    conversation_note_text(c, login->password, login->password_len);
    conversation_note(c, " ");
}

static inline void conversation_note_request(struct conversation *c, const struct socks5_request *request)
{
    conversation_note(c, " request %u %02x:", request->command, request->destination.atyp);
    conversation_note_bytes(c, request->destination.host, request->destination.host_len);
    conversation_note(c, "@%u ", request->destination.port);
}

static inline void conversation_grant(struct conversation *c)
{
    static const uint8_t v4[4] = {192, 0, 2, 9}, v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 9};
    const struct socks5_request *request = &c->handshake.request;
    bool defined = request->command >= SOCKS5_COMMAND_CONNECT && request->command <= SOCKS5_COMMAND_UDP_ASSOCIATE;
    struct socks5_addr bound = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = v4, .port = 707};
    if (request->destination.atyp == SOCKS5_ATYP_IPV6)
        bound = (struct socks5_addr){.atyp = SOCKS5_ATYP_IPV6, .host_len = 16, .host = v6, .port = 707};
    if (defined)
        handshake_reply(&c->handshake, SOCKS5_REPLY_SUCCEEDED, &bound);
    else
        handshake_reply(&c->handshake, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, NULL);
}

static inline void conversation_say(struct conversation *c)
{
    struct handshake *h = &c->handshake;
    conversation_must(h->out_len <= sizeof(h->out), "output fits");
    conversation_note_bytes(c, h->out, h->out_len);
    c->said += h->out_len;
    h->out_len = 0;
    /* ATTACKS.md, row 35: a stranger gets no more than he gave. */
    conversation_must(c->known || c->said <= c->heard, "nothing is amplified");
}

/* One call, with the input in a buffer of exactly its size, and the answer that the step asks for. */
static inline enum handshake_step conversation_step(struct conversation *c)
{
    struct handshake *h = &c->handshake;
    uint8_t *exact = NULL;
    if (c->input_len > 0) {
        exact = malloc(c->input_len);
        conversation_must(exact != NULL, "memory");
        memcpy(exact, c->input, c->input_len);
    }
    size_t used = SIZE_MAX;
    enum handshake_step step = handshake_advance(h, exact, c->input_len, &used);
    conversation_must(used <= c->input_len, "used <= len");
    conversation_say(c);
    if (step == HANDSHAKE_PASSWORD) {
        conversation_note_login(c, &h->login);
        c->known = h->login.password_len == 6 && memcmp(h->login.password, "secret", 6) == 0;
        handshake_password_checked(h, c->known);
    } else if (step == HANDSHAKE_REQUEST) {
        conversation_note_request(c, &h->request);
        conversation_grant(c);
    }
    conversation_say(c);
    free(exact);
    c->used += used;
    c->input_len -= used;
    memmove(c->input, c->input + used, c->input_len);
    return step;
}

static inline void conversation_begin(struct conversation *c, bool need_password)
{
    c->input_len = c->heard = c->used = c->said = c->line_len = 0;
    c->line[0] = '\0';
    c->known = !need_password;
    handshake_init(&c->handshake, need_password);
}

/* The next bytes of the client, in one piece. What does not fit in the input waits, as in a socket. */
static inline void conversation_hear(struct conversation *c, const uint8_t *bytes, size_t len)
{
    while (len > 0 && c->handshake.state != HANDSHAKE_OVER) {
        size_t room = sizeof(c->input) - c->input_len;
        size_t take = room < len ? room : len;
        conversation_must(take > 0, "HANDSHAKE_INPUT_MAX is room enough");
        memcpy(c->input + c->input_len, bytes, take);
        c->input_len += take;
        c->heard += take;
        bytes += take;
        len -= take;
        while (conversation_step(c) != HANDSHAKE_MORE && c->handshake.state != HANDSHAKE_OVER)
            continue;
    }
}

/* `total`: all bytes of the client. Those not used are the connection's early data. */
static inline const char *conversation_end(struct conversation *c, size_t total)
{
    if (c->handshake.failure)
        conversation_note(c, " failed: %s", c->handshake.failure);
    else
        conversation_note(c, " %s, %zu bytes left", c->handshake.state == HANDSHAKE_OVER ? "over" : "waiting",
                          total - c->used);
    return c->line;
}

#endif
