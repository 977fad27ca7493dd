#include "conf/local_network.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <unistd.h>

struct route_question {
    struct nlmsghdr header;
    struct rtmsg route;
    struct rtattr attribute;
    uint8_t host[16];
};

static bool local_route_ask(int fd, const union netaddr *address)
{
    struct route_question question = {
        .header = {.nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST},
        .route = {.rtm_family = (unsigned char)address->sa.sa_family},
        .attribute = {.rta_type = RTA_DST},
    };
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    memcpy(question.host, host, len);
    question.route.rtm_dst_len = (unsigned char)(8 * len);
    question.attribute.rta_len = (unsigned short)RTA_LENGTH(len);
    question.header.nlmsg_len = (uint32_t)(sizeof(question) - sizeof(question.host) + len);
    return send(fd, &question, question.header.nlmsg_len, 0) == (ssize_t)question.header.nlmsg_len;
}

/* The type of the route to an address (RTN_LOCAL and so on); RTN_UNREACHABLE: there is none; RTN_UNSPEC: unknown. */
static int local_route_type(const union netaddr *address)
{
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
        uint8_t attributes[1024];
    } answer;
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    const ssize_t len = fd >= 0 && local_route_ask(fd, address) ? recv(fd, &answer, sizeof(answer), 0) : -1;
    if (fd >= 0)
        close(fd);
    if (len >= (ssize_t)(sizeof(answer.header) + sizeof(answer.route)) && answer.header.nlmsg_type == RTM_NEWROUTE)
        return answer.route.rtm_type;
    return len >= (ssize_t)sizeof(answer.header) && answer.header.nlmsg_type == NLMSG_ERROR ? RTN_UNREACHABLE
                                                                                            : RTN_UNSPEC;
}

/* The address of the network whose host bits are all ones, or 1. */
static union netaddr network_edge(const struct config_network *network, bool last)
{
    uint8_t host[16];
    size_t len;
    const uint8_t *first = netaddr_host(&network->address, &len);
    memcpy(host, first, len);
    for (size_t bit = network->bits; last && bit < 8 * len; bit++)
        host[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    host[len - 1] |= 1;
    return netaddr_from_bytes(host, len, 0);
}

bool local_network_is(const struct config_network *network)
{
    bool is_local = true;
    for (int i = 0; i < 2 && is_local; i++) {
        const union netaddr address = network_edge(network, i == 1);
        const int type = local_route_type(&address);
        is_local = type == RTN_LOCAL || type == RTN_UNSPEC;
    }
    return is_local;
}
