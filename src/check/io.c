#include "check/io.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/tcp.h"

/* Where the C library's headers are older than the kernel. */
#ifndef IP_RECVFRAGSIZE
#define IP_RECVFRAGSIZE 25
#endif
#ifndef IPV6_RECVFRAGSIZE
#define IPV6_RECVFRAGSIZE 77
#endif

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

/* Closes what has failed. */
static int give_up(int fd, int error)
{
    close(fd);
    return error;
}

int io_dial(const union netaddr *to, uint64_t deadline)
{
    int one = 1, error = 0;
    socklen_t len = sizeof(error);
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, &to->sa, netaddr_len(to)) < 0 && errno != EINPROGRESS)
        return give_up(fd, -errno);
    int waited = io_wait(fd, POLLOUT, deadline);
    if (waited == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (waited == 0 && !error && tcp_is_connected_to_itself(fd))
        error = ECONNREFUSED;
    return waited < 0 || error ? give_up(fd, waited < 0 ? waited : -error) : fd;
}

int io_send_all(int fd, const void *bytes, size_t len, uint64_t deadline)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int waited = io_wait(fd, POLLOUT, deadline);
        if (waited < 0)
            return waited;
    }
    return 0;
}

ssize_t io_receive(int fd, void *bytes, size_t size, uint64_t deadline)
{
    for (;;) {
        ssize_t received = recv(fd, bytes, size, 0);
        if (received >= 0)
            return received;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int waited = io_wait(fd, POLLIN, deadline);
        if (waited < 0)
            return waited;
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

int io_udp(const union netaddr *local)
{
    int one = 1, room = 1 << 20;
    bool v6 = local->sa.sa_family == AF_INET6;
    int fd = socket(local->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &one, sizeof(one));
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    io_want_fragments(fd, local->sa.sa_family);
    return bind(fd, &local->sa, netaddr_len(local)) < 0 ? give_up(fd, -errno) : fd;
}

void io_want_fragments(int fd, int family)
{
    const int one = 1;
    bool v6 = family == AF_INET6;
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVFRAGSIZE : IP_RECVFRAGSIZE, &one, sizeof(one));
}

size_t io_fragment(struct msghdr *message)
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

union netaddr io_local(int fd)
{
    union netaddr local = {0};
    socklen_t len = sizeof(local);
    if (getsockname(fd, &local.sa, &len) < 0)
        return (union netaddr){0};
    netaddr_unmap(&local);
    return local;
}

union netaddr io_source_for(const union netaddr *to)
{
    union netaddr source = {0};
    int fd = socket(to->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &to->sa, netaddr_len(to)) == 0)
        source = io_local(fd);
    if (fd >= 0)
        close(fd);
    netaddr_set_port(&source, 0);
    return source;
}

int io_resolve(const char *host, uint16_t port, struct io_addresses *found)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    found->count = 0;
    int error = getaddrinfo(host, NULL, &hints, &list);
    for (const struct addrinfo *one = list; !error && one && found->count < IO_ADDRESSES_MAX; one = one->ai_next) {
        union netaddr address = {0};
        if (one->ai_family == AF_INET)
            address.v4 = *(const struct sockaddr_in *)(const void *)one->ai_addr;
        else if (one->ai_family == AF_INET6)
            address.v6 = *(const struct sockaddr_in6 *)(const void *)one->ai_addr;
        else
            continue;
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
