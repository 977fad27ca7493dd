/*
 * The one door for datagrams. What comes in are runs, what goes out are runs:
 *
 *   a run = one datagram, or several equal ones of one sender that the kernel joined: `len` bytes at `data`, in
 * segments of `seg` bytes of which the last may be shorter. Each segment is a datagram of its own.
 *
 * One dgram_io per thread; its receive areas hold what dgram_io_recv() returned until the next call. A fast and a plain
 * implementation stand behind this header.
 */
#ifndef CONESOCKS_NET_DGRAM_IO_H
#define CONESOCKS_NET_DGRAM_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define DGRAM_PAYLOAD_MAX 65507 /* what one IPv4 datagram holds: 65535 - 20 - 8 */
#define DGRAM_HEADER_MAX  22    /* a SOCKS5 UDP header with an IPv6 address */

struct dgram_run {
    union netaddr peer; /* received: from whom. To send: to whom; AF_UNSPEC = to the socket's connected peer */
    const uint8_t *data;
    uint32_t len;
    uint32_t seg; /* 0 only for one empty datagram */
    uint8_t header_len;
    uint8_t header[DGRAM_HEADER_MAX]; /* to send: goes in front of each segment */
};

static inline uint32_t dgram_run_count(const struct dgram_run *run)
{
    return run->seg == 0 ? 1 : (run->len + run->seg - 1) / run->seg;
}

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
struct dgram_io *dgram_io_new(void);
void dgram_io_free(struct dgram_io *io);

/*
 * Receives what is there, at most `max` runs; one call is one fair share. Returns how many, 0 when nothing waits.
 * Errors that earlier datagrams left on the socket (ICMP) are taken off it and are not the caller's concern.
 */
size_t dgram_io_recv(struct dgram_io *io, int fd, struct dgram_run *runs, size_t max);

/* Sends every run in order, counts what became of each datagram, and empties the batch. Never waits. */
void dgram_io_send(struct dgram_io *io, int fd, struct dgram_batch *batch, struct dgram_tally *tally);

#endif
