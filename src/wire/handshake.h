/*
 * The server's side of a SOCKS5 negotiation (RFC 1928 sections 3 to 6, RFC 1929), as a pure state machine. The session
 * feeds it the client's bytes and sends what it answers.
 *
 *   handshake_init(&h, need_password);
 *   step = handshake_advance(&h, bytes, len, &used);   drop `used` bytes, then:
 *     HANDSHAKE_MORE      the rest is the beginning of a message: keep it, and call again when more has come
 *     HANDSHAKE_PASSWORD  check h.login, then call handshake_password_checked()
 *     HANDSHAKE_REQUEST   serve h.request, then call handshake_reply(): the negotiation is over
 *     HANDSHAKE_FAILED    send h.out, if it is not empty, and close; h.failure is the reason in words
 *   After each call: send h.out[0 .. h.out_len) and set h.out_len to 0. What is not sent yet stays in front.
 *
 * `used` never reaches beyond the message that made the step: early data of a CONNECT stays with the caller. What it
 * tolerates, and what not, stands in handshake.c.
 */
#ifndef CONESOCKS_WIRE_HANDSHAKE_H
#define CONESOCKS_WIRE_HANDSHAKE_H

#include <stdbool.h>

#include "conesocks/socks5.h"

enum handshake_step { HANDSHAKE_MORE, HANDSHAKE_PASSWORD, HANDSHAKE_REQUEST, HANDSHAKE_FAILED };

enum handshake_state {
    HANDSHAKE_AT_GREETING,
    HANDSHAKE_AT_PASSWORD,
    HANDSHAKE_AT_VERDICT, /* waits for handshake_password_checked(); takes no input */
    HANDSHAKE_AT_REQUEST,
    HANDSHAKE_AT_REPLY, /* waits for handshake_reply(); takes no input */
    HANDSHAKE_OVER,
};

/* The longest message: an input buffer needs so much room. */
#define HANDSHAKE_INPUT_MAX SOCKS5_PASSWORD_MAX
/* A method choice, a password status and a reply with an IPv6 address. */
#define HANDSHAKE_OUTPUT_MAX 32

struct handshake {
    enum handshake_state state;
    bool need_password;
    bool trusted; /* set by the owner: needs no password if the client offers to go without */
    uint8_t out[HANDSHAKE_OUTPUT_MAX];
    uint8_t out_len;
    const char *failure; /* static text, after HANDSHAKE_FAILED or a login that was not accepted */

    /* These point into the input of the call that returned the step. */
    struct socks5_password login;  /* after HANDSHAKE_PASSWORD */
    struct socks5_request request; /* after HANDSHAKE_REQUEST */
};

void handshake_init(struct handshake *h, bool need_password);
enum handshake_step handshake_advance(struct handshake *h, const uint8_t *in, size_t len, size_t *used);

/* Answers HANDSHAKE_PASSWORD. If `accepted` is false, the negotiation is over: send h.out and close (RFC 1929). */
void handshake_password_checked(struct handshake *h, bool accepted);

/* Answers HANDSHAKE_REQUEST with a code and the bound address (IPv4 or IPv6; NULL: 0.0.0.0:0). */
void handshake_reply(struct handshake *h, uint8_t code, const struct socks5_addr *bound);
/* The first of BIND's two replies, if it has succeeded; handshake_reply() is the second. */
void handshake_listening(struct handshake *h, const struct socks5_addr *bound);

#endif
