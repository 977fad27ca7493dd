#include "daemon/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#define LOG_MODULE "systemd"
#include "base/log.h"

/* To end all that is open, once it is time. */
#define SPARE_MS 30000

/* What cannot be said is no reason to stop serving, and whoever waits for it says so himself. */
static void say(const char *state)
{
    int error = sd_notify(0, state);
    if (error < 0)
        log_debug("cannot tell the service manager %s: %s", state, strerror(-error));
}

bool notify_is_heard(void)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    return socket && *socket;
}

void notify_ready(void)
{
    say("READY=1");
}

void notify_reloading(void)
{
    char state[64];
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
    say(state);
}

void notify_stopping(uint64_t within_ms)
{
    char state[64];
    snprintf(state, sizeof(state), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, (within_ms + SPARE_MS) * 1000);
    say(state);
}

void notify_status(const char *text)
{
    char state[256];
    snprintf(state, sizeof(state), "STATUS=%s", text);
    say(state);
}

uint64_t notify_watchdog_ms(void)
{
    uint64_t period_us;
    return sd_watchdog_enabled(0, &period_us) > 0 ? (period_us + 999) / 1000 : 0;
}

void notify_alive(void)
{
    say("WATCHDOG=1");
}

int notify_sockets(int *first)
{
    int count = sd_listen_fds(1);
    if (count < 0)
        log_error("the sockets that systemd passes cannot be had (LISTEN_FDS): %s", strerror(-count));
    *first = SD_LISTEN_FDS_START;
    return count;
}
