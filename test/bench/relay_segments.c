#include "relay.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SEGMENTS_MAX 64
#define BYTES_MAX    65507

/* Received: a datagram, or several of one sender and one size that the kernel joined. */
struct run {
    uint8_t *data;
    size_t len, segment;
    struct sockaddr_in from;
};

/* To be sent in one call: datagrams of one size (the last may be shorter) to one destination. */
struct group {
    int fd;
    bool open;             /* a shorter one ends a group */
    struct sockaddr_in to; /* sin_family 0: the socket's peer */
    size_t segment, bytes, segments, parts;
    struct iovec part[2 * SEGMENTS_MAX];
};

static uint8_t areas[RELAY_BATCH][RELAY_AREA];
static struct run runs[RELAY_BATCH];
static uint8_t headers[RELAY_BATCH][RELAY_HEADER];

/* The kernel patches its own code when the first socket turns UDP_GRO on and when the last such is closed, a tenth of
 * what an association costs that is opened, used once and closed. A socket that stays open keeps it from that. */
static void keep_joining(void)
{
    static int held = -1;
    int on = 1;
    if (held >= 0)
        return;
    held = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(held, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

static void prepare(struct relay_association *association)
{
    int on = 1;
    keep_joining();
    setsockopt(association->client.fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
    setsockopt(association->external.fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

/* ---- receiving ---- */

static size_t segment_of(struct msghdr *message, size_t len)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    int segment;
    if (!control || control->cmsg_level != IPPROTO_UDP || control->cmsg_type != UDP_GRO)
        return len;
    memcpy(&segment, CMSG_DATA(control), sizeof(segment));
    return (size_t)segment;
}

/* One receive when one datagram is likely: recvmmsg costs a second look at the queue, and more to set up. */
static size_t receive(const struct relay_watch *watch)
{
    static struct mmsghdr messages[RELAY_BATCH];
    static struct iovec parts[RELAY_BATCH];
    static _Alignas(struct cmsghdr) uint8_t control[RELAY_BATCH][CMSG_SPACE(sizeof(int))];
    unsigned wanted = watch->busy ? RELAY_BATCH : 1;
    for (unsigned i = 0; i < wanted; i++) {
        parts[i] = (struct iovec){areas[i], RELAY_AREA};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &runs[i].from,
                                              .msg_namelen = sizeof(runs[i].from),
                                              .msg_iov = &parts[i],
                                              .msg_iovlen = 1,
                                              .msg_control = control[i],
                                              .msg_controllen = sizeof(control[i])};
    }
    int count;
    if (watch->busy) {
        count = recvmmsg(watch->fd, messages, wanted, MSG_DONTWAIT, NULL);
    } else {
        ssize_t got = recvmsg(watch->fd, &messages[0].msg_hdr, MSG_DONTWAIT);
        messages[0].msg_len = (unsigned)got;
        count = got < 0 ? 0 : 1;
    }
    for (int i = 0; i < count; i++) {
        runs[i].data = areas[i];
        runs[i].len = messages[i].msg_len;
        runs[i].segment = segment_of(&messages[i].msg_hdr, runs[i].len);
    }
    return count < 0 ? 0 : (size_t)count;
}

/* ---- sending ---- */

static void flush(struct group *group)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct msghdr message = {.msg_iov = group->part, .msg_iovlen = group->parts};
    if (group->segments == 0)
        return;
    if (group->to.sin_family) {
        message.msg_name = &group->to;
        message.msg_namelen = sizeof(group->to);
    }
    if (group->segments > 1) {
        uint16_t segment = (uint16_t)group->segment;
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = IPPROTO_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof(segment));
        memcpy(CMSG_DATA(header), &segment, sizeof(segment));
    }
    sendmsg(group->fd, &message, MSG_DONTWAIT);
    group->segments = group->parts = group->bytes = 0;
}

static void add(struct group *group, const struct sockaddr_in *to, uint8_t *header, uint8_t *payload, size_t len)
{
    size_t size = len + (header ? RELAY_HEADER : 0);
    if (group->segments > 0 &&
        (!group->open || group->segments == SEGMENTS_MAX || group->bytes + size > BYTES_MAX || size > group->segment ||
         group->to.sin_port != to->sin_port || group->to.sin_addr.s_addr != to->sin_addr.s_addr))
        flush(group);
    if (group->segments == 0) {
        group->to = *to;
        group->segment = size;
    }
    if (header)
        group->part[group->parts++] = (struct iovec){header, RELAY_HEADER};
    group->part[group->parts++] = (struct iovec){payload, len};
    group->open = size == group->segment;
    group->segments++;
    group->bytes += size;
}

/* ---- relaying ---- */

static void up(struct relay_association *association)
{
    static struct group group;
    group.fd = association->external.fd;
    size_t count = receive(&association->client);
    if (count > 0 && association->peer.sin_family == 0) {
        association->peer = runs[0].from;
        if (connect(association->client.fd, (struct sockaddr *)&association->peer, sizeof(association->peer)) < 0)
            return;
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t offset = 0; offset + RELAY_HEADER <= runs[i].len; offset += runs[i].segment) {
            uint8_t *datagram = runs[i].data + offset;
            size_t left = runs[i].len - offset, len = left < runs[i].segment ? left : runs[i].segment;
            struct sockaddr_in to = relay_destination(datagram);
            add(&group, &to, NULL, datagram + RELAY_HEADER, len - RELAY_HEADER);
        }
    }
    flush(&group);
}

static void down(struct relay_association *association)
{
    static const struct sockaddr_in peer;
    static struct group group;
    group.fd = association->client.fd;
    size_t count = receive(&association->external);
    for (size_t i = 0; i < count; i++) {
        relay_write_header(headers[i], &runs[i].from);
        for (size_t offset = 0; offset < runs[i].len; offset += runs[i].segment) {
            size_t left = runs[i].len - offset, len = left < runs[i].segment ? left : runs[i].segment;
            add(&group, &peer, headers[i], runs[i].data + offset, len);
        }
    }
    flush(&group);
}

const struct relay_technique relay_segments = {"segments", prepare, up, down};
