#include "daemon/systemd.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#define LOG_MODULE "systemd"
#include "base/log.h"
#include "daemon/health.h"
#include "daemon/notify.h"

/* A worker is pinged each second: one that is busy for less than this is not hung. */
#define SILENCE_S 3

static const struct timeval systemd_line_period = {.tv_sec = 5};

struct systemd {
    struct event line, watchdog;
    unsigned silence_s; /* how long a worker may be silent */
    bool hung;
    const struct health *health;
    void (*describe)(void *arg, char text[SYSTEMD_TEXT_MAX]);
    void *arg;
    char sent[SYSTEMD_TEXT_MAX];
};

void systemd_send(struct systemd *systemd)
{
    char text[SYSTEMD_TEXT_MAX];
    if (!systemd)
        return;
    systemd->describe(systemd->arg, text);
    if (strcmp(text, systemd->sent) == 0)
        return;
    notify_status(text);
    memcpy(systemd->sent, text, sizeof(text));
}

static void systemd_on_line(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    systemd_send(arg);
}

/* When nothing is sent, systemd kills the process, with a core dump, and starts another. */
static void systemd_on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct systemd *systemd = arg;
    unsigned silent_s = health_silent_s(systemd->health);
    const bool is_hung = silent_s >= systemd->silence_s;
    if (is_hung && !systemd->hung)
        log_error("a worker has been hung for %u s: no longer notifying the watchdog", silent_s);
    systemd->hung = is_hung;
    if (!is_hung)
        notify_alive();
}

static void systemd_begin_watchdog(struct systemd *systemd, struct event_base *base)
{
    uint64_t watchdog_ms = notify_watchdog_ms(), half_ms = watchdog_ms / 2;
    event_assign(&systemd->watchdog, base, -1, EV_PERSIST, systemd_on_watchdog, systemd);
    if (watchdog_ms == 0)
        return;
    struct timeval half = timeval_from_ms(half_ms);
    systemd->silence_s = half_ms / 1000 > SILENCE_S ? (unsigned)(half_ms / 1000) : SILENCE_S;
    event_add(&systemd->watchdog, &half);
}

struct systemd *systemd_new(struct event_base *base, const struct health *health,
                            void (*describe)(void *arg, char text[SYSTEMD_TEXT_MAX]), void *arg)
{
    struct systemd *systemd = health && notify_is_heard() ? calloc(1, sizeof(*systemd)) : NULL;
    if (!systemd)
        return NULL;
    *systemd = (struct systemd){
        .health = health,
        .describe = describe,
        .arg = arg,
    };
    event_assign(&systemd->line, base, -1, EV_PERSIST, systemd_on_line, systemd);
    event_add(&systemd->line, &systemd_line_period);
    systemd_begin_watchdog(systemd, base);
    return systemd;
}

void systemd_free(struct systemd *systemd)
{
    if (!systemd)
        return;
    event_del(&systemd->line);
    event_del(&systemd->watchdog);
    free(systemd);
}
