/*
 * The pid file: it names the server's process, and is locked as long as that lives.
 */
#ifndef CONESOCKS_DAEMON_PIDFILE_H
#define CONESOCKS_DAEMON_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* A daemon's, unless run.pid_file names another. */
#define PIDFILE_DEFAULT "/run/conesocks.pid"

/*
 * Creates and locks `path` and writes this process's id. Returns a descriptor that holds the lock. -1 after a line in
 * the log: another process holds the lock, `path` is a symbolic link, or it cannot be written.
 */
int pidfile_open(const char *path);
/* Whether `fd`, which another process has given us with its lock, is that file. It still contains the other's id. */
bool pidfile_is(const char *path, int fd);
/* Writes this process's id. */
void pidfile_write(int fd);
/* Removes the id: the file names no process any more. */
void pidfile_empty(int fd);
/* Removes the file and closes `fd`. A file that cannot be removed is emptied; one that names another process by now
 * stays as it is. */
void pidfile_remove(const char *path, int fd);
/* The process that holds the lock. 0 and an errno: ESRCH when none does, EAGAIN when it has not written its id yet,
 * else that of open(). */
pid_t pidfile_holder(const char *path);

#endif
