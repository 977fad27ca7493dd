/*
 * What systemd, or another manager of services that speaks its protocol, is told (sd_notify(3)), and the sockets that
 * it passes (sd_listen_fds(3)). Without one, and in a build without libsystemd, nothing happens.
 */
#ifndef CONESOCKS_DAEMON_NOTIFY_H
#define CONESOCKS_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is somebody to tell. */
bool notify_is_heard(void);
void notify_ready(void);
/* Afterwards notify_ready() again, whatever came of it. */
void notify_reloading(void);
/* It is over by then, or soon after: systemd waits so long, even where that is more than TimeoutStopSec=. */
void notify_stopping(uint64_t within_ms);
/* One line for people. */
void notify_status(const char *text);
/* How long it may stay silent before it counts as hung; 0: for ever. */
uint64_t notify_watchdog_ms(void);
void notify_alive(void);
/* How many sockets were passed, from `*first` on; to be asked once. Negative after a line in the log. */
int notify_sockets(int *first);

#endif
