#include "proxy/assoc/internal_tcp.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/sock.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/frame_writer.h"
#include "proxy/assoc/hooks.h"
#include "wire/frame_reader.h"

/* One event's share: what more has come waits for its turn. */
#define READ_SIZE (32 * 1024)
/* Datagrams grow old: only so much waits to be sent, however large the connection's buffer may grow. */
#define UNSENT_MAX (256 * 1024)
/* After that the beginning of a frame is dropped, however slowly the rest may still come. */
#define BEGUN_KEPT_MS (15 * 1000)

struct internal_tcp {
    struct assoc_hooks hooks;
    struct frame_reader reader;
    uint64_t begun_ms; /* when the frame in the reader's memory began */
    struct frame_writer writer;
    size_t early_len;
    uint8_t early[]; /* what the client has sent behind its request; in memory until the association ends */
};

/* ---- from the client ---- */

static const char *bad_frame_text(int error)
{
    return error == SOCKS5_E_LENGTH  ? "a frame with a HDRLEN that is not the length of its header"
           : error == SOCKS5_E_EMPTY ? "a frame for an empty host name"
                                     : "a frame with an unknown address type: 1, 3 and 4 are defined";
}

static void internal_tcp_lose_begun(struct assoc *assoc)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    size_t size;
    uint8_t *memory = frame_reader_lose_begun(&tcp->reader, &size);
    if (!memory)
        return;
    loan_free(assoc->loan, memory, size);
    assoc_drop(assoc, DROP_UNFINISHED, 1);
}

/* Keeps the beginning of a frame until the next bytes come. */
static void internal_tcp_keep_begun(struct assoc *assoc, const struct frame_reader_span *span)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    const size_t size = frame_reader_keep(&tcp->reader, span);
    if (size == 0)
        return;
    uint8_t *memory = loan_malloc(assoc->loan, size);
    frame_reader_begin(&tcp->reader, span, memory);
    tcp->begun_ms = env_now(assoc->env);
    if (!memory)
        assoc_drop(assoc, DROP_UNFINISHED, 1);
}

/* NULL, or why the association has to end. */
static const char *internal_tcp_take_frames(struct assoc *assoc, struct frame_reader_span span)
{
    struct frame_reader *reader = &assoc->internal.tcp->reader;
    const uint64_t now = env_now(assoc->env);
    struct socks5_frame frame;
    size_t size;
    int n;
    while ((n = frame_reader_next(reader, &span, &frame)) > 0) {
        struct dgram_run run = {.data = frame.payload, .count = 1, .seg = frame.payload_len, .last = frame.payload_len};
        assoc_take_up(assoc, &frame.destination, &run, now);
    }
    assoc_flush_up(assoc);
    uint8_t *used = frame_reader_end_begun(reader, &size);
    loan_free(assoc->loan, used, size);
    if (n == 0) {
        internal_tcp_keep_begun(assoc, &span);
        return NULL;
    }
    assoc_drop(assoc, DROP_BAD_HEADER, 1);
    return bad_frame_text(n);
}

static ssize_t internal_tcp_read(struct internal_tcp *tcp, int fd, const struct frame_reader_room rooms[2])
{
    const size_t early_len = tcp->early_len;
    if (early_len) {
        assert(rooms[0].size == 0 && rooms[1].size >= early_len);
        memcpy(rooms[1].bytes, tcp->early, early_len);
        tcp->early_len = 0;
        return (ssize_t)early_len;
    }
    struct iovec parts[] = {{rooms[0].bytes, rooms[0].size}, {rooms[1].bytes, rooms[1].size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return recvmsg(fd, &message, MSG_DONTWAIT);
}

static void internal_tcp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct assoc *assoc = arg;
    struct internal_tcp *tcp = assoc->internal.tcp;
    if (!assoc_may_go_on(assoc))
        return;
    assoc_assert_batches_are_empty(assoc->env);
    uint8_t chunk[FRAME_READER_START_MAX + READ_SIZE];
    struct frame_reader_room rooms[2];
    frame_reader_rooms(&tcp->reader, chunk, sizeof(chunk), rooms);
    const char *why = NULL;
    ssize_t n = internal_tcp_read(tcp, fd, rooms);
    if (n > 0)
        why = internal_tcp_take_frames(assoc, frame_reader_add(&tcp->reader, chunk, (size_t)n));
    else if (n == 0)
        why = tcp->writer.failure ? tcp->writer.failure : "client closed";
    else if (errno != EAGAIN)
        why = "client gone";
    if (why)
        tcp->hooks.ended(tcp->hooks.arg, why);
}

static void internal_tcp_start(struct assoc *assoc)
{
    event_add(&assoc->internal.readable, NULL);
    if (assoc->internal.tcp->early_len)
        event_active(&assoc->internal.readable, EV_READ, 0);
}

/* ---- to the client ---- */

static void internal_tcp_send(struct assoc *assoc, struct dgram_batch *batch, struct dgram_tally *tally)
{
    frame_writer_send(&assoc->internal.tcp->writer, batch, assoc->env->config->udp.over_tcp_max, tally);
}

static void internal_tcp_send_named(struct assoc *assoc, struct dgram_run *payloads, uint16_t header_len,
                                    struct dgram_tally *tally)
{
    frame_writer_send_named(&assoc->internal.tcp->writer, payloads, header_len, assoc->env->config->udp.over_tcp_max,
                            tally);
}

/* ---- life ---- */

static void internal_tcp_sweep(struct assoc *assoc, uint64_t now_ms)
{
    if (now_ms - assoc->internal.tcp->begun_ms >= BEGUN_KEPT_MS)
        internal_tcp_lose_begun(assoc);
}

static void internal_tcp_set_buffers(struct assoc *assoc, int bytes)
{
    sock_tcp_set_room(assoc->internal.socket.fd, bytes < UNSENT_MAX ? bytes : UNSENT_MAX);
}

static size_t internal_tcp_memory(const struct assoc *assoc)
{
    const struct internal_tcp *tcp = assoc->internal.tcp;
    return sizeof(*tcp) + tcp->reader.size + frame_writer_memory(&tcp->writer) + sock_memory(tcp->writer.fd);
}

static void internal_tcp_close(struct assoc *assoc)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    size_t size;
    event_del(&assoc->internal.readable);
    uint8_t *begun = frame_reader_lose_begun(&tcp->reader, &size);
    loan_free(assoc->loan, begun, size);
    frame_writer_deinit(&tcp->writer);
    free(tcp);
}

static const struct internal_ops internal_tcp_ops = {
    .start = internal_tcp_start,
    .send = internal_tcp_send,
    .send_named = internal_tcp_send_named,
    .sweep = internal_tcp_sweep,
    .call_loans = internal_tcp_lose_begun,
    .set_buffers = internal_tcp_set_buffers,
    .memory = internal_tcp_memory,
    .close = internal_tcp_close,
    .over_tcp = true,
};

int internal_tcp_open(struct assoc *assoc, int fd, const uint8_t *early, size_t early_len,
                      const struct assoc_hooks *hooks)
{
    struct internal *internal = &assoc->internal;
    struct event_base *base = assoc->env->base;
    struct internal_tcp *tcp = calloc(1, sizeof(*tcp) + early_len);
    if (!tcp)
        return -ENOMEM;
    assert(fd >= 0 && hooks->ended);
    tcp->hooks = *hooks;
    tcp->early_len = early_len;
    if (early_len)
        memcpy(tcp->early, early, early_len);
    frame_writer_init(&tcp->writer, base, fd, &assoc->loan);
    event_assign(&internal->readable, base, fd, EV_READ | EV_PERSIST, internal_tcp_on_readable, assoc);
    internal->socket.fd = fd;
    internal->tcp = tcp;
    internal->ops = &internal_tcp_ops;
    internal_tcp_set_buffers(assoc, memory_level_room(assoc->env->memory));
    return 0;
}
