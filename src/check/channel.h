/*
 * What the UDP steps speak through: datagrams to anybody and from anybody, by way of the proxy or straight.
 */
#ifndef CONESOCKS_CHECK_CHANNEL_H
#define CONESOCKS_CHECK_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

enum channel_kind {
    CHANNEL_STRAIGHT, /* a UDP socket of ours */
    CHANNEL_RELAYED,  /* a UDP socket of ours, and SOCKS5 headers: UDP ASSOCIATE */
    CHANNEL_FRAMED,   /* frames on a TCP connection: UDP in TCP */
};

struct channel {
    enum channel_kind kind;
    int fd;              /* the owner's to close */
    union netaddr relay; /* CHANNEL_RELAYED: where the proxy takes datagrams */
    unsigned garbage;    /* how many datagrams came with a header that is none, so far */
};

#define CHANNEL_DATAGRAM_MAX 65536

/* Large: keep one, not on a small stack. */
struct datagram {
    union netaddr origin; /* who sent it, as the header says; AF_UNSPEC when that is a name */
    union netaddr sender; /* where it came from on our side; AF_UNSPEC for a frame */
    const uint8_t *payload;
    size_t len;
    size_t fragment; /* the largest IP fragment that it came in on our side; 0: it came whole, or by TCP */
    uint8_t bytes[CHANNEL_DATAGRAM_MAX + SOCKS5_UDP_HEADER_MAX];
};

/* 0, or a negative errno: an ICMP error about an earlier datagram is told here, too. */
int channel_send(const struct channel *channel, const union netaddr *to, const void *payload, size_t len);
/* The next datagram, whoever sent it. 0, or a negative errno: -ETIMEDOUT; -EPIPE when a connection has ended;
 * -ECONNREFUSED and the like from ICMP, after which one may go on. */
int channel_receive(struct channel *channel, struct datagram *datagram, uint64_t deadline);

struct socks5_addr socks5_addr_of(const union netaddr *address); /* points into it */

#endif
