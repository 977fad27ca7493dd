/*
 * Where log lines go. Once log_start() was called they wait in a queue for a thread of their own, so that whoever logs
 * never waits: not for a terminal that stands still, a pipe that nobody reads, syslog or a disk. What finds no room, or
 * cannot be written, is lost and counted, and a line says how many as soon as there is one that can be written.
 *
 * On the main thread.
 */
#ifndef CONESOCKS_BASE_LOG_OUTPUT_H
#define CONESOCKS_BASE_LOG_OUTPUT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/log.h"

/* Opens the file of LOG_TARGET_FILE, whose path outlives the log, and makes it for `user` and `group` when it is
 * missing; one that is there belongs to root or to `user`. false after a line in the log. */
bool log_open(const char *path, uid_t user, gid_t group);
/* The target from now on, before log_start(). Before that: stderr, as if it were not systemd's. A file was opened
 * before.
 */
void log_to(enum log_target target);
/* What a line at stderr begins with where that is systemd's journal, which takes its priority from it (sd-daemon(3)).
 * "" elsewhere. */
const char *log_mark(enum log_level level);
/* Writes to what has the file's name by now, when that is another file or none. If that cannot be opened, the one of
 * before goes on, and the log says so. */
void log_reopen(void);

/* 0 or a negative errno. */
int log_start(void);
/* Writes what waits, unless it takes longer than a person would wait; then lines are written by who logs, as before
 * log_start(). */
void log_stop(void);

#endif
