#include "kernel/route.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

#include "net/sock.h"

#define ANSWER_MAX 4096

int routes_open(struct routes *routes)
{
    routes->sequence = 0;
    routes->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    return routes->netlink < 0 ? -errno : 0;
}

void routes_close(struct routes *routes)
{
    if (routes->netlink >= 0)
        close(routes->netlink);
    routes->netlink = -1;
}

/* ---- source address and MTU: a socket tells ---- */

static bool socket_mtu(int fd, int family, uint32_t *mtu)
{
    int value = 0;
    socklen_t len = sizeof(value);
    const bool told = family == AF_INET ? getsockopt(fd, IPPROTO_IP, IP_MTU, &value, &len) == 0
                                        : getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &value, &len) == 0;
    *mtu = (uint32_t)value;
    return told && value > 0;
}

/* A socket like the one that sends: what the kernel chooses depends on that one's address and options. */
static bool route_probe(const union netaddr *local, const union netaddr *peer, struct kernel_route *route)
{
    const int family = peer->sa.sa_family;
    union netaddr from = *local;
    netaddr_set_port(&from, 0); /* the socket's own is in use */
    const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    sock_avoid_temporary(fd, family);
    const bool found = (netaddr_is_any(&from) || bind(fd, &from.sa, netaddr_len(&from)) == 0) &&
                       connect(fd, &peer->sa, netaddr_len(peer)) == 0 && socket_mtu(fd, family, &route->mtu);
    route->local = found ? sock_local(fd) : (union netaddr){0};
    netaddr_set_port(&route->local, netaddr_port(local));
    close(fd);
    return route->local.sa.sa_family == family;
}

/* ---- the interface: netlink tells ---- */

struct question {
    struct nlmsghdr header;
    struct rtmsg route;
    uint8_t attributes[128];
};

static void question_add(struct question *question, unsigned short type, const void *value, size_t len)
{
    const struct rtattr attribute = {.rta_type = type, .rta_len = (unsigned short)RTA_LENGTH(len)};
    uint8_t *const at = (uint8_t *)question + question->header.nlmsg_len;
    assert(question->header.nlmsg_len + RTA_SPACE(len) <= sizeof(*question));
    memcpy(at, &attribute, sizeof(attribute));
    memcpy(at + RTA_LENGTH(0), value, len);
    question->header.nlmsg_len += (uint32_t)RTA_SPACE(len);
}

/* With ports, because they may decide which of several paths it takes. */
static bool route_ask(struct routes *routes, const union netaddr *local, const union netaddr *peer)
{
    size_t len;
    const uint8_t *const to = netaddr_host(peer, &len), *const from = netaddr_host(local, &len);
    const uint16_t from_port = htons(netaddr_port(local)), to_port = htons(netaddr_port(peer));
    const uint8_t bits = (uint8_t)(8 * len), protocol = IPPROTO_UDP;
    struct question question = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
                   .nlmsg_type = RTM_GETROUTE,
                   .nlmsg_flags = NLM_F_REQUEST,
                   .nlmsg_seq = ++routes->sequence},
        .route = {.rtm_family = (uint8_t)peer->sa.sa_family, .rtm_dst_len = bits, .rtm_src_len = bits},
    };
    question_add(&question, RTA_DST, to, len);
    question_add(&question, RTA_SRC, from, len);
    question_add(&question, RTA_IP_PROTO, &protocol, sizeof(protocol));
    question_add(&question, RTA_SPORT, &from_port, sizeof(from_port));
    question_add(&question, RTA_DPORT, &to_port, sizeof(to_port));
    return send(routes->netlink, &question, question.header.nlmsg_len, 0) == (ssize_t)question.header.nlmsg_len;
}

/* 0: by several interfaces, or encapsulated, which the program would not do. */
static uint32_t route_interface(const uint8_t *body, size_t len)
{
    struct rtmsg route;
    struct rtattr attribute;
    uint32_t interface = 0;
    if (len < sizeof(route))
        return 0;
    memcpy(&route, body, sizeof(route));
    if (route.rtm_type != RTN_UNICAST)
        return 0;
    for (size_t at = NLMSG_ALIGN(sizeof(route)); at + sizeof(attribute) <= len;) {
        memcpy(&attribute, body + at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > len - at ||
            attribute.rta_type == RTA_MULTIPATH || attribute.rta_type == RTA_ENCAP_TYPE)
            return 0;
        if (attribute.rta_type == RTA_OIF && attribute.rta_len == RTA_LENGTH(sizeof(interface)))
            memcpy(&interface, body + at + RTA_LENGTH(0), sizeof(interface));
        at += RTA_ALIGN(attribute.rta_len);
    }
    return interface;
}

bool route_parse(const uint8_t *answer, size_t len, uint32_t sequence, uint32_t *interface)
{
    struct nlmsghdr header;
    *interface = 0;
    if (len < sizeof(header))
        return false;
    memcpy(&header, answer, sizeof(header));
    if (header.nlmsg_seq != sequence)
        return false;
    if (header.nlmsg_type == RTM_NEWROUTE && header.nlmsg_len >= NLMSG_HDRLEN && header.nlmsg_len <= len)
        *interface = route_interface(answer + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
    return true;
}

/* The kernel has answered before send() returns. What another question has left behind is passed over. */
static uint32_t route_hear(const struct routes *routes)
{
    uint8_t answer[ANSWER_MAX];
    uint32_t interface;
    ssize_t len;
    do
        len = recv(routes->netlink, answer, sizeof(answer), 0);
    while (len >= 0 && !route_parse(answer, (size_t)len, routes->sequence, &interface));
    return len < 0 ? 0 : interface;
}

/* ---- both ---- */

bool routes_find(struct routes *routes, const union netaddr *local, const union netaddr *peer,
                 struct kernel_route *route)
{
    const int family = peer->sa.sa_family;
    if (local->sa.sa_family != family || (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&peer->v6.sin6_addr)))
        return false;
    if (!route_probe(local, peer, route) || !route_ask(routes, &route->local, peer))
        return false;
    route->interface = route_hear(routes);
    return route->interface != 0;
}
