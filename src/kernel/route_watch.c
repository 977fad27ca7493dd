#include "kernel/route_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "kernel"
#include "base/log.h"
#include "net/sock.h"

/* One turn of the event loop receives so many. */
#define MESSAGES_MAX 1000
/* If the kernel stops to report, a change is noticed this late. */
#define UNWATCHED_PERIOD_MS 1000

struct route_watch {
    void (*changed)(void *arg);
    void *arg;
    struct event news, later;
    int fd; /* -1: the kernel has stopped to report */
    uint64_t pause_until_ms;
};

/* ---- reports ---- */

static void watch_report_after(struct route_watch *watch, uint64_t ms)
{
    const struct timeval delay = timeval_from_ms(ms);
    event_add(&watch->later, &delay);
}

static void watch_report(struct route_watch *watch)
{
    watch->pause_until_ms = clock_ms() + ROUTE_WATCH_PAUSE_MS;
    watch->changed(watch->arg);
    if (watch->fd < 0)
        watch_report_after(watch, UNWATCHED_PERIOD_MS);
}

static void watch_on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    watch_report(arg);
}

/* ---- news ---- */

static void watch_stop(struct route_watch *watch, int error)
{
    log_warning("the kernel does not report changes of routes any more (netlink: %s): assuming one every %d s. Restart "
                "conesocks if UDP has become slow",
                strerror(error), UNWATCHED_PERIOD_MS / 1000);
    event_del(&watch->news);
    close(watch->fd);
    watch->fd = -1;
}

struct news {
    struct nlmsghdr header;
    struct ndmsg neighbor; /* if it is about one */
};

/* Of neighbors: only that an IPv6 router does not answer any more. The kernel then takes another one, if there is one,
 * without a change of routes. Of the rest it does not matter what has changed. */
static bool news_matter(const struct news *news, ssize_t len)
{
    if (len < (ssize_t)sizeof(*news) || news->header.nlmsg_type == RTM_DELNEIGH)
        return false;
    return news->header.nlmsg_type != RTM_NEWNEIGH ||
           (news->neighbor.ndm_state & NUD_FAILED && news->neighbor.ndm_flags & NTF_ROUTER);
}

/* ENOBUFS: there was more than the socket has room for. */
static bool watch_receive(struct route_watch *watch)
{
    bool any = false;
    for (int i = 0; i < MESSAGES_MAX; i++) {
        struct news news;
        const ssize_t len = recv(watch->fd, &news, sizeof(news), MSG_DONTWAIT | MSG_TRUNC);
        if (len >= 0 || errno == ENOBUFS) {
            any = any || len < 0 || news_matter(&news, len);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            watch_stop(watch, errno);
            return true;
        }
    }
    return any;
}

static void watch_on_news(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct route_watch *watch = arg;
    const uint64_t now = clock_ms();
    if (!watch_receive(watch) || event_pending(&watch->later, EV_TIMEOUT, NULL))
        return;
    if (now >= watch->pause_until_ms)
        watch_report(watch);
    else
        watch_report_after(watch, watch->pause_until_ms - now);
}

/* ---- life ---- */

#define BIT(group) (1U << (RTNLGRP_##group - 1))
#define NEWS                                                                                                           \
    (BIT(LINK) | BIT(IPV4_IFADDR) | BIT(IPV6_IFADDR) | BIT(IPV4_ROUTE) | BIT(IPV6_ROUTE) | BIT(IPV4_RULE) |            \
     BIT(IPV6_RULE) | BIT(NEXTHOP) | BIT(NEIGH))

struct route_watch *route_watch_new(struct event_base *base, void (*changed)(void *arg), void *arg)
{
    struct route_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->changed = changed;
    watch->arg = arg;
    watch->fd = sock_netlink(NEWS);
    if (watch->fd < 0) {
        errno = -watch->fd;
        free(watch);
        return NULL;
    }
    evtimer_assign(&watch->later, base, watch_on_later, watch);
    event_assign(&watch->news, base, watch->fd, EV_READ | EV_PERSIST, watch_on_news, watch);
    if (event_add(&watch->news, NULL) == 0)
        return watch;
    route_watch_free(watch);
    errno = ENOMEM;
    return NULL;
}

void route_watch_free(struct route_watch *watch)
{
    if (!watch)
        return;
    event_del(&watch->later);
    if (watch->fd >= 0) {
        event_del(&watch->news);
        close(watch->fd);
    }
    free(watch);
}
