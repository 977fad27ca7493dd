#include "net/acceptor.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>

static const struct timeval acceptor_rest_time = {.tv_usec = 250 * 1000};

static void acceptor_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct acceptor *acceptor = arg;
    acceptor->ready(acceptor->arg);
}

static void acceptor_on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct acceptor *acceptor = arg;
    event_add(&acceptor->acceptable, NULL);
    acceptor->ready(acceptor->arg);
}

void acceptor_init(struct acceptor *acceptor, struct event_base *base, int fd, void (*ready)(void *arg), void *arg)
{
    assert(fd >= 0 && ready);
    *acceptor = (struct acceptor){.ready = ready, .arg = arg};
    event_assign(&acceptor->acceptable, base, fd, EV_READ | EV_PERSIST, acceptor_on_acceptable, acceptor);
    event_assign(&acceptor->rested, base, -1, 0, acceptor_on_rested, acceptor);
}

bool acceptor_start(struct acceptor *acceptor)
{
    return event_add(&acceptor->acceptable, NULL) == 0;
}

bool acceptor_is_short(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void acceptor_rest(struct acceptor *acceptor)
{
    event_del(&acceptor->acceptable);
    event_add(&acceptor->rested, &acceptor_rest_time);
}

void acceptor_stop(struct acceptor *acceptor)
{
    event_del(&acceptor->acceptable);
    event_del(&acceptor->rested);
}
