/*
 * Keeps systemd up to date while the server runs: a line for `systemctl status` when it changes, and a sign of life for
 * its watchdog as long as the main loop and every worker's come round. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_SUPERVISION_H
#define CONESOCKS_DAEMON_SUPERVISION_H

#define SUPERVISION_TEXT_MAX 200

struct event_base;
struct health;
struct supervision;

/* Both outlive it; `describe` writes the line. NULL: nobody asks for that, or no memory. */
struct supervision *supervision_new(struct event_base *base, const struct health *health,
                                    void (*describe)(void *arg, char text[SUPERVISION_TEXT_MAX]), void *arg);
/* Says the line now, if it is another one. NULL is fine, here and below. */
void supervision_say(struct supervision *supervision);
void supervision_free(struct supervision *supervision);

#endif
