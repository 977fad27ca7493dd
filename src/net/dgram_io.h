/*
 * Receives and sends UDP datagrams for all associations of a worker, many in one system call.
 *
 * The unit is a run: one datagram, or several of equal size from one sender, as the kernel joins them (UDP_GRO) and
 * cuts them again (UDP_SEGMENT). Two implementations stand behind this header: dgram_io_gso.c, where the kernel can do
 * that, and dgram_io_plain.c.
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

/* `count` datagrams of `seg` bytes each; the last has `last` bytes, which may be fewer. They start `stride` apart. */
struct dgram_run {
    union netaddr peer; /* the sender, or the receiver; AF_UNSPEC: the peer that the socket is connected to */
    bool by_name;       /* for its owner: the client knows the receiver by a host name */
    const uint8_t *data;
    uint16_t count, seg, last, stride;
    uint8_t tos;      /* the bits of its TOS byte (IPv6: traffic class) that dgram_io_carry() names */
    uint8_t headroom; /* so many bytes in front of `data` may be written to when the run is sent; 0: none */
    uint8_t header_len;
    uint8_t header[DGRAM_HEADER_MAX]; /* sent in front of each datagram */
};

static inline const uint8_t *dgram_run_at(const struct dgram_run *run, size_t i)
{
    return run->data + i * run->stride;
}

static inline uint16_t dgram_run_len(const struct dgram_run *run, size_t i)
{
    return i + 1 == run->count ? run->last : run->seg;
}

/* A UDP socket, and what was learned while using it. All but `fd` and `tos` is zero when it is new. */
struct dgram_socket {
    int fd;
    uint8_t lone_receives : 6; /* how often in a row only one datagram waited; 0: none has come */
    bool joins : 1;            /* UDP_GRO is on */
    bool has_room : 1;         /* its send buffer has been enlarged */
    uint8_t tos; /* the socket's TOS byte, set by its owner; carried bits of a run replace the same bits of it */
    uint16_t join_limit; /* the path has refused joined datagrams of this size: they are sent singly; 0: none */
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
    DGRAM_LOST_DENIED,      /* forbidden: a broadcast address, or a packet filter */
    DGRAM_LOST_FAILED,      /* anything else */
    DGRAM_LOSS_COUNT
};

/* What became of a batch. `bytes` counts payload: no headers. */
struct dgram_tally {
    uint64_t datagrams, bytes;
    uint32_t lost[DGRAM_LOSS_COUNT];
};

struct dgram_io;

/* Whether the kernel joins and cuts datagrams (Linux 5.0 or later). Asked once, at start. */
bool dgram_io_can_offload(void);
/* One per thread. `offload`: let the kernel join and cut datagrams. NULL: no memory. */
struct dgram_io *dgram_io_new(bool offload);
void dgram_io_free(struct dgram_io *io);

/* Which bits of the TOS byte are carried from a received datagram to the one that is sent on. */
#define DGRAM_ECN 0x03
#define DGRAM_TOS 0xff
void dgram_io_carry(struct dgram_io *io, uint8_t bits);

/* Prepares a UDP socket of that family, which joins nothing, for this dgram_io; the descriptor stays the caller's. */
struct dgram_socket dgram_io_adopt(struct dgram_io *io, int fd, int family);

/*
 * Receives what waits, at most `max` runs, and returns how many. One call is one association's fair share. The data
 * stays where it is until the next call. Errors that earlier datagrams left on the socket (ICMP) are removed.
 */
size_t dgram_io_recv(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max);

/* Sends every run, in order for each peer, adds to `tally` what became of each datagram, and empties the batch. Never
 * waits: what finds the send buffer full is dropped. */
void dgram_io_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                   struct dgram_tally *tally);

#endif
