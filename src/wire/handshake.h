/*
 * The server's side of a SOCKS5 negotiation (RFC 1928 sections 3 to 6, RFC 1929) as a pure state machine: bytes go in,
 * steps come out, and the bytes to send wait in `out`. No descriptor, no clock, no allocation.
 *
 *   handshake_init(&h, need_password);
 *   step = handshake_advance(&h, bytes, len, &used);   -> `used` bytes are done with; call again for what follows
 *     HANDSHAKE_MORE      the rest is a beginning of a message: keep it, bring more
 *     HANDSHAKE_PASSWORD  check h.login, then handshake_password_checked()
 *     HANDSHAKE_REQUEST   h.request is what the client wants; then handshake_reply(), and the negotiation is over
 *     HANDSHAKE_FAILED    send what is in `out`, if anything, and close; h.failure says why in words
 * `used` never reaches beyond the message that made the step, so early data of a CONNECT is untouched.
 *
 * Strict where it matters: another protocol's first byte is answered with nothing at all, a NUL in a login is a wrong
 * login. Loose where a client would suffer for nothing: RSV is not looked at, and a UDP ASSOCIATE to an empty name is
 * taken as one to 0.0.0.0, because its address is a hint. Unknown commands are the owner's to refuse.
 *
 * After each call the owner sends h.out[0 .. h.out_len) and sets h.out_len to 0; replies add up when it does not.
 */
#ifndef CONESOCKS_WIRE_HANDSHAKE_H
#define CONESOCKS_WIRE_HANDSHAKE_H

#include <stdbool.h>

#include "conesocks/socks5.h"

enum handshake_step { HANDSHAKE_MORE, HANDSHAKE_PASSWORD, HANDSHAKE_REQUEST, HANDSHAKE_FAILED };

enum handshake_state {
    HANDSHAKE_AT_GREETING,
    HANDSHAKE_AT_PASSWORD,
    HANDSHAKE_AT_VERDICT, /* waits for handshake_password_checked(); input is left alone */
    HANDSHAKE_AT_REQUEST,
    HANDSHAKE_AT_REPLY, /* waits for handshake_reply(); input is left alone */
    HANDSHAKE_OVER,
};

/* The longest message, so the room that an owner's input buffer needs. */
#define HANDSHAKE_INPUT_MAX SOCKS5_PASSWORD_MAX
/* Method choice, password status and a reply with an IPv6 address. */
#define HANDSHAKE_OUTPUT_MAX 32

struct handshake {
    enum handshake_state state;
    bool need_password;
    uint8_t out[HANDSHAKE_OUTPUT_MAX];
    uint8_t out_len;
    const char *failure; /* static text, after HANDSHAKE_FAILED or a login that was not accepted */

    struct socks5_password login;  /* after HANDSHAKE_PASSWORD; points into the input of that call */
    struct socks5_request request; /* after HANDSHAKE_REQUEST; points into the input of that call */
};

void handshake_init(struct handshake *h, bool need_password);
enum handshake_step handshake_advance(struct handshake *h, const uint8_t *in, size_t len, size_t *used);

/* Answers HANDSHAKE_PASSWORD. When `accepted` is false the negotiation is over: send `out` and close (RFC 1929). */
void handshake_password_checked(struct handshake *h, bool accepted);

/* Answers HANDSHAKE_REQUEST with a code and the bound address (IPv4 or IPv6; NULL = 0.0.0.0:0). */
void handshake_reply(struct handshake *h, uint8_t code, const struct socks5_addr *bound);
/* The first of BIND's two replies, when it has succeeded; handshake_reply() is the other. */
void handshake_listening(struct handshake *h, const struct socks5_addr *bound);

#endif
