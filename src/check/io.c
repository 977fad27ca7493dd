#include "check/io.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/ip.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/tcp.h"
#include "net/sock.h"

/* Where the C library's headers are older than the kernel. */
#ifndef IP_RECVFRAGSIZE
#define IP_RECVFRAGSIZE 25
#endif
#ifndef IPV6_RECVFRAGSIZE
#define IPV6_RECVFRAGSIZE 77
#endif

#define CONTROL_ROOM 64

int io_wait(int fd, short events, uint64_t deadline)
{
    for (;;) {
        uint64_t now = clock_ms(), left = deadline > now ? deadline - now : 0;
        struct pollfd wanted = {.fd = fd, .events = events};
        int ready = poll(&wanted, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (ready > 0)
            return 0;
        if (ready == 0 && left == 0)
            return -ETIMEDOUT;
        if (ready < 0 && errno != EINTR)
            return -errno;
    }
}

/* After a call that has failed: waits if it is to be tried again. 0, or the negative errno to give up with. */
static int io_wait_to_retry(int fd, short events, uint64_t deadline)
{
    return errno == EAGAIN || errno == EINTR ? io_wait(fd, events, deadline) : -errno;
}

static int io_close_with(int fd, int error)
{
    assert(error < 0);
    close(fd);
    return error;
}

/* ---- TCP ---- */

int io_dial(const union netaddr *to, uint64_t deadline)
{
    int fd = sock_connect(NULL, to, NULL);
    if (fd < 0)
        return fd;
    int failed = io_wait(fd, POLLOUT, deadline);
    if (!failed)
        failed = -sock_error(fd);
    if (!failed && tcp_is_connected_to_itself(fd))
        failed = -ECONNREFUSED;
    return failed ? io_close_with(fd, failed) : fd;
}

int io_send_all(int fd, const void *bytes, size_t len, uint64_t deadline)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        int failed = sent < 0 ? io_wait_to_retry(fd, POLLOUT, deadline) : 0;
        if (failed)
            return failed;
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
        }
    }
    return 0;
}

ssize_t io_receive(int fd, void *bytes, size_t size, uint64_t deadline)
{
    for (;;) {
        ssize_t received = recv(fd, bytes, size, 0);
        int failed = received < 0 ? io_wait_to_retry(fd, POLLIN, deadline) : 0;
        if (received >= 0 || failed)
            return failed ? failed : received;
    }
}

int io_receive_all(int fd, void *bytes, size_t len, uint64_t deadline)
{
    uint8_t *at = bytes;
    while (len > 0) {
        ssize_t received = io_receive(fd, at, len, deadline);
        if (received <= 0)
            return received < 0 ? (int)received : -EPIPE;
        at += received;
        len -= (size_t)received;
    }
    return 0;
}

/* ---- UDP ---- */

int io_udp(const union netaddr *local, bool hears_errors)
{
    const int one = 1, room = SOCK_UDP_BUFFER;
    bool v6 = local->sa.sa_family == AF_INET6;
    int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int fd = socket(local->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    setsockopt(fd, level, v6 ? IPV6_RECVFRAGSIZE : IP_RECVFRAGSIZE, &one, sizeof(one));
    if (hears_errors)
        setsockopt(fd, level, v6 ? IPV6_RECVERR : IP_RECVERR, &one, sizeof(one));
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    return bind(fd, &local->sa, netaddr_len(local)) < 0 ? io_close_with(fd, -errno) : fd;
}

static size_t fragment_of(struct msghdr *message)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        int size = 0;
        if ((at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_RECVFRAGSIZE) ||
            (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_RECVFRAGSIZE))
            memcpy(&size, CMSG_DATA(at), sizeof(size));
        if (size > 0)
            return (size_t)size;
    }
    return 0;
}

ssize_t io_receive_from(int fd, void *bytes, size_t size, union netaddr *sender, size_t *fragment)
{
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_ROOM];
    struct iovec room = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_name = sender,
                             .msg_namelen = sizeof(*sender),
                             .msg_iov = &room,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(fd, &message, MSG_DONTWAIT);
    if (len < 0)
        return -errno;
    *fragment = fragment_of(&message);
    return len;
}

/* ---- addresses ---- */

union netaddr io_source_for(const union netaddr *to)
{
    union netaddr source = sock_source_for(to, NULL);
    netaddr_set_port(&source, 0);
    return source;
}

bool io_is_own_address(const union netaddr *address)
{
    union netaddr source = io_source_for(address);
    return netaddr_equal_host(&source, address);
}

int io_resolve(const char *host, uint16_t port, struct io_addresses *found)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    found->count = 0;
    int error = getaddrinfo(host, NULL, &hints, &list);
    for (const struct addrinfo *one = list; !error && one && found->count < IO_ADDRESSES_MAX; one = one->ai_next) {
        union netaddr address = {0};
        if (one->ai_family != AF_INET && one->ai_family != AF_INET6)
            continue;
        assert(one->ai_addrlen <= sizeof(address));
        memcpy(&address, one->ai_addr, one->ai_addrlen);
        netaddr_set_port(&address, port);
        found->list[found->count++] = address;
    }
    if (list)
        freeaddrinfo(list);
    return error ? error : found->count ? 0 : EAI_NONAME;
}

const union netaddr *io_of_family(const struct io_addresses *addresses, int family)
{
    for (size_t i = 0; i < addresses->count; i++)
        if (addresses->list[i].sa.sa_family == family)
            return &addresses->list[i];
    return NULL;
}
