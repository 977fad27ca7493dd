/* Shared by peer_server*.c alone. */
#ifndef CONESOCKS_CHECK_PEER_SERVER_IMPL_H
#define CONESOCKS_CHECK_PEER_SERVER_IMPL_H

#include <pthread.h>

#include "check/peer/peer_guests.h"
#include "check/peer/peer_server.h"
#include "check/peer/peer_wire.h"

#define PEER_SERVER_PENDING_MAX     64
#define PEER_SERVER_CONNECTIONS_MAX 32
#define PEER_SERVER_DATAGRAM_MAX    65536

struct peer_place {
    unsigned other; /* the place of its other address, or its own */
    union netaddr address[2];
    int udp[2];
    int tcp;
};

/* A request, and how it came: to which socket, from which address. */
struct peer_errand {
    struct stun_message request;
    union netaddr from;
    unsigned place, port;
};

struct peer_pending {
    uint64_t at_ms; /* 0: none */
    struct peer_errand errand;
};

struct peer_connection {
    int fd; /* -1: none */
    unsigned place;
    uint64_t until_ms;
    size_t have;
    uint8_t in[PEER_MESSAGE_MAX];
};

struct peer_server {
    const char *key;
    peer_server_watch *watch; /* or NULL */
    uint64_t refusal_told_ms;
    unsigned place_count;
    struct peer_place places[PEER_SERVER_PLACES_MAX];
    struct peer_guests guests;
    struct peer_pending pending[PEER_SERVER_PENDING_MAX];
    struct peer_connection connections[PEER_SERVER_CONNECTIONS_MAX];
    uint8_t buffer[PEER_SERVER_DATAGRAM_MAX];
    int stop; /* an eventfd */
    bool threaded;
    pthread_t thread;
};

/* A datagram has come to the socket of `came`: `fragment` is its largest IP fragment, 0 when it came in one packet. */
void peer_server_take(struct peer_server *server, const struct peer_errand *came, const uint8_t *bytes, size_t len,
                      size_t fragment, uint64_t now_ms);
/* Sends the answers that are due. When the next one is, or UINT64_MAX. */
uint64_t peer_server_answer_pending(struct peer_server *server, uint64_t now_ms);

void peer_server_accept(struct peer_server *server, unsigned place, uint64_t now_ms);
/* The connection has something to read. */
void peer_server_read(struct peer_server *server, struct peer_connection *connection);
void peer_connection_close(struct peer_connection *connection);

#endif
