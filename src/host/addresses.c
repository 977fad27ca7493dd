#include "host/addresses.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "host"
#include "base/log.h"
#include "host/local_routes.h"
#include "net/sock.h"

/* Changes that come together are read together. A read of ten thousand takes about 5 ms: with a pause of 20 times as
 * much, addresses that come and go all the time cost 5 % of a core. */
#define PAUSE_MIN_MS   50
#define PAUSE_MAX_MS   1000
#define PAUSE_PER_READ 20
/* The kernel does not report everything, such as a local route that went with its interface: so read also without news.
 */
#define WATCHED_PERIOD_MS   60000
#define UNWATCHED_PERIOD_MS 2000
#define NEWS_MAX            32768

struct addresses {
    struct own_hosts *hosts;
    void (*changed)(void *arg, struct own_hosts *hosts);
    void *arg;
    struct event news, again;
    int fd;      /* where the kernel reports changes; -1: it does not */
    bool failed; /* the last read */
    uint64_t pause_until_ms;
};

/* ---- reading ---- */

static bool interfaces_read(struct own_networks *networks)
{
    struct ifaddrs *list;
    bool done = true;
    if (getifaddrs(&list) < 0)
        return false;
    for (const struct ifaddrs *each = list; each && done; each = each->ifa_next) {
        union netaddr address = {0};
        int family = each->ifa_addr ? each->ifa_addr->sa_family : AF_UNSPEC;
        if (family != AF_INET && family != AF_INET6)
            continue;
        memcpy(&address, each->ifa_addr, family == AF_INET ? sizeof(address.v4) : sizeof(address.v6));
        done = own_networks_add_host(networks, &address);
    }
    freeifaddrs(list);
    return done;
}

struct own_hosts *addresses_read(void)
{
    struct own_networks networks = {0};
    bool done = interfaces_read(&networks) && local_routes_read(&networks);
    struct own_hosts *hosts = done ? own_hosts_new(&networks) : NULL;
    free(networks.list);
    return hosts;
}

static void addresses_read_after(struct addresses *addresses, uint64_t ms)
{
    const struct timeval delay = timeval_from_ms(ms);
    event_add(&addresses->again, &delay);
}

static void addresses_replace(struct addresses *addresses, struct own_hosts *hosts)
{
    if (!hosts) {
        if (!addresses->failed)
            log_warning("keeping the previous addresses of this host: cannot read them (%s); trying again every second",
                        strerror(errno));
        addresses->failed = true;
        return;
    }
    assert(hosts != addresses->hosts);
    if (addresses->failed)
        log_info("reading the addresses of this host works again");
    addresses->failed = false;
    own_hosts_release(addresses->hosts);
    addresses->hosts = hosts;
    addresses->changed(addresses->arg, hosts);
}

static void addresses_read_again(struct addresses *addresses)
{
    const uint64_t begun = clock_ms();
    addresses_replace(addresses, addresses_read());
    const uint64_t done = clock_ms(), pause = (done - begun) * PAUSE_PER_READ;
    addresses->pause_until_ms = done + (pause < PAUSE_MIN_MS   ? PAUSE_MIN_MS
                                        : pause > PAUSE_MAX_MS ? PAUSE_MAX_MS
                                                               : pause);
    addresses_read_after(addresses, addresses->failed   ? 1000
                                    : addresses->fd < 0 ? UNWATCHED_PERIOD_MS
                                                        : WATCHED_PERIOD_MS);
}

static void addresses_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    addresses_read_again(arg);
}

/* ---- news ---- */

static bool message_is_about_us(const struct nlmsghdr *header, const uint8_t *body, size_t len)
{
    struct rtmsg route;
    switch (header->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return true;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: /* a router has many that are not */
        if (len < sizeof(route))
            return true;
        memcpy(&route, body, sizeof(route));
        return route.rtm_table == RT_TABLE_LOCAL;
    default:
        return false;
    }
}

static bool news_are_about_us(const uint8_t *news, size_t len)
{
    struct nlmsghdr header;
    for (size_t at = 0; at + sizeof(header) <= len; at += NLMSG_ALIGN(header.nlmsg_len)) {
        memcpy(&header, news + at, sizeof(header));
        if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len - at)
            return true;
        if (message_is_about_us(&header, news + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN))
            return true;
    }
    return false;
}

static void addresses_stop_watching(struct addresses *addresses, int error)
{
    log_warning("reading this host's addresses every %d s: the kernel does not announce changes (netlink: %s). Until "
                "the next read, clients may reach a new address of this host",
                UNWATCHED_PERIOD_MS / 1000, strerror(error));
    if (addresses->fd >= 0) {
        event_del(&addresses->news);
        close(addresses->fd);
    }
    addresses->fd = -1;
}

/* Receives all that waits. Whether some of it is about this host, or more came than there was room for. */
static bool addresses_receive_news(struct addresses *addresses)
{
    static const int MESSAGES_MAX = 1000;
    uint8_t news[NEWS_MAX];
    bool ours = false;
    for (int i = 0; i < MESSAGES_MAX; i++) {
        const ssize_t len = recv(addresses->fd, news, sizeof(news), MSG_DONTWAIT | MSG_TRUNC);
        if (len >= 0) {
            ours |= (size_t)len > sizeof(news) || news_are_about_us(news, (size_t)len);
        } else if (errno == ENOBUFS) {
            ours = true;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            addresses_stop_watching(addresses, errno);
            return true; /* a change may have been missed, and the next read sets the shorter period */
        }
    }
    return ours;
}

static void addresses_on_news(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct addresses *addresses = arg;
    if (!addresses_receive_news(addresses))
        return;
    const uint64_t now = clock_ms();
    if (now >= addresses->pause_until_ms)
        addresses_read_again(addresses);
    else
        addresses_read_after(addresses, addresses->pause_until_ms - now);
}

/* ---- life ---- */

#define NEWS (RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)

struct addresses *addresses_new(struct event_base *base, void (*changed)(void *arg, struct own_hosts *hosts), void *arg)
{
    struct addresses *addresses = calloc(1, sizeof(*addresses));
    if (!addresses)
        return NULL;
    assert(base && changed);
    addresses->changed = changed;
    addresses->arg = arg;
    evtimer_assign(&addresses->again, base, addresses_on_timer, addresses);
    const int fd = addresses->fd = sock_netlink(NEWS); /* before they are read, so no change is missed */
    if (fd >= 0)
        event_assign(&addresses->news, base, fd, EV_READ | EV_PERSIST, addresses_on_news, addresses);
    if (fd < 0 || event_add(&addresses->news, NULL) < 0)
        addresses_stop_watching(addresses, fd < 0 ? -fd : ENOMEM);
    addresses->hosts = addresses_read();
    if (!addresses->hosts) {
        const int error = errno;
        addresses_free(addresses);
        errno = error;
        return NULL;
    }
    addresses_read_after(addresses, addresses->fd < 0 ? UNWATCHED_PERIOD_MS : WATCHED_PERIOD_MS);
    return addresses;
}

void addresses_free(struct addresses *addresses)
{
    if (!addresses)
        return;
    event_del(&addresses->again);
    if (addresses->fd >= 0) {
        event_del(&addresses->news);
        close(addresses->fd);
    }
    own_hosts_release(addresses->hosts);
    free(addresses);
}

struct own_hosts *addresses_hosts(const struct addresses *addresses)
{
    return addresses->hosts;
}
