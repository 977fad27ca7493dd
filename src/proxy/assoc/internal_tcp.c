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

/* One event's share: what more has come waits for its turn. */
#define READ_SIZE (32 * 1024)
/* Frames for one system call. */
#define GATHER_MAX 32
/* Datagrams grow old: only so much waits to be sent, however large the connection's buffer may grow. */
#define UNSENT_MAX (256 * 1024)
/* Of a frame that has begun, its length is known from the third byte on. */
#define START_MAX 2
/* After that the beginning of a frame is dropped, however slowly the rest may still come. */
#define BEGUN_KEPT_MS (15 * 1000)

struct frames {
    struct assoc *assoc;
    struct assoc_hooks hooks;
    int fd;
    struct event readable, writable;
    const char *failure; /* NULL: none of ours */

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
static int take_frames(struct frames *frames, const uint8_t *bytes, size_t len)
{
    uint64_t now = env_now(frames->assoc->env);
    struct socks5_frame frame;
    int n, used = 0;
    while ((n = socks5_frame_decode(bytes + used, len - (size_t)used, &frame)) > 0) {
        struct dgram_run run = {.data = frame.payload, .count = 1, .seg = frame.payload_len, .last = frame.payload_len};
        assoc_take_up(frames->assoc, &frame.destination, &run, now);
        used += n;
    }
    return n < 0 ? n : used;
}

/* At the client's charge. NULL: there is no room, or no memory. */
static uint8_t *borrow(struct frames *frames, size_t size)
{
    struct loan *loan = frames->assoc->loan;
    if (!loan_take(loan, size))
        return NULL;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        loan_give_back(loan, size);
    return bytes;
}

/* `bytes` may be NULL, of size 0. */
static void give_back(struct frames *frames, uint8_t *bytes, size_t size)
{
    free(bytes);
    loan_give_back(frames->assoc->loan, size);
}

static void forget_begun(struct frames *frames)
{
    give_back(frames, frames->begun, frames->begun_size);
    frames->begun = NULL;
    frames->begun_len = frames->begun_size = 0;
}

/* A frame of which `missing` bytes have yet to come is lost. */
static void drop_begun(struct frames *frames, size_t missing)
{
    forget_begun(frames);
    frames->unwanted = missing;
    assoc_drop(frames->assoc, DROP_UNFINISHED, 1);
}

/* Keeps the beginning of a frame until the next bytes come. */
static void keep_begun(struct frames *frames, const uint8_t *bytes, size_t len)
{
    size_t size = socks5_frame_length(bytes, len);
    if (size == 0) {
        memcpy(frames->start, bytes, len);
        frames->start_len = (uint8_t)len;
        return;
    }
    frames->begun = borrow(frames, size);
    if (!frames->begun) {
        drop_begun(frames, size - len);
        return;
    }
    memcpy(frames->begun, bytes, len);
    frames->begun_len = len;
    frames->begun_size = size;
    frames->begun_ms = env_now(frames->assoc->env);
}

/* Takes what was read: `into_begun` bytes of the frame that had begun, and `len` bytes in `chunk`. NULL, or why the
 * association has to end. */
static const char *take_bytes(struct frames *frames, size_t into_begun, const uint8_t *chunk, size_t len)
{
    frames->begun_len += into_begun;
    int begun_used = frames->begun ? take_frames(frames, frames->begun, frames->begun_len) : 0;
    int used = begun_used < 0 ? begun_used : take_frames(frames, chunk, len);
    assoc_flush_up(frames->assoc);
    if (begun_used > 0)
        forget_begun(frames);
    if (used < 0) {
        assoc_drop(frames->assoc, DROP_BAD_HEADER, 1);
        return bad_frame_text(used);
    }
    if (!frames->begun)
        keep_begun(frames, chunk + used, len - (size_t)used);
    return NULL;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct frames *frames = arg;
    if (!assoc_may_go_on(frames->assoc))
        return;
    uint8_t chunk[START_MAX + READ_SIZE];
    size_t start_len = frames->start_len, missing = frames->begun_size - frames->begun_len;
    struct iovec room[] = {{frames->begun ? frames->begun + frames->begun_len : chunk, missing},
                           {chunk + start_len, READ_SIZE}};
    struct msghdr message = {.msg_iov = room, .msg_iovlen = 2};
    const char *why = NULL;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
    if (n > 0) {
        size_t into_begun = (size_t)n < missing ? (size_t)n : missing;
        size_t unwanted = (size_t)n < frames->unwanted ? (size_t)n : frames->unwanted;
        assert(!frames->unwanted || (!missing && !start_len));
        memcpy(chunk, frames->start, start_len);
        frames->start_len = 0;
        frames->unwanted -= unwanted;
        why = take_bytes(frames, into_begun, chunk + unwanted, start_len + (size_t)n - into_begun - unwanted);
    } else if (n == 0) {
        why = frames->failure ? frames->failure : "client closed";
    } else if (errno != EAGAIN) {
        why = "client gone";
    }
    if (why)
        frames->hooks.ended(frames->hooks.arg, why);
}

/* ---- to the client ---- */

struct gathered {
    size_t count;
    struct iovec parts[GATHER_MAX][2]; /* header, payload */
    uint8_t headers[GATHER_MAX][DGRAM_HEADER_MAX];
};

/* From its address type on a SOCKS5 UDP header is what a frame's is, too; in front of that stand three bytes. */
static void gather_with_header(struct gathered *gathered, const uint8_t *datagram, size_t len)
{
    struct socks5_udp_header origin;
    const int header_len = socks5_udp_header_decode(datagram, len, &origin);
    assert(header_len > FRAMES_LENGTHS && header_len <= UINT8_MAX);
    const size_t payload_len = len - (size_t)header_len;
    uint8_t *lengths = gathered->headers[gathered->count];
    struct iovec *parts = gathered->parts[gathered->count++];
    lengths[0] = (uint8_t)(payload_len >> 8);
    lengths[1] = (uint8_t)payload_len;
    lengths[2] = (uint8_t)header_len;
    parts[0] = (struct iovec){lengths, FRAMES_LENGTHS};
    parts[1] = (struct iovec){(void *)(uintptr_t)(datagram + FRAMES_LENGTHS), len - FRAMES_LENGTHS};
}

static void gather(struct gathered *gathered, const struct dgram_run *run, size_t i)
{
    if (run->peer.sa.sa_family == AF_UNSPEC) {
        gather_with_header(gathered, dgram_run_at(run, i), dgram_run_len(run, i));
        return;
    }
    const struct socks5_frame frame = {.destination = address_to_wire(&run->peer),
                                       .payload_len = dgram_run_len(run, i)};
    uint8_t *header = gathered->headers[gathered->count];
    struct iovec *parts = gathered->parts[gathered->count++];
    parts[0] = (struct iovec){header, socks5_frame_header_encode(header, DGRAM_HEADER_MAX, &frame)};
    parts[1] = (struct iovec){(void *)(uintptr_t)dgram_run_at(run, i), frame.payload_len};
}

/* Keeps what is left of a frame after `sent` bytes: half a frame would make nonsense of all that follows. */
static void keep_rest(struct frames *frames, const struct iovec parts[2], size_t sent)
{
    size_t header_len = parts[0].iov_len;
    frames->rest_at = sent;
    frames->rest_len = header_len + parts[1].iov_len;
    frames->rest = borrow(frames, frames->rest_len);
    if (!frames->rest) {
        frames->failure = "the client does not read, and memory for the rest of a frame ran out";
        shutdown(frames->fd, SHUT_RDWR); /* and on_readable() ends it: here is nobody who could */
        return;
    }
    memcpy(frames->rest, parts[0].iov_base, header_len);
    memcpy(frames->rest + header_len, parts[1].iov_base, parts[1].iov_len);
    event_add(&frames->writable, NULL);
}

static void send_gathered(struct frames *frames, struct gathered *gathered, struct dgram_tally *tally)
{
    const struct msghdr message = {.msg_iov = &gathered->parts[0][0], .msg_iovlen = gathered->count * 2};
    ssize_t n = frames->rest ? 0 : sendmsg(frames->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
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
            keep_rest(frames, parts, taken);
        taken -= taken < len ? taken : len;
        tally->datagrams++;
        tally->bytes += parts[1].iov_len;
    }
    gathered->count = 0;
}

void frames_send(struct frames *frames, struct dgram_batch *batch, struct dgram_tally *tally)
{
    struct gathered gathered;
    gathered.count = 0;
    for (size_t r = 0; r < batch->count; r++) {
        for (size_t i = 0; i < batch->runs[r].count; i++) {
            if (gathered.count == GATHER_MAX)
                send_gathered(frames, &gathered, tally);
            gather(&gathered, &batch->runs[r], i);
        }
    }
    if (gathered.count)
        send_gathered(frames, &gathered, tally);
    batch->count = 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct frames *frames = arg;
    ssize_t n =
        send(fd, frames->rest + frames->rest_at, frames->rest_len - frames->rest_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && (frames->rest_at += (size_t)n) < frames->rest_len)
        return;
    event_del(&frames->writable);
    if (n < 0) /* broken: no frame may follow the part of this one */
        return;
    give_back(frames, frames->rest, frames->rest_len);
    frames->rest = NULL;
}

/* ---- life ---- */

struct frames *frames_new(struct assoc *assoc, int fd, const struct assoc_hooks *hooks)
{
    struct frames *frames = calloc(1, sizeof(*frames));
    if (!frames)
        return NULL;
    struct event_base *base = assoc->env->base;
    frames->assoc = assoc;
    frames->hooks = *hooks;
    frames->fd = fd;
    event_assign(&frames->readable, base, fd, EV_READ | EV_PERSIST, on_readable, frames);
    event_assign(&frames->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, frames);
    frames_set_room(frames, memory_level_room(assoc->env->memory));
    return frames;
}

void frames_start(struct frames *frames)
{
    event_add(&frames->readable, NULL);
}

void frames_free(struct frames *frames)
{
    if (!frames)
        return;
    event_del(&frames->readable);
    event_del(&frames->writable);
    forget_begun(frames);
    give_back(frames, frames->rest, frames->rest ? frames->rest_len : 0);
    free(frames);
}

void frames_forget_begun(struct frames *frames)
{
    if (frames->begun)
        drop_begun(frames, frames->begun_size - frames->begun_len);
}

void frames_sweep(struct frames *frames, uint64_t now_ms)
{
    if (frames->begun && now_ms - frames->begun_ms >= BEGUN_KEPT_MS)
        frames_forget_begun(frames);
}

void frames_set_room(struct frames *frames, int bytes)
{
    sock_tcp_set_room(frames->fd, bytes < UNSENT_MAX ? bytes : UNSENT_MAX);
}

size_t frames_memory(const struct frames *frames)
{
    return sizeof(*frames) + frames->begun_size + (frames->rest ? frames->rest_len : 0) + sock_memory(frames->fd);
}
