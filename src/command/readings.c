#include "command/readings.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "command/ask.h"

void readings_free(struct readings *readings)
{
    json_decref(readings->now);
    json_decref(readings->before);
    *readings = (struct readings){0};
}

bool readings_take(struct readings *readings, const struct ask_place *place, char **error)
{
    json_t *now = ask_status(place, ASK_ALL_SESSIONS, error);
    if (!now)
        return false;
    double at = (double)clock_us() / 1e6;
    json_decref(readings->before);
    readings->before = readings->now;
    readings->now = now;
    readings->seconds = at - readings->at;
    readings->at = at;
    /* Another process counts from zero: no rates. */
    if (readings->before && (!json_equal(ask_member(readings->before, "pid"), ask_member(now, "pid")) ||
                             !json_equal(ask_member(readings->before, "started"), ask_member(now, "started")))) {
        json_decref(readings->before);
        readings->before = NULL;
    }
    return true;
}

void readings_pause(unsigned seconds)
{
    struct timespec rest = {.tv_sec = (time_t)seconds};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
        ;
}

double readings_rate(const struct readings *readings, const char *keys)
{
    if (!readings->before || readings->seconds <= 0)
        return -1;
    uint64_t now = ask_number(readings->now, keys), before = ask_number(readings->before, keys);
    return now > before ? (double)(now - before) / readings->seconds : 0;
}
