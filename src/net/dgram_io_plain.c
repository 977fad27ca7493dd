/*
 * The plain implementation: recvmmsg in, sendmmsg out, one message per datagram.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "net/dgram_io_impl.h"

#define RECV_MAX 32
#define SEND_MAX 64

struct plain {
    struct dgram_io io;
    struct mmsghdr in[RECV_MAX];
    struct iovec in_parts[RECV_MAX];
    union netaddr in_peers[RECV_MAX];
    struct dgram_controls in_controls[RECV_MAX];
    struct mmsghdr out[SEND_MAX];
    struct iovec out_parts[SEND_MAX][2];
    struct dgram_controls out_controls[SEND_MAX];
    uint32_t out_bytes[SEND_MAX]; /* without the header */
    size_t out_count;
    uint8_t areas[RECV_MAX][DGRAM_AREA_SIZE];
};

static_assert(offsetof(struct plain, io) == 0, "a struct dgram_io is cast to its plain");

static void plain_free(struct dgram_io *io)
{
    free(io);
}

static uint8_t plain_tos_of(struct msghdr *message)
{
    uint8_t tos = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control))
        tos |= dgram_tos_received(control);
    return tos;
}

static size_t plain_receive(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max)
{
    struct plain *plain = (struct plain *)io;
    if (max > RECV_MAX)
        max = RECV_MAX;
    for (size_t i = 0; i < max; i++) {
        plain->in[i].msg_hdr.msg_namelen = sizeof(plain->in_peers[i]);
        plain->in[i].msg_hdr.msg_controllen = sizeof(plain->in_controls[i]);
    }
    /* A connected socket reports an ICMP error once, in place of a datagram: ask again, a bounded number of times. */
    int received = -1;
    for (int tries = 0; received < 0 && tries < 4; tries++) {
        received = recvmmsg(socket->fd, plain->in, (unsigned)max, MSG_DONTWAIT, NULL);
        if (received < 0 && errno == EAGAIN)
            break;
    }
    size_t count = 0;
    for (int i = 0; i < received; i++) {
        uint16_t len = (uint16_t)plain->in[i].msg_len;
        runs[count++] = (struct dgram_run){.peer = plain->in_peers[i],
                                           .data = plain->areas[i],
                                           .count = 1,
                                           .seg = len,
                                           .last = len,
                                           .tos = plain_tos_of(&plain->in[i].msg_hdr) & plain->io.carried};
    }
    return count;
}

static void plain_flush(struct plain *plain, struct dgram_socket *socket, struct dgram_tally *tally)
{
    size_t done = 0;
    bool retried = false;
    while (done < plain->out_count) {
        int sent = sendmmsg(socket->fd, plain->out + done, (unsigned)(plain->out_count - done), MSG_DONTWAIT);
        if (sent > 0) {
            for (int i = 0; i < sent; i++)
                tally->bytes += plain->out_bytes[done + (size_t)i];
            tally->datagrams += (uint64_t)sent;
            done += (size_t)sent;
            retried = false;
            continue;
        }
        const int error = errno;
        if (error == EAGAIN ? dgram_make_room(socket) : !retried) {
            /* The error may be an earlier datagram's, reported late: then this one was not even tried. */
            retried = true;
        } else {
            tally->lost[dgram_loss_of(error)]++;
            done++;
            retried = false;
        }
    }
    plain->out_count = 0;
}

static void plain_queue(struct plain *plain, const struct dgram_socket *socket, struct dgram_run *run, size_t i)
{
    assert(plain->out_count < SEND_MAX);
    struct msghdr *message = &plain->out[plain->out_count].msg_hdr;
    struct iovec *parts = plain->out_parts[plain->out_count];
    bool connected = run->peer.sa.sa_family == AF_UNSPEC;
    message->msg_name = connected ? NULL : &run->peer;
    message->msg_namelen = connected ? 0 : netaddr_len(&run->peer);
    message->msg_control = &plain->out_controls[plain->out_count];
    message->msg_controllen = 0;
    const uint8_t tos = dgram_tos_to_send(&plain->io, socket, run);
    if (tos != socket->tos)
        dgram_add_tos(message, tos);
    message->msg_iov = parts;
    message->msg_iovlen = 0;
    if (run->header_len)
        parts[message->msg_iovlen++] = (struct iovec){run->header, run->header_len};
    parts[message->msg_iovlen++] = (struct iovec){(void *)(uintptr_t)dgram_run_at(run, i), dgram_run_len(run, i)};
    plain->out_bytes[plain->out_count++] = dgram_run_len(run, i);
}

static void plain_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                       struct dgram_tally *tally)
{
    struct plain *plain = (struct plain *)io;
    for (size_t r = 0; r < batch->count; r++) {
        for (size_t i = 0; i < batch->runs[r].count; i++) {
            if (plain->out_count == SEND_MAX)
                plain_flush(plain, socket, tally);
            plain_queue(plain, socket, &batch->runs[r], i);
        }
    }
    plain_flush(plain, socket, tally);
}

struct dgram_io *dgram_io_new_plain(void)
{
    static const struct dgram_ops ops = {plain_free, plain_receive, plain_send};
    struct plain *plain = calloc(1, sizeof(*plain));
    if (!plain)
        return NULL;
    plain->io.ops = &ops;
    for (size_t i = 0; i < RECV_MAX; i++) {
        plain->in_parts[i] = (struct iovec){plain->areas[i], DGRAM_AREA_SIZE};
        plain->in[i].msg_hdr = (struct msghdr){.msg_iov = &plain->in_parts[i],
                                               .msg_iovlen = 1,
                                               .msg_name = &plain->in_peers[i],
                                               .msg_control = &plain->in_controls[i]};
    }
    return &plain->io;
}
