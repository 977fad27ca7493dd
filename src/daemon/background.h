/*
 * Running as a daemon: the server gets a process of its own, and the program that the user started ends when the server
 * is ready.
 */
#ifndef CONESOCKS_DAEMON_BACKGROUND_H
#define CONESOCKS_DAEMON_BACKGROUND_H

/* Forks, and returns in the daemon only: a descriptor for background_ready(). The calling process waits; it exits with
 * 0 after background_ready(), or with 1 when the daemon ends before that. */
int background_start(void);
/* Lets the calling process go, and turns the standard descriptors to /dev/null. */
void background_ready(int caller);

#endif
