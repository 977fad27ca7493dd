#include "proxy/assoc/frame_writer.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "conesocks/socks5.h"
#include "proxy/address.h"

/* Frames for one system call. */
#define GATHER_MAX 32
/* What comes before the address in a frame's header, and in a datagram's. */
#define LENGTHS_SIZE 3

struct gathered {
    size_t count;
    struct iovec parts[GATHER_MAX][2]; /* header, payload */
    uint8_t headers[GATHER_MAX][DGRAM_HEADER_MAX];
};

static void gathered_add(struct gathered *gathered, const struct dgram_run *run, size_t i)
{
    const struct socks5_frame frame = {.destination = address_to_wire(&run->peer),
                                       .payload_len = dgram_run_len(run, i)};
    uint8_t *header = gathered->headers[gathered->count];
    struct iovec *parts = gathered->parts[gathered->count++];
    parts[0] = (struct iovec){header, socks5_frame_header_encode(header, DGRAM_HEADER_MAX, &frame)};
    parts[1] = (struct iovec){(void *)(uintptr_t)dgram_run_at(run, i), frame.payload_len};
    assert(parts[0].iov_len > 0);
}

/* The headers of a datagram and of a frame differ in their first three bytes only: the address type follows. */
static void gathered_add_named(struct gathered *gathered, const struct dgram_run *payloads, size_t i,
                               uint16_t header_len)
{
    const uint8_t *payload = dgram_run_at(payloads, i);
    const uint16_t len = dgram_run_len(payloads, i);
    uint8_t *lengths = gathered->headers[gathered->count];
    struct iovec *parts = gathered->parts[gathered->count++];
    lengths[0] = (uint8_t)(len >> 8);
    lengths[1] = (uint8_t)len;
    lengths[2] = (uint8_t)header_len;
    parts[0] = (struct iovec){lengths, LENGTHS_SIZE};
    parts[1] = (struct iovec){(void *)(uintptr_t)(payload - header_len + LENGTHS_SIZE),
                              (size_t)len + header_len - LENGTHS_SIZE};
}

/* Keeps what is left of a frame after `sent` bytes: half a frame would make nonsense of all that follows. */
static void frame_writer_keep_rest(struct frame_writer *writer, const struct iovec parts[2], size_t sent)
{
    const size_t header_len = parts[0].iov_len;
    assert(!writer->rest);
    writer->rest_at = sent;
    writer->rest_len = header_len + parts[1].iov_len;
    assert(sent < writer->rest_len);
    writer->rest = loan_malloc(*writer->loan, writer->rest_len);
    if (!writer->rest) {
        writer->failure = "the client does not read, and memory for the rest of a frame ran out";
        shutdown(writer->fd, SHUT_RDWR); /* the association ends when it reads the end of the connection */
        return;
    }
    memcpy(writer->rest, parts[0].iov_base, header_len);
    memcpy(writer->rest + header_len, parts[1].iov_base, parts[1].iov_len);
    event_add(&writer->writable, NULL);
}

static void frame_writer_flush(struct frame_writer *writer, struct gathered *gathered, struct dgram_tally *tally)
{
    const struct msghdr message = {.msg_iov = &gathered->parts[0][0], .msg_iovlen = gathered->count * 2};
    ssize_t n = writer->rest ? 0 : sendmsg(writer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* If the connection is broken, reading from it will show that. */
    enum dgram_loss loss = n < 0 && errno != EAGAIN ? DGRAM_LOST_FAILED : DGRAM_LOST_FULL;
    size_t taken = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < gathered->count; i++) {
        const struct iovec *parts = gathered->parts[i];
        size_t len = parts[0].iov_len + parts[1].iov_len;
        if (taken == 0) {
            tally->lost[loss]++;
            continue;
        }
        if (taken < len)
            frame_writer_keep_rest(writer, parts, taken);
        taken -= taken < len ? taken : len;
        tally->datagrams++;
        tally->bytes += parts[1].iov_len;
    }
    gathered->count = 0;
}

/* `header_len` is 0, or that of the SOCKS5 UDP header in front of each payload. */
static void frame_writer_gather(struct frame_writer *writer, struct gathered *gathered, const struct dgram_run *run,
                                uint16_t header_len, size_t most, struct dgram_tally *tally)
{
    for (size_t i = 0; i < run->count; i++) {
        if (dgram_run_len(run, i) > most) {
            tally->lost[DGRAM_LOST_OVERSIZE]++;
            continue;
        }
        if (gathered->count == GATHER_MAX)
            frame_writer_flush(writer, gathered, tally);
        if (header_len)
            gathered_add_named(gathered, run, i, header_len);
        else
            gathered_add(gathered, run, i);
    }
}

void frame_writer_send(struct frame_writer *writer, struct dgram_batch *batch, size_t most, struct dgram_tally *tally)
{
    struct gathered gathered;
    gathered.count = 0;
    for (size_t r = 0; r < batch->count; r++)
        frame_writer_gather(writer, &gathered, &batch->runs[r], 0, most, tally);
    if (gathered.count)
        frame_writer_flush(writer, &gathered, tally);
    batch->count = 0;
}

void frame_writer_send_named(struct frame_writer *writer, const struct dgram_run *payloads, uint16_t header_len,
                             size_t most, struct dgram_tally *tally)
{
    const uint64_t sent_before = tally->datagrams;
    struct gathered gathered;
    gathered.count = 0;
    assert(header_len > LENGTHS_SIZE);
    if (header_len > UINT8_MAX) { /* more than a frame's HDRLEN can tell */
        tally->lost[DGRAM_LOST_OVERSIZE] += payloads->count;
        return;
    }
    frame_writer_gather(writer, &gathered, payloads, header_len, most, tally);
    if (gathered.count)
        frame_writer_flush(writer, &gathered, tally);
    tally->bytes -= (tally->datagrams - sent_before) * (header_len - LENGTHS_SIZE);
}

static void frame_writer_on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct frame_writer *writer = arg;
    assert(writer->rest && writer->rest_at < writer->rest_len);
    ssize_t n =
        send(fd, writer->rest + writer->rest_at, writer->rest_len - writer->rest_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && (writer->rest_at += (size_t)n) < writer->rest_len)
        return;
    event_del(&writer->writable);
    if (n < 0) /* broken: no frame may follow the part of this one */
        return;
    loan_free(*writer->loan, writer->rest, writer->rest_len);
    writer->rest = NULL;
}

void frame_writer_init(struct frame_writer *writer, struct event_base *base, int fd, struct loan *const *loan)
{
    assert(fd >= 0);
    *writer = (struct frame_writer){.fd = fd, .loan = loan};
    event_assign(&writer->writable, base, fd, EV_WRITE | EV_PERSIST, frame_writer_on_writable, writer);
}

void frame_writer_deinit(struct frame_writer *writer)
{
    event_del(&writer->writable);
    loan_free(*writer->loan, writer->rest, frame_writer_memory(writer));
    writer->rest = NULL;
}
