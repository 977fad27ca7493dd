/*
 * Keeps systemd up to date while the server runs: a line for `systemctl status` when it changes, and a sign of life for
 * its watchdog as long as the main loop and every worker's come round. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_SYSTEMD_H
#define CONESOCKS_DAEMON_SYSTEMD_H

#define SYSTEMD_TEXT_MAX 200

struct event_base;
struct health;
struct systemd;

/* Both outlive it; `describe` writes the line. NULL: nobody asks for that, or no memory. */
struct systemd *systemd_new(struct event_base *base, const struct health *health,
                            void (*describe)(void *arg, char text[SYSTEMD_TEXT_MAX]), void *arg);
/* Says the line now, if it is another one. NULL is fine, here and below. */
void systemd_say(struct systemd *systemd);
void systemd_free(struct systemd *systemd);

#endif
