#include "net/ticker.h"

#include <assert.h>
#include <event2/event.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void ticker_on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    const struct ticker *ticker = arg;
    uint64_t times;
    if (read(fd, &times, sizeof(times)) == sizeof(times)) /* however many */
        ticker->tick(ticker->arg);
}

bool ticker_start(struct ticker *ticker, struct event_base *base, int seconds, void (*tick)(void *arg), void *arg)
{
    assert(!ticker->runs && seconds > 0);
    const struct itimerspec every = {.it_interval = {.tv_sec = seconds}, .it_value = {.tv_sec = seconds}};
    const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0)
        return false;
    ticker->tick = tick;
    ticker->arg = arg;
    event_assign(&ticker->event, base, fd, EV_READ | EV_PERSIST, ticker_on_due, ticker);
    ticker->runs = timerfd_settime(fd, 0, &every, NULL) == 0 && event_add(&ticker->event, NULL) == 0;
    if (!ticker->runs)
        close(fd);
    return ticker->runs;
}

void ticker_stop(struct ticker *ticker)
{
    if (!ticker->runs)
        return;
    event_del(&ticker->event);
    close(event_get_fd(&ticker->event));
    ticker->runs = false;
}
