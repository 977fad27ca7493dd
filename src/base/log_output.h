/*
 * Writes log lines to their target. After log_start() a thread of its own writes them from a queue, so that no other
 * thread waits for a stopped terminal, a pipe that nobody reads, syslog or a disk. Lines that find no room, or cannot
 * be written, are lost and counted. The next line that can be written is preceded by their number.
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
/* Opens the log file again if its name now belongs to another file, or to none. If that fails, an error is logged and
 * the previous file is kept. */
void log_reopen(void);

/* 0 or a negative errno. */
int log_start(void);
/* Writes what waits, unless it takes longer than a person would wait; then lines are written by who logs, as before
 * log_start(). */
void log_stop(void);

#endif
