#include "udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "client.h"

#define PLAIN_AREA  2048
#define JOINED_AREA 65536
#define JOINED_MAX  8
#define BUFFER      (4 * 1024 * 1024)

struct udp_in {
    unsigned capacity;
    size_t area_size;
    uint8_t *areas;
    struct mmsghdr messages[UDP_BATCH];
    struct iovec parts[UDP_BATCH];
    union netaddr from[UDP_BATCH];
    _Alignas(struct cmsghdr) uint8_t control[UDP_BATCH][CMSG_SPACE(sizeof(int))];
};

struct udp_out {
    unsigned count;
    struct mmsghdr messages[UDP_BATCH];
    struct iovec parts[UDP_BATCH];
    union netaddr to[UDP_BATCH];
};

int udp_open(const union netaddr *local)
{
    int fd = socket(local->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, &local->sa, netaddr_len(local)) < 0)
        bench_die(EXIT_SERVER, "cannot open a UDP socket: %s", strerror(errno));
    /* What gets lost here would be blamed on the server. FORCE goes past the system's limit and needs root. */
    int size = BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return fd;
}

void udp_join(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
        bench_die(EXIT_SERVER, "UDP_GRO: %s; this load needs Linux 5.0 or later", strerror(errno));
}

struct udp_in *udp_in_new(bool joined)
{
    struct udp_in *in = calloc(1, sizeof(*in));
    if (!in)
        bench_die(EXIT_SERVER, "out of memory");
    in->capacity = joined ? JOINED_MAX : UDP_BATCH;
    in->area_size = joined ? JOINED_AREA : PLAIN_AREA;
    in->areas = malloc(in->capacity * in->area_size);
    if (!in->areas)
        bench_die(EXIT_SERVER, "out of memory");
    for (unsigned i = 0; i < in->capacity; i++) {
        in->parts[i] = (struct iovec){in->areas + i * in->area_size, in->area_size};
        in->messages[i].msg_hdr.msg_iov = &in->parts[i];
        in->messages[i].msg_hdr.msg_iovlen = 1;
        in->messages[i].msg_hdr.msg_name = &in->from[i];
    }
    return in;
}

void udp_in_free(struct udp_in *in)
{
    free(in->areas);
    free(in);
}

static size_t segment_of(struct msghdr *message, size_t len)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(control), sizeof(segment));
            return (size_t)segment;
        }
    }
    return len;
}

size_t udp_receive(struct udp_in *in, int fd, struct udp_run *runs)
{
    for (unsigned i = 0; i < in->capacity; i++) {
        struct msghdr *message = &in->messages[i].msg_hdr;
        message->msg_namelen = sizeof(in->from[i]);
        message->msg_control = in->area_size == JOINED_AREA ? in->control[i] : NULL;
        message->msg_controllen = in->area_size == JOINED_AREA ? sizeof(in->control[i]) : 0;
    }
    int count = recvmmsg(fd, in->messages, in->capacity, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        size_t len = in->messages[i].msg_len;
        runs[i] = (struct udp_run){in->parts[i].iov_base, len, segment_of(&in->messages[i].msg_hdr, len), &in->from[i]};
    }
    return count < 0 ? 0 : (size_t)count;
}

struct udp_out *udp_out_new(void)
{
    struct udp_out *out = calloc(1, sizeof(*out));
    if (!out)
        bench_die(EXIT_SERVER, "out of memory");
    for (unsigned i = 0; i < UDP_BATCH; i++) {
        out->messages[i].msg_hdr.msg_iov = &out->parts[i];
        out->messages[i].msg_hdr.msg_iovlen = 1;
    }
    return out;
}

void udp_out_free(struct udp_out *out)
{
    free(out);
}

void udp_queue(struct udp_out *out, const uint8_t *data, size_t len, const union netaddr *to)
{
    unsigned i = out->count++;
    out->parts[i] = (struct iovec){(void *)(uintptr_t)data, len};
    out->messages[i].msg_hdr.msg_name = NULL;
    out->messages[i].msg_hdr.msg_namelen = 0;
    if (to) {
        out->to[i] = *to;
        out->messages[i].msg_hdr.msg_name = &out->to[i];
        out->messages[i].msg_hdr.msg_namelen = netaddr_len(to);
    }
}

void udp_flush(struct udp_out *out, int fd)
{
    for (unsigned done = 0; done < out->count;) {
        int sent = sendmmsg(fd, out->messages + done, out->count - done, 0);
        done += sent > 0 ? (unsigned)sent : 1;
    }
    out->count = 0;
}

void udp_send_segments(int fd, const uint8_t *data, size_t len, size_t segment, const union netaddr *to)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec part = {(void *)(uintptr_t)data, len};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    uint16_t size = (uint16_t)segment;
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(header), &size, sizeof(size));
    if (to) {
        message.msg_name = (void *)(uintptr_t)to;
        message.msg_namelen = netaddr_len(to);
    }
    if (sendmsg(fd, &message, 0) < 0)
        bench_die(EXIT_SERVER, "cannot send by UDP_SEGMENT: %s", strerror(errno));
}
