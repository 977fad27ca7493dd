/*
 * The fast implementation. In: UDP_GRO hands over what the kernel has joined, from a socket's first burst on. Out:
 * datagrams of one size to one peer leave as one UDP_SEGMENT message, header and payload gathered by iovec. Only what
 * is already there is joined; nothing waits.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/dgram_io_impl.h"

#define RECV_MAX       32
#define GROUPS_MAX     8  /* peers whose datagrams are being joined at once */
#define GROUP_SEGMENTS 64 /* the kernel's limit (UDP_MAX_SEGMENTS), and ... */
#define GROUP_BYTES    65507
#define HEADROOM       32 /* in front of what is received, for the header that it is sent on with */

/* A socket on which datagrams come one by one is not asked for more after each; but now and then it is. A new one is
 * not asked at first: many associations carry a question and an answer. */
#define LONELY     2
#define ASK_ANYWAY 16

/* Datagrams to one peer, of one size but for the last, and with one TOS byte. */
struct group {
    union netaddr peer;
    uint16_t wire_len; /* of each, with its header */
    uint16_t count;
    uint32_t bytes, header_bytes;
    bool closed; /* its last is shorter: nothing may follow in this message */
    uint8_t tos;
    size_t part_count;
    struct iovec parts[GROUP_SEGMENTS * 2];
    uint8_t parts_of_each; /* 1, or 2 with a header */
};

struct gso {
    struct dgram_io io;
    int keeper[2]; /* IPv4, IPv6: see gso_keep_offload_on() */
    struct mmsghdr in[RECV_MAX];
    struct iovec in_parts[RECV_MAX];
    union netaddr in_peers[RECV_MAX];
    struct dgram_controls in_controls[RECV_MAX];
    size_t group_count;
    struct group groups[GROUPS_MAX];
    uint8_t areas[RECV_MAX][HEADROOM + DGRAM_AREA_SIZE];
};

static_assert(offsetof(struct gso, io) == 0, "a struct dgram_io is cast to its gso");
static_assert(GROUP_SEGMENTS * 2 <= 1024, "one message has at most UIO_MAXIOV parts");

static void gso_free(struct dgram_io *io)
{
    struct gso *gso = (struct gso *)io;
    for (size_t i = 0; i < 2; i++)
        if (gso->keeper[i] >= 0)
            close(gso->keeper[i]);
    free(gso);
}

static void gso_join(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

/* ---- in ---- */

static void gso_arm(struct gso *gso, size_t i)
{
    struct msghdr *message = &gso->in[i].msg_hdr;
    message->msg_namelen = sizeof(gso->in_peers[i]);
    message->msg_controllen = sizeof(gso->in_controls[i]);
}

static struct dgram_run gso_run_of(struct gso *gso, size_t i)
{
    struct msghdr *message = &gso->in[i].msg_hdr;
    uint32_t len = gso->in[i].msg_len, seg = len;
    uint8_t tos = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        int joined;
        tos |= dgram_tos_received(control);
        if (control->cmsg_level != IPPROTO_UDP || control->cmsg_type != UDP_GRO)
            continue;
        memcpy(&joined, CMSG_DATA(control), sizeof(joined));
        if (joined > 0 && (uint32_t)joined < len)
            seg = (uint32_t)joined;
    }
    uint32_t count = seg ? (len + seg - 1) / seg : 1;
    assert(len <= DGRAM_AREA_SIZE && (count - 1) * seg <= len);
    return (struct dgram_run){
        .peer = gso->in_peers[i],
        .data = gso->areas[i] + HEADROOM,
        .count = (uint16_t)count,
        .seg = (uint16_t)seg,
        .last = (uint16_t)(len - (count - 1) * seg),
        .stride = (uint16_t)seg,
        .tos = tos & gso->io.carried,
        .headroom = HEADROOM,
    };
}

/* The first, alone: mostly it is the only one. A pending ICMP error comes in its place: ask again, but a bounded number
 * of times. */
static bool gso_receive_first(struct gso *gso, int fd)
{
    for (int tries = 0; tries < 4; tries++) {
        gso_arm(gso, 0);
        ssize_t n = recvmsg(fd, &gso->in[0].msg_hdr, MSG_DONTWAIT);
        if (n >= 0) {
            gso->in[0].msg_len = (unsigned)n;
            return true;
        }
        if (errno == EAGAIN)
            break;
    }
    return false;
}

/* After one datagram: whether to look for more. */
static bool gso_is_worth_asking(struct dgram_socket *socket)
{
    const uint8_t lone = socket->lone_receives;
    if (lone < ASK_ANYWAY)
        socket->lone_receives++;
    else
        socket->lone_receives = LONELY + 1;
    return (lone > 0 && lone <= LONELY) || lone == ASK_ANYWAY;
}

static void gso_note_more(struct dgram_socket *socket)
{
    socket->lone_receives = 1;
    if (!socket->joins)
        gso_join(socket->fd);
    socket->joins = true;
}

static size_t gso_receive(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max)
{
    struct gso *gso = (struct gso *)io;
    if (max > RECV_MAX)
        max = RECV_MAX;
    if (!gso_receive_first(gso, socket->fd))
        return 0;
    runs[0] = gso_run_of(gso, 0);
    if (max == 1 || !gso_is_worth_asking(socket))
        return 1;
    for (size_t i = 1; i < max; i++)
        gso_arm(gso, i);
    int more = recvmmsg(socket->fd, gso->in + 1, (unsigned)max - 1, MSG_DONTWAIT, NULL);
    if (more <= 0)
        return 1;
    gso_note_more(socket);
    for (size_t i = 1; i <= (size_t)more; i++)
        runs[i] = gso_run_of(gso, i);
    return (size_t)more + 1;
}

/* ---- out ---- */

/* For bytes in one piece sendto() costs less. */
static ssize_t gso_try_message(int fd, const struct msghdr *message)
{
    const struct iovec *part = message->msg_iov;
    if (message->msg_iovlen == 1 && message->msg_controllen == 0)
        return sendto(fd, part->iov_base, part->iov_len, MSG_DONTWAIT, message->msg_name, message->msg_namelen);
    return sendmsg(fd, message, MSG_DONTWAIT);
}

static int gso_send_message(struct dgram_socket *socket, const struct msghdr *message)
{
    /* A first error may be an earlier datagram's, reported late: then this one was not even tried. */
    for (int tries = 0;; tries++) {
        if (gso_try_message(socket->fd, message) >= 0)
            return 0;
        const int error = errno;
        if (error == EAGAIN ? !dgram_make_room(socket) : tries > 0)
            return error;
    }
}

static struct msghdr gso_address_to(const struct dgram_socket *socket, struct group *group,
                                    struct dgram_controls *controls)
{
    bool connected = group->peer.sa.sa_family == AF_UNSPEC;
    struct msghdr message = {.msg_name = connected ? NULL : &group->peer,
                             .msg_namelen = connected ? 0 : netaddr_len(&group->peer),
                             .msg_control = controls};
    if (group->tos != socket->tos)
        dgram_add_tos(&message, group->tos);
    return message;
}

static void gso_send_singly(struct dgram_socket *socket, struct group *group, struct dgram_tally *tally)
{
    struct dgram_controls controls;
    struct msghdr message = gso_address_to(socket, group, &controls);
    for (size_t at = 0; at < group->part_count; at += group->parts_of_each) {
        message.msg_iov = &group->parts[at];
        message.msg_iovlen = group->parts_of_each;
        int error = gso_send_message(socket, &message);
        if (error) {
            tally->lost[dgram_loss_of(error)]++;
        } else {
            tally->datagrams++;
            tally->bytes += group->parts[at + group->parts_of_each - 1].iov_len;
        }
    }
}

static int gso_send_joined(struct dgram_socket *socket, struct group *group)
{
    struct dgram_controls controls;
    struct msghdr message = gso_address_to(socket, group, &controls);
    message.msg_iov = group->parts;
    message.msg_iovlen = group->part_count;
    dgram_add_control(&message, IPPROTO_UDP, UDP_SEGMENT, &group->wire_len, sizeof(group->wire_len));
    return gso_send_message(socket, &message);
}

static void gso_flush_group(struct dgram_socket *socket, struct group *group, struct dgram_tally *tally)
{
    assert(group->count > 0 && group->part_count == (size_t)group->count * group->parts_of_each);
    if (group->count > 1) {
        int error = gso_send_joined(socket, group);
        switch (error) {
        case 0:
            tally->datagrams += group->count;
            tally->bytes += group->bytes - group->header_bytes;
            return;
        case EMSGSIZE: /* larger than the path's MTU: the kernel fragments single datagrams only */
        case EINVAL:
            socket->join_limit = group->wire_len;
            break;
        case EIO: /* no checksum offload on this path */
            socket->join_limit = 1;
            break;
        default:
            tally->lost[dgram_loss_of(error)] += group->count;
            return;
        }
    }
    gso_send_singly(socket, group, tally);
}

static void gso_flush(struct gso *gso, struct dgram_socket *socket, struct dgram_tally *tally)
{
    for (size_t i = 0; i < gso->group_count; i++)
        gso_flush_group(socket, &gso->groups[i], tally);
    gso->group_count = 0;
}

/* The group of a peer, emptied when a datagram of `wire_len` bytes cannot join it. */
static struct group *gso_group_for(struct gso *gso, struct dgram_socket *socket, const struct dgram_run *run,
                                   uint16_t wire_len, struct dgram_tally *tally)
{
    const uint8_t parts_of_each = run->header_len ? 2 : 1, tos = dgram_tos_to_send(&gso->io, socket, run);
    struct group *group = NULL;
    for (size_t i = 0; i < gso->group_count && !group; i++)
        if (netaddr_equal(&gso->groups[i].peer, &run->peer))
            group = &gso->groups[i];
    if (group) {
        bool joins = !group->closed && wire_len <= group->wire_len && wire_len > 0 && group->count < GROUP_SEGMENTS &&
                     group->bytes + wire_len <= GROUP_BYTES && group->parts_of_each == parts_of_each &&
                     group->tos == tos && (socket->join_limit == 0 || group->wire_len < socket->join_limit);
        if (joins)
            return group;
        gso_flush_group(socket, group, tally);
    } else {
        if (gso->group_count == GROUPS_MAX)
            gso_flush(gso, socket, tally);
        group = &gso->groups[gso->group_count++];
        group->peer = run->peer;
    }
    group->wire_len = wire_len;
    group->count = 0;
    group->bytes = group->header_bytes = 0;
    group->closed = false;
    group->part_count = 0;
    group->parts_of_each = parts_of_each;
    group->tos = tos;
    return group;
}

static void gso_add(struct group *group, struct dgram_run *run, size_t i)
{
    uint16_t len = dgram_run_len(run, i);
    assert(group->count < GROUP_SEGMENTS && !group->closed);
    if (run->header_len)
        group->parts[group->part_count++] = (struct iovec){run->header, run->header_len};
    group->parts[group->part_count++] = (struct iovec){(void *)(uintptr_t)dgram_run_at(run, i), len};
    group->count++;
    group->bytes += (uint32_t)run->header_len + len;
    group->header_bytes += run->header_len;
    group->closed = (uint16_t)(run->header_len + len) < group->wire_len;
}

/* A datagram that is alone needs no group, and its header can be written in front of it. false: it cannot. */
static bool gso_send_alone(struct gso *gso, struct dgram_socket *socket, struct dgram_run *run,
                           struct dgram_tally *tally)
{
    if (run->count > 1 || run->header_len > run->headroom || dgram_tos_to_send(&gso->io, socket, run) != socket->tos)
        return false;
    uint8_t *start = (uint8_t *)(uintptr_t)run->data - run->header_len;
    const bool connected = run->peer.sa.sa_family == AF_UNSPEC;
    memcpy(start, run->header, run->header_len);
    struct iovec part = {start, (size_t)run->header_len + run->last};
    const struct msghdr message = {.msg_name = connected ? NULL : &run->peer,
                                   .msg_namelen = connected ? 0 : netaddr_len(&run->peer),
                                   .msg_iov = &part,
                                   .msg_iovlen = 1};
    int error = gso_send_message(socket, &message);
    if (error) {
        tally->lost[dgram_loss_of(error)]++;
    } else {
        tally->datagrams++;
        tally->bytes += run->last;
    }
    return true;
}

static void gso_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                     struct dgram_tally *tally)
{
    struct gso *gso = (struct gso *)io;
    if (batch->count == 1 && gso_send_alone(gso, socket, &batch->runs[0], tally))
        return;
    for (size_t r = 0; r < batch->count; r++) {
        struct dgram_run *run = &batch->runs[r];
        for (size_t i = 0; i < run->count; i++) {
            uint16_t wire_len = (uint16_t)(run->header_len + dgram_run_len(run, i));
            gso_add(gso_group_for(gso, socket, run, wire_len, tally), run, i);
        }
    }
    gso_flush(gso, socket, tally);
}

/*
 * The kernel rewrites its own code when the first socket asks for UDP_GRO and when the last one closes, which costs
 * more than the whole life of a short association. Two sockets that are never used keep it as it is.
 */
static void gso_keep_offload_on(struct gso *gso)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        gso->keeper[i] = socket(families[i], SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (gso->keeper[i] >= 0)
            gso_join(gso->keeper[i]);
    }
}

struct dgram_io *dgram_io_new_gso(void)
{
    static const struct dgram_ops ops = {gso_free, gso_receive, gso_send};
    struct gso *gso = calloc(1, sizeof(*gso));
    if (!gso)
        return NULL;
    gso->io.ops = &ops;
    gso_keep_offload_on(gso);
    for (size_t i = 0; i < RECV_MAX; i++) {
        gso->in_parts[i] = (struct iovec){gso->areas[i] + HEADROOM, DGRAM_AREA_SIZE};
        gso->in[i].msg_hdr = (struct msghdr){.msg_iov = &gso->in_parts[i],
                                             .msg_iovlen = 1,
                                             .msg_name = &gso->in_peers[i],
                                             .msg_control = &gso->in_controls[i]};
    }
    return &gso->io;
}

bool dgram_io_can_offload(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int on = 1, none = 0;
    bool can = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0 &&
               setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0;
    close(fd);
    return can;
}
