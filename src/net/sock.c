#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/in6.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "sock"
#include "base/log.h"
#include "net/ports.h"
#include "net/reserve.h"

/* A dead peer is found after a minute of silence and five unanswered probes: about two minutes. */
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 12
#define KEEPALIVE_PROBES     5
/* A reader that has paused is asked for its window at least every two minutes (TCP_RTO_MAX), and may take some time to
 * answer. */
#define VANISHED_MS    130000
#define LISTEN_BACKLOG 4096

static void sock_set_option(int fd, int level, int option, int value)
{
    /* A refused option costs comfort, not correctness: the ones that matter check for themselves. */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

static int sock_close_with(int fd, int error)
{
    assert(fd >= 0 && error > 0);
    close(fd);
    return -error;
}

/* Or a negative errno. */
static int sock_open_for_session(struct descriptor_reserve *reserve, int family, int type)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : reserve_keep(reserve, fd);
}

void sock_keepalive(int fd)
{
    sock_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    sock_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    sock_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    sock_set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

static void sock_prepare_connection(int fd)
{
    sock_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    sock_set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* else urgent data is not where the reader looks, and is lost */
}

/* What it accepts inherits these. */
static void sock_prepare_listener(int fd)
{
    sock_prepare_connection(fd);
    sock_keepalive(fd);
}

static int sock_open_listener(const union netaddr *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    sock_prepare_listener(fd);
    sock_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->sa.sa_family == AF_INET6)
        sock_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !netaddr_is_any(address));
    return fd;
}

void sock_give(int fd, uid_t owner)
{
    if (owner != geteuid())
        (void)!fchown(fd, owner, (gid_t)-1); /* without it, only addresses that overlap are refused later */
}

static int sock_listen_at(const union netaddr *address, bool shared, uid_t owner)
{
    int fd = sock_open_listener(address);
    if (fd < 0)
        return fd;
    if (shared)
        sock_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    sock_give(fd, owner);
    /* That scope is the interface: see netaddr_equal(). */
    if (netaddr_is_any(address) && address->sa.sa_family == AF_INET6 && address->v6.sin6_scope_id) {
        const int index = (int)address->v6.sin6_scope_id;
        if (setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index)) < 0)
            return sock_close_with(fd, errno);
    }
    if (bind(fd, &address->sa, netaddr_len(address)) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return sock_close_with(fd, errno);
    return fd;
}

int sock_listen(const union netaddr *address, bool shared)
{
    return sock_listen_at(address, shared, geteuid());
}

int sock_listen_as(const union netaddr *address, uid_t owner)
{
    return sock_listen_at(address, true, owner);
}

int sock_listen_within(struct descriptor_reserve *reserve, union netaddr *address, const struct port_range *range,
                       uint64_t now_ms, struct port_lease *lease)
{
    int fd = reserve_keep(reserve, sock_open_listener(address));
    int failed = fd < 0 ? 0 : ports_bind(range, fd, address, now_ms, lease);
    if (failed)
        return sock_close_with(fd, -failed);
    if (fd >= 0 && listen(fd, LISTEN_BACKLOG) < 0) {
        failed = errno;
        close(fd);
        ports_release(range, lease, 0, now_ms);
        return -failed;
    }
    return fd;
}

int sock_adopt_listener(int fd, union netaddr *address)
{
    int protocol, listening;
    socklen_t protocol_len = sizeof(protocol), listening_len = sizeof(listening);
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_len) < 0)
        return -errno;
    if (protocol != IPPROTO_TCP || !listening)
        return -EOPNOTSUPP;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    sock_prepare_listener(fd);
    *address = sock_local(fd);
    if (netaddr_is_any(address) && address->sa.sa_family == AF_INET6)
        address->v6.sin6_scope_id = sock_interface(fd);
    return 0;
}

int sock_accept(int listener, union netaddr *peer)
{
    socklen_t len = sizeof(*peer);
    int fd = accept4(listener, &peer->sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    netaddr_unmap(peer);
    return fd;
}

static int sock_set_mark(int fd, uint32_t mark)
{
    if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0)
        return 0;
    int error = errno;
    log_error("cannot set mark 0x%x: %s; it needs CAP_NET_ADMIN", mark, strerror(error));
    return -error;
}

int sock_set_egress(int fd, int family, const struct sock_egress *egress)
{
    const char *interface = egress->interface;
    int failed = egress->mark ? sock_set_mark(fd, egress->mark) : 0;
    if (!failed && interface[0] &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface,
                   (socklen_t)strnlen(interface, sizeof(egress->interface))))
        failed = -errno;
    if (egress->dscp && family == AF_INET)
        sock_set_option(fd, IPPROTO_IP, IP_TOS, egress->dscp << 2);
    else if (egress->dscp)
        sock_set_option(fd, IPPROTO_IPV6, IPV6_TCLASS, egress->dscp << 2);
    return failed;
}

/* What EADDRNOTAVAIL of connect() stands for: this host has no address of that family, or no port is left. */
static int sock_why_not_available(const union netaddr *to, const struct sock_way *way)
{
    return sock_has_route(to, way) ? EADDRINUSE : ENETUNREACH;
}

int sock_connect(struct descriptor_reserve *reserve, const union netaddr *to, const struct sock_way *way)
{
    static const struct sock_way any_way;
    if (!way)
        way = &any_way;
    const union netaddr *from = &way->from;
    int fd = sock_open_for_session(reserve, to->sa.sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    sock_prepare_connection(fd);
    int failed = sock_set_egress(fd, to->sa.sa_family, &way->egress);
    if (failed)
        return sock_close_with(fd, -failed);
    if (from->sa.sa_family == to->sa.sa_family) {
        if (way->egress.from_network)
            ports_allow_network(fd, to->sa.sa_family);
        /* The port is chosen at connect, when the peer is known: ports in TIME_WAIT towards others don't count. */
        sock_set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(fd, &from->sa, netaddr_len(from)) < 0)
            return sock_close_with(fd, errno);
    }
    if (connect(fd, &to->sa, netaddr_len(to)) < 0 && errno != EINPROGRESS)
        return sock_close_with(fd, errno == EADDRNOTAVAIL ? sock_why_not_available(to, way) : errno);
    return fd;
}

/*
 * No "don't fragment", and nobody may talk us into small packets: IPv4 ignores path MTU messages altogether (routers
 * fragment); IPv6, where only the sender can fragment, heeds them, and the kernel then fragments down to 1280 at least.
 */
static void sock_allow_fragments(int fd, int family)
{
    if (family == AF_INET)
        sock_set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
    else
        sock_set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
}

void sock_avoid_temporary(int fd, int family)
{
    if (family == AF_INET6)
        sock_set_option(fd, IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, IPV6_PREFER_SRC_PUBLIC);
}

int sock_udp_open(struct descriptor_reserve *reserve, int family, bool shared)
{
    int fd = sock_open_for_session(reserve, family, SOCK_DGRAM);
    if (fd < 0)
        return fd;
    if (family == AF_INET6)
        sock_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    sock_avoid_temporary(fd, family);
    sock_allow_fragments(fd, family);
    sock_set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCK_UDP_BUFFER);
    if (shared)
        sock_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return fd;
}

int sock_udp(struct descriptor_reserve *reserve, union netaddr *local, const struct port_range *range, uint64_t now_ms,
             struct port_lease *lease)
{
    int fd = sock_udp_open(reserve, local->sa.sa_family, false);
    int failed = fd < 0 ? 0 : ports_bind(range, fd, local, now_ms, lease);
    return failed ? sock_close_with(fd, -failed) : fd;
}

void sock_udp_join_nothing(int fd)
{
    sock_set_option(fd, IPPROTO_UDP, UDP_GRO, 0);
}

void sock_udp_probe(int fd, int family)
{
    if (family == AF_INET)
        sock_set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    else
        sock_set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

int sock_udp_bind(int fd, const union netaddr *local)
{
    return bind(fd, &local->sa, netaddr_len(local)) < 0 ? -errno : 0;
}

void sock_udp_set_room(int fd, int bytes)
{
    sock_set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

void sock_tcp_set_room(int fd, int bytes)
{
    sock_set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes);
}

int sock_udp_connect(int fd, const union netaddr *peer)
{
    return connect(fd, &peer->sa, netaddr_len(peer)) < 0 ? -errno : 0;
}

int sock_udp_disconnect(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    return connect(fd, &none, sizeof(none)) < 0 ? -errno : 0;
}

int sock_netlink(uint32_t groups)
{
    const struct sockaddr_nl wanted = {.nl_family = AF_NETLINK, .nl_groups = groups};
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    if (groups == 0 || bind(fd, (const struct sockaddr *)&wanted, sizeof(wanted)) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

int sock_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

union netaddr sock_local(int fd)
{
    union netaddr local = {0};
    socklen_t len = sizeof(local);
    if (getsockname(fd, &local.sa, &len) < 0)
        return (union netaddr){0};
    netaddr_unmap(&local);
    return local;
}

unsigned sock_interface(int fd)
{
    int index = 0;
    socklen_t len = sizeof(index);
    return getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, &len) == 0 && index > 0 ? (unsigned)index : 0;
}

size_t sock_memory(int fd)
{
    enum { SOCKET_ITSELF = 4096 }; /* with its inode, its file and its place in epoll */
    uint32_t parts[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(parts);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, parts, &len) < 0)
        return SOCKET_ITSELF;
    /* UDP counts what it has to send in the latter only, TCP in the former, and some of it twice. */
    size_t to_send = parts[SK_MEMINFO_WMEM_QUEUED] ? parts[SK_MEMINFO_WMEM_QUEUED] : parts[SK_MEMINFO_WMEM_ALLOC];
    return SOCKET_ITSELF + parts[SK_MEMINFO_RMEM_ALLOC] + to_send + parts[SK_MEMINFO_FWD_ALLOC] +
           parts[SK_MEMINFO_BACKLOG];
}

union netaddr sock_peer(int fd)
{
    union netaddr peer = {0};
    socklen_t len = sizeof(peer);
    if (getpeername(fd, &peer.sa, &len) < 0)
        return (union netaddr){0};
    netaddr_unmap(&peer);
    return peer;
}

enum { CLOSED = 7 }; /* netinet/tcp.h has it as TCP_CLOSE, but has no tcpi_notsent_bytes */

static struct tcp_info sock_tcp_info(int fd)
{
    struct tcp_info info = {.tcpi_state = CLOSED};
    socklen_t len = sizeof(info);
    (void)getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    return info;
}

bool sock_awaits_acknowledgment(int fd)
{
    const struct tcp_info info = sock_tcp_info(fd);
    return info.tcpi_state != CLOSED && (info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0);
}

/* TCP_USER_TIMEOUT is not for this: it also ends a reader that has paused for so long, and answers. */
bool sock_has_vanished(int fd)
{
    const struct tcp_info info = sock_tcp_info(fd);
    const bool owes = info.tcpi_retransmits > 0 || info.tcpi_probes > 0;
    return info.tcpi_state != CLOSED && owes && info.tcpi_last_ack_recv >= VANISHED_MS;
}

bool sock_is_lost(int fd)
{
    struct pollfd polled = {.fd = fd};
    return poll(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}

void sock_abort(int fd)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

union netaddr sock_source_for(const union netaddr *address, const struct sock_way *way)
{
    const int family = address->sa.sa_family;
    union netaddr to = *address, source = {0};
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return source;
    sock_avoid_temporary(fd, family);
    netaddr_set_port(&to, 9); /* any port: connecting a UDP socket sends nothing */
    bool able = !way || sock_set_egress(fd, family, &way->egress) == 0;
    if (able && way && way->from.sa.sa_family == family && !netaddr_is_any(&way->from)) {
        if (way->egress.from_network)
            ports_allow_network(fd, family);
        able = sock_udp_bind(fd, &way->from) == 0;
    }
    if (able && connect(fd, &to.sa, netaddr_len(&to)) == 0)
        source = sock_local(fd);
    close(fd);
    return source;
}

union netaddr sock_default_source(int family)
{
    /* That this address is nobody's does not matter. */
    union netaddr somewhere;
    netaddr_parse(&somewhere, family == AF_INET ? "192.0.2.1" : "2001:db8::1", 9);
    return sock_source_for(&somewhere, NULL);
}

bool sock_has_route(const union netaddr *address, const struct sock_way *way)
{
    return sock_source_for(address, way).sa.sa_family != AF_UNSPEC;
}
