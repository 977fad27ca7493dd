#include "check/channel.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
/* After those: linux/errqueue.h uses their types without including them. */
#include <linux/errqueue.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "check/io.h"

#define FRAME_TIMEOUT 5000 /* ms, for the proxy to take one */

static_assert(sizeof(((struct datagram *)0)->bytes) >= SOCKS5_FRAME_MAX, "a frame fits in");

struct socks5_addr socks5_addr_of(const union netaddr *address)
{
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    assert(host);
    return (struct socks5_addr){
        .atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6,
        .host_len = (uint8_t)len,
        .port = netaddr_port(address),
        .host = host,
    };
}

static union netaddr netaddr_of(const struct socks5_addr *address)
{
    return address->atyp == SOCKS5_ATYP_NAME ? (union netaddr){0}
                                             : netaddr_from_bytes(address->host, address->host_len, address->port);
}

/* ---- sending ---- */

static int send_datagram(int fd, const union netaddr *to, const uint8_t *header, size_t header_len, const void *payload,
                         size_t len)
{
    struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)header, .iov_len = header_len},
                             {.iov_base = (void *)(uintptr_t)payload, .iov_len = len}};
    union netaddr target = *to;
    struct msghdr message = {
        .msg_name = &target.sa, .msg_namelen = netaddr_len(&target), .msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_frame(int fd, const struct socks5_addr *to, const void *payload, size_t len)
{
    const struct socks5_frame frame = {.destination = *to, .payload_len = (uint16_t)len};
    uint8_t header[UINT8_MAX];
    size_t header_len = len > UINT16_MAX ? 0 : socks5_frame_header_encode(header, sizeof(header), &frame);
    uint64_t deadline = clock_ms() + FRAME_TIMEOUT;
    if (header_len == 0)
        return -EMSGSIZE;
    int error = io_send_all(fd, header, header_len, deadline);
    return error ? error : io_send_all(fd, payload, len, deadline);
}

int channel_send_named(const struct channel *channel, const struct socks5_addr *to, const void *payload, size_t len)
{
    const struct socks5_udp_header header = {.destination = *to};
    uint8_t bytes[SOCKS5_UDP_HEADER_MAX];
    assert(channel->kind != CHANNEL_DIRECT);
    if (channel->kind == CHANNEL_FRAMED)
        return send_frame(channel->fd, to, payload, len);
    return send_datagram(channel->fd, &channel->relay, bytes, socks5_udp_header_encode(bytes, sizeof(bytes), &header),
                         payload, len);
}

int channel_send(const struct channel *channel, const union netaddr *to, const void *payload, size_t len)
{
    if (channel->kind == CHANNEL_DIRECT)
        return send_datagram(channel->fd, to, NULL, 0, payload, len);
    const struct socks5_addr destination = socks5_addr_of(to);
    return channel_send_named(channel, &destination, payload, len);
}

int channel_send_raw(const struct channel *channel, const void *bytes, size_t len)
{
    assert(channel->kind == CHANNEL_RELAYED);
    return send_datagram(channel->fd, &channel->relay, bytes, 0, bytes, len);
}

/* ---- receiving ---- */

/* Empties the queue of ICMP errors: while there is one, poll() does not wait. The last one as a negative errno, or 0.
 */
static int take_icmp_errors(int fd)
{
    union netaddr about;
    char control[512];
    int error = 0;
    for (;;) {
        struct msghdr message = {.msg_name = &about,
                                 .msg_namelen = sizeof(about),
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return error;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            struct sock_extended_err told;
            if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
                memcpy(&told, CMSG_DATA(c), sizeof(told));
                error = -(int)told.ee_errno;
            }
        }
    }
}

/* Fills in what the datagram of `len` bytes carries. false: its header is malformed. */
static bool datagram_unwrap(struct datagram *datagram, enum channel_kind kind, size_t len)
{
    struct socks5_udp_header header = {.fragment = 0};
    int header_len = 0;
    datagram->origin = datagram->sender;
    if (kind == CHANNEL_RELAYED) {
        header_len = socks5_udp_header_decode(datagram->bytes, len, &header);
        if (header_len < 0 || header.fragment != 0)
            return false;
        datagram->origin = netaddr_of(&header.destination);
    }
    datagram->payload = datagram->bytes + header_len;
    datagram->len = len - (size_t)header_len;
    return true;
}

static int receive_datagram(struct channel *channel, struct datagram *datagram, uint64_t deadline)
{
    for (;;) {
        ssize_t len = io_receive_from(channel->fd, datagram->bytes, sizeof(datagram->bytes), &datagram->sender,
                                      &datagram->fragment);
        if (len < 0 && len != -EAGAIN && len != -EINTR) {
            take_icmp_errors(channel->fd);
            return (int)len;
        }
        if (len >= 0) {
            if (datagram_unwrap(datagram, channel->kind, (size_t)len))
                return 0;
            channel->garbage++;
            if (clock_ms() >= deadline) /* a flood of these must not delay the caller either */
                return -ETIMEDOUT;
            continue;
        }
        int error = take_icmp_errors(channel->fd);
        if (!error)
            error = io_wait(channel->fd, POLLIN, deadline);
        if (error)
            return error;
    }
}

static int receive_frame(const struct channel *channel, struct datagram *datagram, uint64_t deadline)
{
    struct socks5_frame frame;
    size_t have = 0, want = 3; /* up to where the frame's length is known */
    for (;;) {
        int error = io_receive_all(channel->fd, datagram->bytes + have, want - have, deadline);
        if (error)
            return error;
        have = want;
        want = socks5_frame_length(datagram->bytes, have);
        if (want < have)
            return -EPROTO;
        if (want == have)
            break;
    }
    if (socks5_frame_decode(datagram->bytes, have, &frame) <= 0)
        return -EPROTO;
    datagram->origin = netaddr_of(&frame.destination);
    datagram->sender = (union netaddr){0};
    datagram->fragment = 0;
    datagram->payload = frame.payload;
    datagram->len = frame.payload_len;
    return 0;
}

int channel_receive(struct channel *channel, struct datagram *datagram, uint64_t deadline)
{
    return channel->kind == CHANNEL_FRAMED ? receive_frame(channel, datagram, deadline)
                                           : receive_datagram(channel, datagram, deadline);
}
