#include "proxy/assoc/internal_tcp.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/hooks.h"

/* One event's share: what more has come waits for its turn. */
#define READ_SIZE (32 * 1024)
/* Frames for one system call. */
#define GATHER_MAX 32
/* Datagrams grow old: only so much waits to be sent, however large the connection's buffer may grow. */
#define UNSENT_MAX (256 * 1024)
/* Of a frame that has begun, its length is known from the third byte on. */
#define START_MAX 2
/* What comes before the address in a frame's header, and in a datagram's. */
#define LENGTHS_SIZE 3
/* After that the beginning of a frame is dropped, however slowly the rest may still come. */
#define BEGUN_KEPT_MS (15 * 1000)

struct internal_tcp {
    struct assoc_hooks hooks;
    struct event writable;
    const char *failure; /* why we have shut the connection down; NULL: we have not */

    /* The beginning of the client's next frame: some bytes while its length is unknown, then room for all of it. */
    uint8_t start[START_MAX];
    uint8_t start_len;
    uint8_t *begun; /* NULL: none */
    size_t begun_len, begun_size;
    uint64_t begun_ms;
    size_t unwanted; /* bytes still to come of a frame whose beginning was dropped */

    uint8_t *rest; /* of the frame that the connection took a part of; NULL: none */
    size_t rest_at, rest_len;
};

/* ---- from the client ---- */

static const char *bad_frame_text(int error)
{
    return error == SOCKS5_E_LENGTH  ? "a frame with a HDRLEN that is not the length of its header"
           : error == SOCKS5_E_EMPTY ? "a frame for an empty host name"
                                     : "a frame with an unknown address type: 1, 3 and 4 are defined";
}

/* Takes the whole frames of some bytes. Returns how many bytes they were, or an enum socks5_error. */
static int internal_tcp_take_frames(struct assoc *assoc, const uint8_t *bytes, size_t len)
{
    uint64_t now = env_now(assoc->env);
    struct socks5_frame frame;
    int n, used = 0;
    while ((n = socks5_frame_decode(bytes + used, len - (size_t)used, &frame)) > 0) {
        struct dgram_run run = {.data = frame.payload, .count = 1, .seg = frame.payload_len, .last = frame.payload_len};
        assoc_take_up(assoc, &frame.destination, &run, now);
        used += n;
    }
    return n < 0 ? n : used;
}

static void internal_tcp_forget_begun(struct assoc *assoc)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    loan_free(assoc->loan, tcp->begun, tcp->begun_size);
    tcp->begun = NULL;
    tcp->begun_len = tcp->begun_size = 0;
}

/* A frame of which `missing` bytes have yet to come is lost. */
static void internal_tcp_lose_begun(struct assoc *assoc, size_t missing)
{
    internal_tcp_forget_begun(assoc);
    assoc->internal.tcp->unwanted = missing;
    assoc_drop(assoc, DROP_UNFINISHED, 1);
}

/* Keeps the beginning of a frame until the next bytes come. */
static void internal_tcp_keep_begun(struct assoc *assoc, const uint8_t *bytes, size_t len)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    size_t size = socks5_frame_length(bytes, len);
    if (size == 0) {
        assert(len <= START_MAX);
        memcpy(tcp->start, bytes, len);
        tcp->start_len = (uint8_t)len;
        return;
    }
    assert(len < size);
    tcp->begun = loan_malloc(assoc->loan, size);
    if (!tcp->begun) {
        internal_tcp_lose_begun(assoc, size - len);
        return;
    }
    memcpy(tcp->begun, bytes, len);
    tcp->begun_len = len;
    tcp->begun_size = size;
    tcp->begun_ms = env_now(assoc->env);
}

/* Takes what was read: `into_begun` bytes of the frame that had begun, and `len` bytes in `chunk`. NULL, or why the
 * association has to end. */
static const char *internal_tcp_take_bytes(struct assoc *assoc, size_t into_begun, const uint8_t *chunk, size_t len)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    tcp->begun_len += into_begun;
    int begun_used = tcp->begun ? internal_tcp_take_frames(assoc, tcp->begun, tcp->begun_len) : 0;
    int used = begun_used < 0 ? begun_used : internal_tcp_take_frames(assoc, chunk, len);
    assoc_flush_up(assoc);
    if (begun_used > 0)
        internal_tcp_forget_begun(assoc);
    if (used < 0) {
        assoc_drop(assoc, DROP_BAD_HEADER, 1);
        return bad_frame_text(used);
    }
    if (!tcp->begun)
        internal_tcp_keep_begun(assoc, chunk + used, len - (size_t)used);
    return NULL;
}

static void internal_tcp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct assoc *assoc = arg;
    struct internal_tcp *tcp = assoc->internal.tcp;
    if (!assoc_may_go_on(assoc))
        return;
    assoc_assert_batches_are_empty(assoc->env);
    uint8_t chunk[START_MAX + READ_SIZE];
    size_t start_len = tcp->start_len, missing = tcp->begun_size - tcp->begun_len;
    struct iovec room[] = {{tcp->begun ? tcp->begun + tcp->begun_len : chunk, missing}, {chunk + start_len, READ_SIZE}};
    struct msghdr message = {.msg_iov = room, .msg_iovlen = 2};
    const char *why = NULL;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
    if (n > 0) {
        size_t into_begun = (size_t)n < missing ? (size_t)n : missing;
        size_t unwanted = (size_t)n < tcp->unwanted ? (size_t)n : tcp->unwanted;
        assert(!tcp->unwanted || (!missing && !start_len));
        memcpy(chunk, tcp->start, start_len);
        tcp->start_len = 0;
        tcp->unwanted -= unwanted;
        why =
            internal_tcp_take_bytes(assoc, into_begun, chunk + unwanted, start_len + (size_t)n - into_begun - unwanted);
    } else if (n == 0) {
        why = tcp->failure ? tcp->failure : "client closed";
    } else if (errno != EAGAIN) {
        why = "client gone";
    }
    if (why)
        tcp->hooks.ended(tcp->hooks.arg, why);
}

/* ---- to the client ---- */

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

/* From its address type on a SOCKS5 UDP header is what a frame's is, too; in front of that stand three bytes. */
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
static void internal_tcp_keep_rest(struct assoc *assoc, const struct iovec parts[2], size_t sent)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    const size_t header_len = parts[0].iov_len;
    assert(!tcp->rest);
    tcp->rest_at = sent;
    tcp->rest_len = header_len + parts[1].iov_len;
    tcp->rest = loan_malloc(assoc->loan, tcp->rest_len);
    if (!tcp->rest) {
        tcp->failure = "the client does not read, and memory for the rest of a frame ran out";
        shutdown(assoc->internal.socket.fd, SHUT_RDWR); /* ends the association at its next event: nobody here could */
        return;
    }
    memcpy(tcp->rest, parts[0].iov_base, header_len);
    memcpy(tcp->rest + header_len, parts[1].iov_base, parts[1].iov_len);
    event_add(&tcp->writable, NULL);
}

/* Sends what was gathered. */
static void internal_tcp_flush(struct assoc *assoc, struct gathered *gathered, struct dgram_tally *tally)
{
    const struct internal_tcp *tcp = assoc->internal.tcp;
    const int fd = assoc->internal.socket.fd;
    const struct msghdr message = {.msg_iov = &gathered->parts[0][0], .msg_iovlen = gathered->count * 2};
    ssize_t n = tcp->rest ? 0 : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    /* A connection that is broken shows on the way up. */
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
            internal_tcp_keep_rest(assoc, parts, taken);
        taken -= taken < len ? taken : len;
        tally->datagrams++;
        tally->bytes += parts[1].iov_len;
    }
    gathered->count = 0;
}

/* Sends a run; `header_len` is 0, or that of the SOCKS5 UDP header in front of each payload. */
static void internal_tcp_gather_run(struct assoc *assoc, struct gathered *gathered, const struct dgram_run *run,
                                    uint16_t header_len, struct dgram_tally *tally)
{
    for (size_t i = 0; i < run->count; i++) {
        if (dgram_run_len(run, i) > assoc->env->config->udp.over_tcp_max) {
            tally->lost[DGRAM_LOST_OVERSIZE]++;
            continue;
        }
        if (gathered->count == GATHER_MAX)
            internal_tcp_flush(assoc, gathered, tally);
        if (header_len)
            gathered_add_named(gathered, run, i, header_len);
        else
            gathered_add(gathered, run, i);
    }
}

static void internal_tcp_send(struct assoc *assoc, struct dgram_batch *batch, struct dgram_tally *tally)
{
    struct gathered gathered;
    gathered.count = 0;
    for (size_t r = 0; r < batch->count; r++)
        internal_tcp_gather_run(assoc, &gathered, &batch->runs[r], 0, tally);
    if (gathered.count)
        internal_tcp_flush(assoc, &gathered, tally);
    batch->count = 0;
}

static void internal_tcp_send_named(struct assoc *assoc, struct dgram_run *payloads, uint16_t header_len,
                                    struct dgram_tally *tally)
{
    const uint64_t sent_before = tally->datagrams;
    struct gathered gathered;
    gathered.count = 0;
    assert(header_len > LENGTHS_SIZE);
    if (header_len > UINT8_MAX) { /* more than a frame's HDRLEN can tell */
        tally->lost[DGRAM_LOST_OVERSIZE] += payloads->count;
        return;
    }
    internal_tcp_gather_run(assoc, &gathered, payloads, header_len, tally);
    if (gathered.count)
        internal_tcp_flush(assoc, &gathered, tally);
    tally->bytes -= (tally->datagrams - sent_before) * (header_len - LENGTHS_SIZE);
}

static void internal_tcp_on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct assoc *assoc = arg;
    struct internal_tcp *tcp = assoc->internal.tcp;
    assert(tcp->rest && tcp->rest_at < tcp->rest_len);
    ssize_t n = send(fd, tcp->rest + tcp->rest_at, tcp->rest_len - tcp->rest_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && (tcp->rest_at += (size_t)n) < tcp->rest_len)
        return;
    event_del(&tcp->writable);
    if (n < 0) /* broken: no frame may follow the part of this one */
        return;
    loan_free(assoc->loan, tcp->rest, tcp->rest_len);
    tcp->rest = NULL;
}

/* ---- life ---- */

static void internal_tcp_start(struct assoc *assoc)
{
    event_add(&assoc->internal.readable, NULL);
}

/* The client is the connection: its port never changes. */
static bool internal_tcp_set_client(struct assoc *assoc, const union netaddr *client, bool hold)
{
    (void)assoc, (void)client, (void)hold;
    return false;
}

static void internal_tcp_allow_rebind(struct assoc *assoc)
{
    (void)assoc;
}

static void internal_tcp_call_loans(struct assoc *assoc)
{
    const struct internal_tcp *tcp = assoc->internal.tcp;
    if (tcp->begun)
        internal_tcp_lose_begun(assoc, tcp->begun_size - tcp->begun_len);
}

static void internal_tcp_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const struct internal_tcp *tcp = assoc->internal.tcp;
    if (tcp->begun && now_ms - tcp->begun_ms >= BEGUN_KEPT_MS)
        internal_tcp_call_loans(assoc);
}

static void internal_tcp_set_buffers(struct assoc *assoc, int bytes)
{
    sock_tcp_set_room(assoc->internal.socket.fd, bytes < UNSENT_MAX ? bytes : UNSENT_MAX);
}

static size_t internal_tcp_memory(const struct assoc *assoc)
{
    const struct internal_tcp *tcp = assoc->internal.tcp;
    return sizeof(*tcp) + tcp->begun_size + (tcp->rest ? tcp->rest_len : 0) + sock_memory(assoc->internal.socket.fd);
}

static void internal_tcp_close(struct assoc *assoc)
{
    struct internal_tcp *tcp = assoc->internal.tcp;
    event_del(&assoc->internal.readable);
    event_del(&tcp->writable);
    internal_tcp_forget_begun(assoc);
    loan_free(assoc->loan, tcp->rest, tcp->rest ? tcp->rest_len : 0);
    free(tcp);
}

static const struct internal_ops internal_tcp_ops = {
    .start = internal_tcp_start,
    .send = internal_tcp_send,
    .send_named = internal_tcp_send_named,
    .set_client = internal_tcp_set_client,
    .allow_rebind = internal_tcp_allow_rebind,
    .sweep = internal_tcp_sweep,
    .call_loans = internal_tcp_call_loans,
    .set_buffers = internal_tcp_set_buffers,
    .memory = internal_tcp_memory,
    .close = internal_tcp_close,
    .over_tcp = true,
};

int internal_tcp_open(struct assoc *assoc, int fd, const struct assoc_hooks *hooks)
{
    struct internal *internal = &assoc->internal;
    struct event_base *base = assoc->env->base;
    struct internal_tcp *tcp = calloc(1, sizeof(*tcp));
    if (!tcp)
        return -ENOMEM;
    assert(fd >= 0 && hooks->ended);
    tcp->hooks = *hooks;
    event_assign(&internal->readable, base, fd, EV_READ | EV_PERSIST, internal_tcp_on_readable, assoc);
    event_assign(&tcp->writable, base, fd, EV_WRITE | EV_PERSIST, internal_tcp_on_writable, assoc);
    internal->socket.fd = fd;
    internal->tcp = tcp;
    internal->ops = &internal_tcp_ops;
    internal_tcp_set_buffers(assoc, memory_level_room(assoc->env->memory));
    return 0;
}
