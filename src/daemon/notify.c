#include "daemon/notify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#define LOG_MODULE "systemd"
#include "base/log.h"

/* Time to end all that is open, after the drain. */
#define SPARE_MS 30000

/* A failure is no reason to stop serving: systemd logs by itself what it waits for. */
static void notify_send(const char *state)
{
    int error = sd_notify(0, state);
    if (error < 0)
        log_debug("cannot send %s to the service manager: %s", state, strerror(-error));
}

bool notify_is_heard(void)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    return socket && *socket;
}

void notify_ready(void)
{
    notify_send("READY=1");
}

void notify_reloading(void)
{
    char state[64];
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
    notify_send(state);
}

void notify_stopping(uint64_t within_ms)
{
    char state[64];
    snprintf(state, sizeof(state), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, (within_ms + SPARE_MS) * 1000);
    notify_send(state);
}

void notify_status(const char *text)
{
    char state[256];
    snprintf(state, sizeof(state), "STATUS=%s", text);
    notify_send(state);
}

uint64_t notify_watchdog_ms(void)
{
    uint64_t period_us;
    return sd_watchdog_enabled(0, &period_us) > 0 ? (period_us + 999) / 1000 : 0;
}

void notify_alive(void)
{
    notify_send("WATCHDOG=1");
}

int notify_sockets(int *first)
{
    int count = sd_listen_fds(1);
    if (count < 0)
        log_error("cannot get the sockets that systemd passes (LISTEN_FDS): %s", strerror(-count));
    *first = SD_LISTEN_FDS_START;
    return count;
}
