#include "kernel/route.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

#include "net/ports.h"
#include "net/sock.h"

#define ANSWER_MAX 4096

int routes_open(struct routes *routes)
{
    routes->sequence = 0;
    routes->netlink = sock_netlink(0);
    return routes->netlink < 0 ? routes->netlink : 0;
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
    ports_allow_network(fd, family); /* the other socket has the address already */
    const bool found = (netaddr_is_any(&from) || bind(fd, &from.sa, netaddr_len(&from)) == 0) &&
                       connect(fd, &peer->sa, netaddr_len(peer)) == 0 && socket_mtu(fd, family, &route->mtu);
    route->local = found ? sock_local(fd) : (union netaddr){0};
    netaddr_set_port(&route->local, netaddr_port(local));
    close(fd);
    return route->local.sa.sa_family == family;
}

/* ---- interface and next hop: netlink tells ---- */

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

/* What the program would not do: several interfaces, encapsulation, a gateway of the other family. */
static bool route_is_special(unsigned short type)
{
    return type == RTA_MULTIPATH || type == RTA_ENCAP_TYPE || type == RTA_VIA;
}

/* false: none that the kernel path can take. */
static bool route_read(const uint8_t *body, size_t len, struct kernel_route *route)
{
    struct rtmsg message;
    struct rtattr attribute;
    if (len < sizeof(message))
        return false;
    memcpy(&message, body, sizeof(message));
    if (message.rtm_type != RTN_UNICAST)
        return false;
    const size_t host_len = message.rtm_family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    for (size_t at = NLMSG_ALIGN(sizeof(message)); at + sizeof(attribute) <= len;) {
        memcpy(&attribute, body + at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > len - at ||
            route_is_special(attribute.rta_type))
            return false;
        const uint8_t *const value = body + at + RTA_LENGTH(0);
        if (attribute.rta_type == RTA_OIF && attribute.rta_len == RTA_LENGTH(sizeof(route->interface)))
            memcpy(&route->interface, value, sizeof(route->interface));
        else if (attribute.rta_type == RTA_GATEWAY && attribute.rta_len == RTA_LENGTH(host_len))
            route->next_hop = netaddr_from_bytes(value, host_len, 0);
        at += RTA_ALIGN(attribute.rta_len);
    }
    return true;
}

bool route_parse(const uint8_t *answer, size_t len, uint32_t sequence, struct kernel_route *route)
{
    struct nlmsghdr header;
    route->interface = 0;
    if (len < sizeof(header))
        return false;
    memcpy(&header, answer, sizeof(header));
    if (header.nlmsg_seq != sequence)
        return false;
    if (header.nlmsg_type == RTM_NEWROUTE && header.nlmsg_len >= NLMSG_HDRLEN && header.nlmsg_len <= len)
        if (!route_read(answer + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN, route))
            route->interface = 0;
    return true;
}

/* The kernel has answered before send() returns. What another question has left behind is passed over. */
static bool route_hear(const struct routes *routes, struct kernel_route *route)
{
    uint8_t answer[ANSWER_MAX];
    ssize_t len;
    do
        len = recv(routes->netlink, answer, sizeof(answer), 0);
    while (len >= 0 && !route_parse(answer, (size_t)len, routes->sequence, route));
    return len >= 0 && route->interface != 0;
}

/* ---- both ---- */

bool routes_find(struct routes *routes, const union netaddr *local, const union netaddr *peer,
                 struct kernel_route *route)
{
    const int family = peer->sa.sa_family;
    if (local->sa.sa_family != family || (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&peer->v6.sin6_addr)))
        return false;
    route->next_hop = *peer;
    return route_probe(local, peer, route) && route_ask(routes, &route->local, peer) && route_hear(routes, route);
}
