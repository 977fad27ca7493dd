/*
 * One question at one name server: over UDP, from a random port and with a random number; over TCP when the answer is
 * truncated.
 */
#ifndef CONESOCKS_NET_RESOLVER_EXCHANGE_H
#define CONESOCKS_NET_RESOLVER_EXCHANGE_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/resolver_message.h"

enum exchange_event {
    EXCHANGE_ANSWERED,  /* with all of the answer, or with what fitted where TCP cannot be opened; it is closed */
    EXCHANGE_TRUNCATED, /* with what fitted; the exchange continues over TCP */
    EXCHANGE_LOST,      /* by an error of the network, `errno`; it is closed, and may be sent again */
};

struct exchange {
    struct event_base *base;
    struct descriptor_reserve *reserve;
    const union netaddr *server;
    const char *name; /* owned by the caller, unchanged while the exchange is open */
    int family;
    /* `answer` lives during the call, and is NULL when lost. The exchange may be closed and freed in it. */
    void (*done)(struct exchange *exchange, enum exchange_event event, const struct resolver_answer *answer);

    int fd; /* -1: closed */
    struct event event;
    uint16_t id;
    bool tcp;
    size_t received; /* over TCP: bytes, with the two of the length */
    uint8_t length[2];
    uint8_t *packet; /* over TCP */
};

/* Sends the question, or sends it again: a late answer to the first still counts. Over TCP nothing is sent again.
 * false with errno: it did not leave, and the exchange is closed. `done` is never called before this returns. */
bool exchange_send(struct exchange *exchange);
static inline bool exchange_is_open(const struct exchange *exchange)
{
    return exchange->fd >= 0;
}
void exchange_close(struct exchange *exchange);

#endif
