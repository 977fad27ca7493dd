/*
 * The client's side of a SOCKS5 negotiation (RFC 1928 sections 3 to 6, RFC 1929), towards a server that is asked to do
 * what our client wants, as a pure state machine. No descriptor, no clock, no allocation.
 *
 *   client_handshake_init(&h, command, &destination, &login);
 *   send h.out[0 .. h.out_len), read up to client_handshake_wants(&h) bytes, then
 *   step = client_handshake_advance(&h, bytes, n);
 *     CLIENT_MORE     send what is in `out`, if anything, and read on
 *     CLIENT_GRANTED  h.bound is what the server has bound; what follows in the connection is no longer ours
 *     CLIENT_REFUSED  h.code is the server's answer, never 0
 *     CLIENT_FAILED   the server does not speak SOCKS5, or not with us: h.failure says why in words
 *
 * No more is ever wanted than the message at hand is long, so nothing has to be put back: the first bytes that the
 * destination says stay in the socket.
 */
#ifndef CONESOCKS_WIRE_CLIENT_HANDSHAKE_H
#define CONESOCKS_WIRE_CLIENT_HANDSHAKE_H

#include <stdbool.h>

#include "conesocks/socks5.h"

enum client_step { CLIENT_MORE, CLIENT_GRANTED, CLIENT_REFUSED, CLIENT_FAILED };

enum client_state { CLIENT_AT_CHOICE, CLIENT_AT_STATUS, CLIENT_AT_REPLY, CLIENT_OVER };

struct client_handshake {
    enum client_state state;
    uint8_t command;
    struct socks5_addr destination; /* points to what the owner keeps until it is over */
    struct socks5_password login;   /* likewise; user_len 0: none */

    uint8_t in[SOCKS5_REQUEST_MAX]; /* as much as there is of one message; a reply is no longer than a request */
    uint16_t in_len;
    uint8_t out[SOCKS5_PASSWORD_MAX]; /* one message at a time, and a login is the longest */
    uint16_t out_len;                 /* the owner sets it to 0 when that is sent */

    struct socks5_addr bound; /* after CLIENT_GRANTED; points into `in` */
    uint8_t code;             /* after CLIENT_REFUSED */
    const char *failure;      /* static text, after CLIENT_FAILED */

    uint8_t method;             /* what the server has chosen; SOCKS5_METHOD_NO_ACCEPTABLE before */
    enum client_state ended_at; /* when it is over: whose answer that was */
};

/* `login` is NULL when there is none to offer. false: the destination or the login cannot be said on the wire. */
bool client_handshake_init(struct client_handshake *h, uint8_t command, const struct socks5_addr *destination,
                           const struct socks5_password *login);

/* How many bytes to read next: 1 at least, until it is over. */
size_t client_handshake_wants(const struct client_handshake *h);
/* Takes `len` bytes, at most as many as it wants. */
enum client_step client_handshake_advance(struct client_handshake *h, const uint8_t *bytes, size_t len);

#endif
