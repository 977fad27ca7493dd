/*
 * Tells systemd, or another service manager with its protocol, how the server is doing (sd_notify(3)), and gets the
 * sockets that it passes (sd_listen_fds(3)). Without one, and in a build without libsystemd, nothing happens.
 */
#ifndef CONESOCKS_DAEMON_NOTIFY_H
#define CONESOCKS_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is a service manager. */
bool notify_is_heard(void);
void notify_ready(void);
/* Followed by notify_ready(), even if the reload fails. */
void notify_reloading(void);
/* systemd waits so long for the end, and some seconds more, even if that is more than TimeoutStopSec=. */
void notify_stopping(uint64_t within_ms);
/* One line for `systemctl status`. */
void notify_status(const char *text);
/* How long the watchdog waits for notify_alive(); 0: there is no watchdog. */
uint64_t notify_watchdog_ms(void);
void notify_alive(void);
/* How many sockets were passed, from descriptor `*first` on. Call it once. Negative after a line in the log. */
int notify_sockets(int *first);

#endif
