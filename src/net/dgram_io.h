/*
 * The one door for datagrams. What comes in are runs, what goes out are runs: one datagram, or several equal ones in a
 * row, as the kernel joins them (UDP_GRO) and cuts them again (UDP_SEGMENT).
 *
 * One dgram_io per thread; its receive areas hold what dgram_io_recv() returned until the next call. Two
 * implementations stand behind this header: dgram_io_gso.c, where the kernel can do that, and dgram_io_plain.c.
 */
#ifndef CONESOCKS_NET_DGRAM_IO_H
#define CONESOCKS_NET_DGRAM_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

/* What one IPv6 datagram holds: 65535 - 8. One over IPv4 holds 20 bytes less; the kernel refuses what is larger. */
#define DGRAM_PAYLOAD_MAX 65527
#define DGRAM_HEADER_MAX  22 /* a SOCKS5 UDP header with an IPv6 address */

/* `count` datagrams of `seg` bytes, but for the last, which has `last` <= seg bytes. They start `stride` apart. */
struct dgram_run {
    union netaddr peer; /* received: from whom. To send: to whom; AF_UNSPEC = to the socket's connected peer */
    const uint8_t *data;
    uint16_t count, seg, last, stride;
    uint8_t tos; /* of its IP header's TOS byte (IPv6: traffic class) the bits that are carried: dgram_io_carry() */
    uint8_t header_len;
    uint8_t header[DGRAM_HEADER_MAX]; /* to send: goes in front of each */
};

static inline const uint8_t *dgram_run_at(const struct dgram_run *run, size_t i)
{
    return run->data + i * run->stride;
}

static inline uint16_t dgram_run_len(const struct dgram_run *run, size_t i)
{
    return i + 1 == run->count ? run->last : run->seg;
}

/* A UDP socket, and what experience with it has taught. Zero but for `fd` and `tos` when new. */
struct dgram_socket {
    int fd;
    uint8_t lone_receives; /* how often in a row only one datagram was waiting */
    uint8_t tos;           /* what it sends with where nothing else is carried, which its owner may have set */
    uint16_t join_limit;   /* datagrams of this size or more are not joined any more: the path refused them; 0 = none */
};

/* Runs that wait to be sent through one socket. */
#define DGRAM_BATCH_MAX 64
struct dgram_batch {
    size_t count;
    struct dgram_run runs[DGRAM_BATCH_MAX];
};

/* Why a datagram was not sent. */
enum dgram_loss {
    DGRAM_LOST_FULL,        /* the send buffer is full */
    DGRAM_LOST_OVERSIZE,    /* too large for the socket */
    DGRAM_LOST_UNREACHABLE, /* no route, or the interface is down */
    DGRAM_LOST_DENIED,      /* the kernel forbids it: a broadcast address, a packet filter */
    DGRAM_LOST_FAILED,      /* anything else */
    DGRAM_LOSS_COUNT
};

/* What became of a batch. `bytes` counts segments without headers. */
struct dgram_tally {
    uint64_t datagrams, bytes;
    uint32_t lost[DGRAM_LOSS_COUNT];
};

struct dgram_io;

/* Whether the kernel joins and cuts datagrams here (Linux 5.0 or later); asked once, at start. */
bool dgram_io_can_offload(void);
/* With `offload` or plain. NULL: no memory. */
struct dgram_io *dgram_io_new(bool offload);
void dgram_io_free(struct dgram_io *io);

/* Which bits of the TOS byte runs bring along, and take along in place of the socket's own. */
#define DGRAM_ECN 0x03
#define DGRAM_TOS 0xff
void dgram_io_carry(struct dgram_io *io, uint8_t bits);

/* Makes `fd` ready to be used with this dgram_io. */
struct dgram_socket dgram_io_adopt(struct dgram_io *io, int fd);

/*
 * Receives what is there, at most `max` runs; one call is one fair share. Returns how many, 0 when nothing waits.
 * Errors that earlier datagrams left on the socket (ICMP) are taken off it and are not the caller's concern.
 */
size_t dgram_io_recv(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max);

/* Sends every run, to each peer in order, counts what became of each datagram, and empties the batch. Never waits. */
void dgram_io_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                   struct dgram_tally *tally);

#endif
