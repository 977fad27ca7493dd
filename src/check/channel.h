/*
 * Sends and receives the datagrams of a check: through the proxy, by UDP or inside TCP, or without it.
 */
#ifndef CONESOCKS_CHECK_CHANNEL_H
#define CONESOCKS_CHECK_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

enum channel_kind {
    CHANNEL_DIRECT,  /* a UDP socket, without the proxy */
    CHANNEL_RELAYED, /* a UDP socket, and SOCKS5 headers: UDP ASSOCIATE */
    CHANNEL_FRAMED,  /* frames on a TCP connection: UDP in TCP */
};

struct channel {
    enum channel_kind kind;
    int fd;              /* the owner's to close */
    union netaddr relay; /* CHANNEL_RELAYED: where the proxy takes datagrams */
    unsigned garbage;    /* datagrams with a malformed header so far */
};

#define CHANNEL_DATAGRAM_MAX 65536

/* Large: keep one, not on a small stack. */
struct datagram {
    union netaddr origin; /* the sender that the header names; AF_UNSPEC when that is a name */
    union netaddr sender; /* where it came from on our side; AF_UNSPEC for a frame */
    const uint8_t *payload;
    size_t len;
    size_t fragment; /* the largest IP fragment that it came in on our side; 0: in one packet, or by TCP */
    uint8_t bytes[CHANNEL_DATAGRAM_MAX + SOCKS5_UDP_HEADER_MAX];
};

/* 0, or a negative errno: an ICMP error about an earlier datagram is returned here, too. */
int channel_send(const struct channel *channel, const union netaddr *to, const void *payload, size_t len);
/* The same through the proxy, to a name that the proxy looks up. */
int channel_send_named(const struct channel *channel, const struct socks5_addr *to, const void *payload, size_t len);
/* Sends these bytes to the relay as they are. Only for CHANNEL_RELAYED. */
int channel_send_raw(const struct channel *channel, const void *bytes, size_t len);
/* The next datagram, from anyone. 0, or a negative errno: -ETIMEDOUT; -EPIPE when a connection has ended;
 * -ECONNREFUSED and the like from ICMP, after which the channel still works. */
int channel_receive(struct channel *channel, struct datagram *datagram, uint64_t deadline);

struct socks5_addr socks5_addr_of(const union netaddr *address); /* points into it */

#endif
