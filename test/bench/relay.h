/*
 * The bare relay: what a UDP ASSOCIATE costs at least. IPv4, no checks, no limits, no clean-up of anything but closed
 * associations; never to be used for anything but a yardstick.
 */
#ifndef CONESOCKS_BENCH_RELAY_H
#define CONESOCKS_BENCH_RELAY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELAY_HEADER 10
#define RELAY_AREA   65536
#define RELAY_BATCH  32

struct relay_association;

/* One of an association's descriptors, as epoll knows it. */
struct relay_watch {
    struct relay_association *association;
    int fd;
    uint64_t last_round; /* of the event loop, in which this descriptor was ready */
    bool busy;           /* ready in two rounds that follow each other: more than one datagram may wait */
};

struct relay_association {
    struct relay_watch control, client, external;
    enum {
        RELAY_GREETED,
        RELAY_CHOSEN,
        RELAY_OPEN
    } stage;                 /* the client has connected; was told the method; may send */
    struct sockaddr_in peer; /* the client's relay socket's, once it has sent */
    struct relay_association *next, **link;
};

/* What the answers towards clients are spoilt with, to see whether the load generator notices. */
enum relay_fault { FAULT_NONE, FAULT_CONTENT, FAULT_ORIGIN, FAULT_ASSOCIATION, FAULT_LOSS, FAULT_ORDER };
extern enum relay_fault relay_fault;

/* A technique: relays what waits at the client's socket, or at the external one. */
struct relay_technique {
    const char *name;
    void (*prepare)(struct relay_association *association);
    void (*up)(struct relay_association *association);
    void (*down)(struct relay_association *association);
};

extern const struct relay_technique relay_plain;    /* recvfrom and sendto, one datagram at a time */
extern const struct relay_technique relay_segments; /* UDP_GRO in, UDP_SEGMENT out, client's side connected */

/* Where a datagram from a client wants to go. */
static inline struct sockaddr_in relay_destination(const uint8_t *header)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    __builtin_memcpy(&to.sin_addr, header + 4, 4);
    __builtin_memcpy(&to.sin_port, header + 8, 2);
    return to;
}

static inline void relay_write_header(uint8_t *header, const struct sockaddr_in *origin)
{
    __builtin_memcpy(header, "\0\0\0\1", 4);
    __builtin_memcpy(header + 4, &origin->sin_addr, 4);
    __builtin_memcpy(header + 8, &origin->sin_port, 2);
}

#endif
