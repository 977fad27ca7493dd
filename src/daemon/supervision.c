#include "daemon/supervision.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "systemd"
#include "base/log.h"
#include "daemon/health.h"
#include "daemon/notify.h"

/* A worker is asked each second: one that is busy for less than this is not hung. */
#define SILENCE_S 3

static const struct timeval say_period = {.tv_sec = 5};

struct supervision {
    struct event line, watchdog;
    unsigned silence_s; /* how long a worker may be silent */
    bool hung;
    const struct health *health;
    void (*describe)(void *arg, char text[SUPERVISION_TEXT_MAX]);
    void *arg;
    char said[SUPERVISION_TEXT_MAX];
};

void supervision_say(struct supervision *supervision)
{
    char text[SUPERVISION_TEXT_MAX];
    if (!supervision)
        return;
    supervision->describe(supervision->arg, text);
    if (strcmp(text, supervision->said) == 0)
        return;
    notify_status(text);
    memcpy(supervision->said, text, sizeof(text));
}

static void on_line(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    supervision_say(arg);
}

/* Silence is the alarm: systemd then kills the process, with a core dump, and starts another. */
static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct supervision *supervision = arg;
    unsigned silent_s = health_silent_s(supervision->health);
    bool hung = silent_s >= supervision->silence_s;
    if (hung && !supervision->hung)
        log_error("a worker has not come round for %u s; the watchdog is told nothing any more", silent_s);
    supervision->hung = hung;
    if (!hung)
        notify_alive();
}

static void begin_watchdog(struct supervision *supervision, struct event_base *base)
{
    uint64_t watchdog_ms = notify_watchdog_ms(), half_ms = watchdog_ms / 2;
    event_assign(&supervision->watchdog, base, -1, EV_PERSIST, on_watchdog, supervision);
    if (watchdog_ms == 0)
        return;
    struct timeval half = {.tv_sec = (time_t)(half_ms / 1000), .tv_usec = (suseconds_t)(half_ms % 1000 * 1000)};
    supervision->silence_s = half_ms / 1000 > SILENCE_S ? (unsigned)(half_ms / 1000) : SILENCE_S;
    event_add(&supervision->watchdog, &half);
}

struct supervision *supervision_new(struct event_base *base, const struct health *health,
                                    void (*describe)(void *arg, char text[SUPERVISION_TEXT_MAX]), void *arg)
{
    struct supervision *supervision = health && notify_is_heard() ? calloc(1, sizeof(*supervision)) : NULL;
    if (!supervision)
        return NULL;
    *supervision = (struct supervision){
        .health = health,
        .describe = describe,
        .arg = arg,
    };
    event_assign(&supervision->line, base, -1, EV_PERSIST, on_line, supervision);
    event_add(&supervision->line, &say_period);
    begin_watchdog(supervision, base);
    return supervision;
}

void supervision_free(struct supervision *supervision)
{
    if (!supervision)
        return;
    event_del(&supervision->line);
    event_del(&supervision->watchdog);
    free(supervision);
}
