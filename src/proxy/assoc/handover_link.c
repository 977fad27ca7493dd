#include "proxy/assoc/handover_link.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/assoc/shared_port.h"
#include "proxy/env.h"

/* One event's share. */
#define HEAR_MAX 32

/* A run on its way; its bytes follow. With a descriptor beside it: no run, and count 0. Both ends are on one machine,
 * and of one version. */
struct passed {
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

static atomic_int elder = -1, younger = -1;

void handover_link_set_elder(int fd)
{
    atomic_store(&elder, fd);
}

void handover_link_set_younger(int fd)
{
    atomic_store(&younger, fd);
}

bool handover_link_has_elder(void)
{
    return atomic_load_explicit(&elder, memory_order_relaxed) >= 0;
}

/* ---- sending ---- */

bool handover_link_pass(const union netaddr *relay, const struct dgram_run *run)
{
    int fd = atomic_load_explicit(&elder, memory_order_relaxed);
    if (fd < 0)
        return false;
    struct passed passed = {
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

bool handover_link_give(int given)
{
    int fd = atomic_load(&younger);
    if (fd < 0)
        return false;
    struct passed nothing = {0};
    struct iovec part = {&nothing, sizeof(nothing)};
    union control control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &given, sizeof(given));
    const struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

/* ---- receiving ---- */

static bool is_whole(const struct passed *passed, size_t len)
{
    return passed->count > 0 && (passed->count == 1 || passed->stride >= passed->seg) && passed->last <= passed->seg &&
           (size_t)passed->stride * (passed->count - 1U) + passed->last == len;
}

static void take_run(struct handover_link *kin, const struct passed *passed, size_t len)
{
    const struct dgram_run run = {
        .peer = passed->peer,
        .data = kin->bytes,
        .count = passed->count,
        .seg = passed->seg,
        .last = passed->last,
        .stride = passed->stride,
        .tos = passed->tos,
    };
    if (is_whole(passed, len))
        shared_port_route(kin->env, &passed->relay, &run);
}

static void forget_descriptor(const int fd)
{
    int expected = fd;
    atomic_compare_exchange_strong(&elder, &expected, -1);
    expected = fd;
    atomic_compare_exchange_strong(&younger, &expected, -1);
}

/* The other process has ended. The descriptor stays open: other threads may be about to send by it. */
static void forget(struct handover_link *kin)
{
    forget_descriptor(kin->fd);
    event_del(&kin->readable);
}

/* false: nothing waits. */
static bool hear_one(struct handover_link *kin)
{
    struct passed passed;
    union control control;
    int given;
    struct iovec parts[] = {{&passed, sizeof(passed)}, {kin->bytes, sizeof(kin->bytes)}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(kin->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len == 0)
        forget(kin);
    if (len <= 0)
        return false;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_type == SCM_RIGHTS) {
        memcpy(&given, CMSG_DATA(rights), sizeof(given));
        shared_port_adopt(kin->env, given);
    } else if ((size_t)len >= sizeof(passed)) {
        take_run(kin, &passed, (size_t)len - sizeof(passed));
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    for (int i = 0; i < HEAR_MAX && hear_one(arg); i++)
        ;
}

/* ---- life ---- */

void handover_link_give_up(int fd)
{
    forget_descriptor(fd);
    (void)shutdown(fd, SHUT_RDWR);
}

struct handover_link *handover_link_new(struct env *env, int fd)
{
    struct handover_link *kin = malloc(sizeof(*kin));
    if (kin) {
        kin->env = env;
        kin->fd = fd;
        event_assign(&kin->readable, env->base, fd, EV_READ | EV_PERSIST, on_readable, kin);
        if (event_add(&kin->readable, NULL) == 0)
            return kin;
    }
    free(kin);
    handover_link_give_up(fd);
    return NULL;
}

void handover_link_free(struct handover_link *kin)
{
    if (!kin)
        return;
    forget(kin);
    close(kin->fd);
    free(kin);
}
