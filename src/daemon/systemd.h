/*
 * Keeps systemd informed while the server runs: a line for `systemctl status`, and a sign of life for its watchdog as
 * long as the event loops of the main thread and of every worker turn. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_SYSTEMD_H
#define CONESOCKS_DAEMON_SYSTEMD_H

#define SYSTEMD_TEXT_MAX 200

struct event_base;
struct health;
struct systemd;

/* `health` outlives it; `describe` writes the line. NULL: systemd did not start us, or no memory. */
struct systemd *systemd_new(struct event_base *base, const struct health *health,
                            void (*describe)(void *arg, char text[SYSTEMD_TEXT_MAX]), void *arg);
/* Sends the line now, if it has changed. NULL is fine, here and below. */
void systemd_send(struct systemd *systemd);
void systemd_free(struct systemd *systemd);

#endif
