/*
 * Running as a daemon: a process of its own, a pid file that is locked as long as it lives, and a caller who learns
 * whether it started.
 */
#ifndef CONESOCKS_DAEMON_BACKGROUND_H
#define CONESOCKS_DAEMON_BACKGROUND_H

#include <stdbool.h>
#include <sys/types.h>

/* Forks; returns in the daemon only. The caller's process waits, and exits with 0 after background_ready(), or with 1
 * when the daemon ends before. */
void background_start(void);
/* Lets the caller go and turns the standard descriptors to /dev/null. */
void background_ready(void);

/* A daemon's, unless run.pid_file names another. */
#define PIDFILE_DEFAULT "/run/conesocks.pid"

/*
 * Creates and locks `path` and writes this process's id. Returns a descriptor that holds the lock, or -1 after a line
 * in the log: another process holds it, it is a symbolic link, or it cannot be written.
 */
int pidfile_open(const char *path);
/* Whether `fd`, which another process has given us with its lock, is that file. It still holds the other's id. */
bool pidfile_is(const char *path, int fd);
/* Writes this process's id. */
void pidfile_write(int fd);
/* Nobody's any more. */
void pidfile_empty(int fd);
/* Leaves an empty file where it cannot be removed, and one that names another process by now as it is. */
void pidfile_remove(const char *path, int fd);
/* The process that holds the lock; or 0 and an errno: ESRCH when none does, EAGAIN when it has not written its id yet,
 * else that of open(). */
pid_t pidfile_holder(const char *path);

#endif
