/*
 * The plain implementation: recvmmsg in, sendmmsg out, one message per datagram.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "net/dgram_io.h"

#define RECV_MAX  32
#define AREA_SIZE 65536 /* no datagram is longer, so none is cut short */
#define SEND_MAX  64

struct dgram_io {
    struct mmsghdr in[RECV_MAX];
    struct iovec in_parts[RECV_MAX];
    union netaddr in_peers[RECV_MAX];
    struct mmsghdr out[SEND_MAX];
    struct iovec out_parts[SEND_MAX][2];
    uint32_t out_bytes[SEND_MAX]; /* without the header */
    size_t out_count;
    uint8_t areas[RECV_MAX][AREA_SIZE];
};

struct dgram_io *dgram_io_new(void)
{
    struct dgram_io *io = calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    for (size_t i = 0; i < RECV_MAX; i++) {
        io->in_parts[i] = (struct iovec){io->areas[i], AREA_SIZE};
        io->in[i].msg_hdr.msg_iov = &io->in_parts[i];
        io->in[i].msg_hdr.msg_iovlen = 1;
        io->in[i].msg_hdr.msg_name = &io->in_peers[i];
    }
    for (size_t i = 0; i < SEND_MAX; i++)
        io->out[i].msg_hdr.msg_iov = io->out_parts[i];
    return io;
}

void dgram_io_free(struct dgram_io *io)
{
    free(io);
}

size_t dgram_io_recv(struct dgram_io *io, int fd, struct dgram_run *runs, size_t max)
{
    if (max > RECV_MAX)
        max = RECV_MAX;
    for (size_t i = 0; i < max; i++)
        io->in[i].msg_hdr.msg_namelen = sizeof(io->in_peers[i]);
    /* A connected socket reports an ICMP error once, in place of a datagram: ask again, but not for ever. */
    int received = -1;
    for (int tries = 0; received < 0 && tries < 4; tries++) {
        received = recvmmsg(fd, io->in, (unsigned)max, MSG_DONTWAIT, NULL);
        if (received < 0 && errno == EAGAIN)
            break;
    }
    size_t count = 0;
    for (int i = 0; i < received; i++) {
        runs[count++] = (struct dgram_run){
            .peer = io->in_peers[i], .data = io->areas[i], .len = io->in[i].msg_len, .seg = io->in[i].msg_len};
    }
    return count;
}

static enum dgram_loss loss_of(int error)
{
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return DGRAM_LOST_FULL;
    case EMSGSIZE:
        return DGRAM_LOST_OVERSIZE;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return DGRAM_LOST_UNREACHABLE;
    case EACCES:
    case EPERM:
        return DGRAM_LOST_DENIED;
    default:
        return DGRAM_LOST_FAILED;
    }
}

static void flush(struct dgram_io *io, int fd, struct dgram_tally *tally)
{
    size_t done = 0;
    bool retried = false;
    while (done < io->out_count) {
        int sent = sendmmsg(fd, io->out + done, (unsigned)(io->out_count - done), MSG_DONTWAIT);
        if (sent > 0) {
            for (int i = 0; i < sent; i++)
                tally->bytes += io->out_bytes[done + (size_t)i];
            tally->datagrams += (uint64_t)sent;
            done += (size_t)sent;
            retried = false;
        } else if (!retried) {
            /* The error may be an earlier datagram's, reported late: then this one was not even tried. */
            retried = true;
        } else {
            tally->lost[loss_of(errno)]++;
            done++;
            retried = false;
        }
    }
    io->out_count = 0;
}

static void queue_segment(struct dgram_io *io, struct dgram_run *run, uint32_t offset)
{
    uint32_t len = run->len - offset < run->seg ? run->len - offset : run->seg;
    struct msghdr *message = &io->out[io->out_count].msg_hdr;
    struct iovec *parts = io->out_parts[io->out_count];
    bool connected = run->peer.sa.sa_family == AF_UNSPEC;
    message->msg_name = connected ? NULL : &run->peer;
    message->msg_namelen = connected ? 0 : netaddr_len(&run->peer);
    message->msg_iovlen = 0;
    if (run->header_len)
        parts[message->msg_iovlen++] = (struct iovec){run->header, run->header_len};
    parts[message->msg_iovlen++] = (struct iovec){(void *)(uintptr_t)(run->data + offset), len};
    io->out_bytes[io->out_count++] = len;
}

void dgram_io_send(struct dgram_io *io, int fd, struct dgram_batch *batch, struct dgram_tally *tally)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct dgram_run *run = &batch->runs[i];
        uint32_t offset = 0;
        do {
            if (io->out_count == SEND_MAX)
                flush(io, fd, tally);
            queue_segment(io, run, offset);
            offset += run->seg;
        } while (offset < run->len);
    }
    flush(io, fd, tally);
    batch->count = 0;
}
