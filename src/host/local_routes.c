#include "host/local_routes.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel fills what it is given, up to this much. */
#define ANSWER_MAX 32768

/* Asks for one table: without the strict check the kernel would ignore that and send all, a million on some routers. */
static int netlink_open(void)
{
    const int yes = 1;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &yes, sizeof(yes)) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool routes_request(int fd, int family)
{
    const struct {
        struct nlmsghdr header;
        struct rtmsg route;
    } question = {
        .header = {.nlmsg_len = sizeof(question),
                   .nlmsg_type = RTM_GETROUTE,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .route = {.rtm_family = (unsigned char)family, .rtm_table = RT_TABLE_LOCAL},
    };
    return send(fd, &question, sizeof(question), 0) == (ssize_t)sizeof(question);
}

/* Adds a route, if it leads to this host. Attributes are at multiples of four, not always at whole structures. */
static bool route_add(struct own_networks *networks, const uint8_t *message, size_t len)
{
    struct rtmsg route;
    struct rtattr attribute;
    if (len < sizeof(route))
        return true;
    memcpy(&route, message, sizeof(route));
    size_t host_len = route.rtm_family == AF_INET ? 4 : 16;
    bool ours = route.rtm_type == RTN_LOCAL || route.rtm_type == RTN_ANYCAST;
    if (!ours || route.rtm_table != RT_TABLE_LOCAL || route.rtm_dst_len > 8 * host_len)
        return true;
    for (size_t at = NLMSG_ALIGN(sizeof(route)); at + sizeof(attribute) <= len;) {
        memcpy(&attribute, message + at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > len - at)
            return true;
        if (attribute.rta_type == RTA_DST && attribute.rta_len == sizeof(attribute) + host_len) {
            const union netaddr address = netaddr_from_bytes(message + at + sizeof(attribute), host_len, 0);
            return own_networks_add(networks, &address, route.rtm_dst_len);
        }
        at += RTA_ALIGN(attribute.rta_len);
    }
    return true;
}

enum progress { MORE, DONE, FAILED };

static enum progress answer_add_routes(struct own_networks *networks, const uint8_t *answer, size_t len)
{
    struct nlmsghdr header;
    for (size_t at = 0; at + sizeof(header) <= len; at += NLMSG_ALIGN(header.nlmsg_len)) {
        memcpy(&header, answer + at, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len - at)
            return FAILED;
        if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) /* a family that is off */
            return DONE;
        if (header.nlmsg_type == RTM_NEWROUTE &&
            !route_add(networks, answer + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN))
            return FAILED;
    }
    return MORE;
}

static bool routes_read_family(struct own_networks *networks, int fd, int family, uint8_t *answer)
{
    enum progress progress = routes_request(fd, family) ? MORE : FAILED;
    while (progress == MORE) {
        ssize_t len = recv(fd, answer, ANSWER_MAX, MSG_TRUNC);
        if (len < 0 && errno == EINTR)
            continue;
        progress = len < 0 || len > ANSWER_MAX ? FAILED : answer_add_routes(networks, answer, (size_t)len);
    }
    return progress == DONE;
}

bool local_routes_read(struct own_networks *networks)
{
    int fd = netlink_open();
    if (fd < 0)
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
    uint8_t *answer = malloc(ANSWER_MAX);
    bool read = answer && routes_read_family(networks, fd, AF_INET, answer) &&
                routes_read_family(networks, fd, AF_INET6, answer);
    free(answer);
    close(fd);
    return read;
}
