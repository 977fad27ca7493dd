/*
 * The beginning of a session: the bytes of the SOCKS5 handshake and of the PROXY protocol header before it, up to the
 * request. It is freed once the request is answered.
 */
#ifndef CONESOCKS_PROXY_SESSION_NEGOTIATION_H
#define CONESOCKS_PROXY_SESSION_NEGOTIATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "wire/handshake.h"

struct config_listener;
struct login;
struct session;

/* How the client's address was learned. */
enum session_origin {
    ORIGIN_CLIENT,   /* from its own connection */
    ORIGIN_BALANCER, /* it is the balancer's: no header has come yet, or the header names no other client */
    ORIGIN_HEADER,   /* from the balancer's PROXY protocol header */
};

struct negotiation {
    struct session *session;
    TAILQ_ENTRY(negotiation) link;              /* of env->waiting, while it `waits` */
    TAILQ_ENTRY(negotiation) dial, dial_of_all; /* see payer.c; while it `dials` */
    bool waits, dials;
    struct handshake handshake;
    struct login *login; /* NULL: none is being checked */
    enum session_origin origin;
    size_t len, size; /* of `in`: used, and in all */
    uint8_t in[];
};

/* For a session that is being made, which waits for a request from now on. NULL: no memory. */
struct negotiation *negotiation_new(struct session *session, const struct config_listener *listener);
/* Also forgets a login that is being checked. After payer_end_dial(). Nothing happens when there is none any more. */
void negotiation_free(struct session *session);

/* Something has arrived at a session that is SESSION_NEGOTIATING. */
void negotiation_on_input(struct session *session);

/*
 * Looks at what has arrived without taking it. Returns how many bytes there are in total, with those that were kept; 0:
 * nothing new, or the end. Only what the negotiation has used is then taken from the socket: the early data of a
 * CONNECT stays there for the stream.
 */
size_t negotiation_peek(struct session *session);
/* The first `count` of the bytes that were looked at leave the socket. */
void negotiation_take(struct session *session, size_t count);

#endif
