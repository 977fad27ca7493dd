#include "proxy/assoc/handover_link.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/assoc/shared_socket.h"
#include "proxy/env.h"

/* One event's share. */
#define LINK_RECEIVE_MAX 32

/* The head of a message: a run on its way, whose bytes follow. Beside a descriptor it is empty. Both ends are on one
 * machine and of one version. */
struct passed_run {
    union netaddr relay, peer;
    uint16_t count, seg, last, stride;
    uint8_t tos;
};

struct handover_link {
    struct event readable;
    struct env *env;
    int fd;
    uint8_t bytes[UINT16_MAX + 1];
};

void handover_link_set_previous(struct host *host, int fd)
{
    assert(fd >= -1);
    atomic_store(&host->handover.previous, fd);
}

void handover_link_set_next(struct host *host, int fd)
{
    assert(fd >= -1);
    atomic_store(&host->handover.next, fd);
}

bool handover_link_has_previous(const struct host *host)
{
    return atomic_load_explicit(&host->handover.previous, memory_order_relaxed) >= 0;
}

/* ---- sending ---- */

bool handover_link_pass_run(const struct host *host, const union netaddr *relay, const struct dgram_run *run)
{
    const int fd = atomic_load_explicit(&host->handover.previous, memory_order_relaxed);
    if (fd < 0)
        return false;
    assert(run->count > 0);
    struct passed_run passed = {
        .relay = *relay,
        .peer = run->peer,
        .count = run->count,
        .seg = run->seg,
        .last = run->last,
        .stride = run->stride,
        .tos = run->tos,
    };
    struct iovec parts[] = {
        {&passed, sizeof(passed)},
        {(void *)(uintptr_t)run->data, (size_t)run->stride * (run->count - 1U) + run->last},
    };
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

/* Room for one descriptor. */
union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

bool handover_link_give_socket(const struct host *host, int given)
{
    const int fd = atomic_load(&host->handover.next);
    if (fd < 0)
        return false;
    struct passed_run nothing = {0};
    struct iovec part = {&nothing, sizeof(nothing)};
    union control control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &given, sizeof(given));
    const struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

/* ---- receiving ---- */

static bool passed_run_is_whole(const struct passed_run *passed, size_t len)
{
    return passed->count > 0 && (passed->count == 1 || passed->stride >= passed->seg) && passed->last <= passed->seg &&
           (size_t)passed->stride * (passed->count - 1U) + passed->last == len;
}

static void link_take_run(struct handover_link *link, const struct passed_run *passed, size_t len)
{
    const struct dgram_run run = {
        .peer = passed->peer,
        .data = link->bytes,
        .count = passed->count,
        .seg = passed->seg,
        .last = passed->last,
        .stride = passed->stride,
        .tos = passed->tos,
    };
    if (passed_run_is_whole(passed, len))
        shared_socket_route(link->env, &passed->relay, &run);
}

static void host_forget_link(struct host *host, int fd)
{
    int expected = fd;
    atomic_compare_exchange_strong(&host->handover.previous, &expected, -1);
    expected = fd;
    atomic_compare_exchange_strong(&host->handover.next, &expected, -1);
}

/* The other process has ended. The descriptor stays open: other threads may be about to send by it. */
static void link_forget(struct handover_link *link)
{
    host_forget_link(link->env->host, link->fd);
    event_del(&link->readable);
}

/* false: nothing waits there. */
static bool link_receive(struct handover_link *link)
{
    struct passed_run passed;
    union control control;
    int given;
    struct iovec parts[] = {{&passed, sizeof(passed)}, {link->bytes, sizeof(link->bytes)}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(link->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len == 0)
        link_forget(link);
    if (len <= 0)
        return false;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_type == SCM_RIGHTS) {
        memcpy(&given, CMSG_DATA(rights), sizeof(given));
        shared_socket_adopt(link->env, given);
    } else if ((size_t)len >= sizeof(passed)) {
        link_take_run(link, &passed, (size_t)len - sizeof(passed));
    }
    return true;
}

static void link_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    for (int i = 0; i < LINK_RECEIVE_MAX && link_receive(arg); i++)
        ;
}

/* ---- life ---- */

void handover_link_give_up(struct host *host, int fd)
{
    assert(fd >= 0);
    host_forget_link(host, fd);
    (void)shutdown(fd, SHUT_RDWR);
}

struct handover_link *handover_link_new(struct env *env, int fd)
{
    struct handover_link *link = malloc(sizeof(*link));
    if (link) {
        link->env = env;
        link->fd = fd;
        event_assign(&link->readable, env->base, fd, EV_READ | EV_PERSIST, link_on_readable, link);
        if (event_add(&link->readable, NULL) == 0)
            return link;
    }
    free(link);
    handover_link_give_up(env->host, fd);
    return NULL;
}

void handover_link_free(struct handover_link *link)
{
    if (!link)
        return;
    link_forget(link);
    close(link->fd);
    free(link);
}
