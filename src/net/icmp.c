#include "net/icmp.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <linux/errqueue.h> /* wants struct timespec */

/* Of one event: a flood of errors must not keep datagrams waiting. */
#define TAKE_MAX 64

void icmp_keep(int fd, int family)
{
    const int on = 1;
    if (family == AF_INET)
        (void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
    else
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
}

static enum icmp_kind icmp_kind_of_v4(const struct sock_extended_err *error)
{
    switch (error->ee_type) {
    case ICMP_DEST_UNREACH:
        return error->ee_code == ICMP_PORT_UNREACH  ? ICMP_PORT_UNREACHABLE
               : error->ee_code == ICMP_FRAG_NEEDED ? ICMP_TOO_BIG
                                                    : ICMP_UNREACHABLE;
    case ICMP_TIME_EXCEEDED:
        return ICMP_TTL;
    default:
        return ICMP_KIND_COUNT;
    }
}

static enum icmp_kind icmp_kind_of_v6(const struct sock_extended_err *error)
{
    switch (error->ee_type) {
    case ICMP6_DST_UNREACH:
        return error->ee_code == ICMP6_DST_UNREACH_NOPORT ? ICMP_PORT_UNREACHABLE : ICMP_UNREACHABLE;
    case ICMP6_PACKET_TOO_BIG:
        return ICMP_TOO_BIG;
    case ICMP6_TIME_EXCEEDED:
        return ICMP_TTL;
    default:
        return ICMP_KIND_COUNT;
    }
}

/* ICMP_KIND_COUNT: another error, as one of this host's own. */
static enum icmp_kind icmp_kind_of(struct msghdr *message)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        bool v4 = control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_RECVERR;
        bool v6 = control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_RECVERR;
        struct sock_extended_err error;
        if (!v4 && !v6)
            continue;
        memcpy(&error, CMSG_DATA(control), sizeof(error));
        if (error.ee_origin == SO_EE_ORIGIN_ICMP)
            return icmp_kind_of_v4(&error);
        if (error.ee_origin == SO_EE_ORIGIN_ICMP6)
            return icmp_kind_of_v6(&error);
    }
    return ICMP_KIND_COUNT;
}

void icmp_take(int fd, uint32_t counts[ICMP_KIND_COUNT])
{
    for (int i = 0; i < TAKE_MAX; i++) {
        _Alignas(struct cmsghdr) char controls[256];
        struct msghdr message = {.msg_control = controls, .msg_controllen = sizeof(controls)};
        if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
        enum icmp_kind kind = icmp_kind_of(&message);
        if (kind < ICMP_KIND_COUNT)
            counts[kind]++;
    }
}
