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
    size_t size, len; /* of `in`: in all, and filled */
    size_t early_at;  /* of `in`, once the request has come: where it ends, and early data begins */
    uint8_t in[];
};

/* For a session that is being made, which waits for a request from now on. NULL: no memory. */
struct negotiation *negotiation_new(struct session *session, const struct config_listener *listener);
/* Also forgets a login that is being checked. After payer_end_dial(). Nothing happens when there is none any more. */
void negotiation_free(struct session *session);

/* Something has arrived at a session that is SESSION_NEGOTIATING. */
void negotiation_on_input(struct session *session);

/* Adds what has arrived to `in`. false: nothing new, or the end. */
bool negotiation_read(struct session *session);
/* Removes the first `count` bytes of `in`, and wipes them: a password may be among them. */
void negotiation_drop(struct negotiation *negotiation, size_t count);
/* Continues with the bytes in `in`. */
void negotiation_advance(struct session *session);

/* What the client has sent behind the message that is being answered. */
struct negotiation_early {
    const uint8_t *bytes;
    size_t len;
};
static inline struct negotiation_early negotiation_early(const struct negotiation *negotiation)
{
    return (struct negotiation_early){negotiation->in + negotiation->early_at,
                                      negotiation->len - negotiation->early_at};
}

#endif
