/* Shared by peer_server*.c alone. */
#ifndef CONESOCKS_CHECK_PEER_SERVER_IMPL_H
#define CONESOCKS_CHECK_PEER_SERVER_IMPL_H

#include <pthread.h>

#include "check/peer/peer_guests.h"
#include "check/peer/peer_server.h"
#include "check/peer/peer_wire.h"

#define PEER_SERVER_PENDING_MAX       64
#define PEER_SERVER_CONVERSATIONS_MAX 32
#define PEER_SERVER_DATAGRAM_MAX      65536

struct peer_place {
    unsigned other; /* the place of its other address, or its own */
    union netaddr address[2];
    int udp[2];
    int tcp;
};

/* A request, and how it came: to which socket, from whom. */
struct peer_errand {
    struct peer_request request;
    union netaddr from;
    unsigned place, port;
};

struct peer_pending {
    uint64_t at_ms; /* 0: none */
    struct peer_errand request;
};

/* A TCP connection. */
struct peer_conversation {
    int fd; /* -1: none */
    unsigned place;
    uint64_t until_ms;
    size_t have;
    uint8_t in[PEER_MESSAGE_MAX];
};

struct peer_server {
    const char *key;
    struct peer_server_watch watch;
    uint64_t refusal_told_ms;
    unsigned place_count;
    struct peer_place places[PEER_SERVER_PLACES_MAX];
    struct peer_guests guests;
    struct peer_pending pending[PEER_SERVER_PENDING_MAX];
    struct peer_conversation conversations[PEER_SERVER_CONVERSATIONS_MAX];
    uint8_t buffer[PEER_SERVER_DATAGRAM_MAX];
    int stop; /* an eventfd */
    bool threaded;
    pthread_t thread;
};

/* A datagram has come to that socket: `fragment` is the largest piece it came in, 0 when it came whole. */
void peer_server_take(struct peer_server *server, const struct peer_errand *to, const uint8_t *bytes, size_t len,
                      size_t fragment, uint64_t now_ms);
/* The answers that are due; when the next one is, or UINT64_MAX. */
uint64_t peer_server_answer_pending(struct peer_server *server, uint64_t now_ms);

void peer_server_accept(struct peer_server *server, unsigned place, uint64_t now_ms);
/* There is something to read. */
void peer_server_converse(struct peer_server *server, struct peer_conversation *conversation);
void peer_server_hang_up(struct peer_conversation *conversation);

#endif
