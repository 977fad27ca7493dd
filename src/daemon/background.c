#include "daemon/background.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "daemon"
#include "base/log.h"

/* Whoever may read it may lock it, and keep the server from its next start. */
#define PIDFILE_MODE 0600

static int caller = -1; /* the pipe to the process that started us */

static void die(const char *what)
{
    log_error("%s: %s", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void wait_for_daemon(int ready)
{
    char byte;
    ssize_t n;
    do
        n = read(ready, &byte, 1);
    while (n < 0 && errno == EINTR);
    _exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

void background_start(void)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        die("cannot start as a daemon");
    pid_t pid = fork();
    if (pid < 0)
        die("cannot start as a daemon");
    if (pid > 0) {
        close(ready[1]);
        wait_for_daemon(ready[0]);
    }
    close(ready[0]);
    caller = ready[1];
    /* A session without a terminal; the second fork makes sure that it never gets one. */
    if (setsid() < 0 || (pid = fork()) < 0)
        die("cannot start as a daemon");
    if (pid > 0)
        _exit(EXIT_SUCCESS);
    umask(022);
}

void background_ready(void)
{
    if (caller < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
    if (chdir("/") < 0)
        log_warning("cannot leave the working directory: %s", strerror(errno));
    (void)!write(caller, "", 1);
    close(caller);
    caller = -1;
}

static int refuse(const char *path, int fd, const char *why)
{
    log_error("pid file %s: %s", path, why);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* false and errno, ENOSPC on a full disk: then the file is empty. */
static bool write_id(int fd)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    ssize_t written = ftruncate(fd, 0) < 0 ? -1 : pwrite(fd, text, (size_t)len, 0);
    if (written >= 0 && written < len)
        errno = ENOSPC;
    return written == len;
}

int pidfile_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, PIDFILE_MODE);
    if (fd < 0)
        return refuse(path, -1,
                      errno == ELOOP    ? "is a symbolic link: remove it"
                      : errno == EACCES ? "Permission denied: have run.pid_file name one that you may write"
                                        : strerror(errno));
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return refuse(path, fd, "is not a plain file");
    /* In a folder for all, somebody could have put it there to have a file of ours overwritten, or to hold the lock. */
    if (status.st_uid != geteuid() || status.st_nlink != 1)
        return refuse(path, fd,
                      status.st_nlink != 1 ? "has another name as well (a hard link): remove it"
                                           : "belongs to another user: remove it, or name another");
    /* One of before may have been readable to all. */
    if (fchmod(fd, PIDFILE_MODE) < 0)
        return refuse(path, fd, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return refuse(path, fd, errno == EWOULDBLOCK ? "conesocks is running already" : strerror(errno));
    /* Whoever held it before may have removed it just now: then a third would not find our lock. */
    if (!pidfile_is(path, fd))
        return refuse(path, fd, "was replaced while it was being locked: try again");
    return write_id(fd) ? fd : refuse(path, fd, strerror(errno));
}

bool pidfile_is(const char *path, int fd)
{
    struct stat status, named;
    return fstat(fd, &status) == 0 && lstat(path, &named) == 0 && named.st_dev == status.st_dev &&
           named.st_ino == status.st_ino;
}

void pidfile_write(int fd)
{
    if (!write_id(fd))
        log_warning("cannot write the pid file: %s", strerror(errno));
}

void pidfile_empty(int fd)
{
    (void)!ftruncate(fd, 0);
}

/* "4711\n", as pidfile_open writes it; 0: anything else. */
static pid_t read_pid(int fd)
{
    char text[32];
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    if (len < 2 || text[len - 1] != '\n')
        return 0;
    text[len - 1] = '\0';
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    return text[0] >= '1' && text[0] <= '9' && *end == '\0' && errno == 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

void pidfile_remove(const char *path, int fd)
{
    if (fd < 0)
        return;
    const pid_t named = read_pid(fd);
    bool taken_over = named > 0 && named != getpid(); /* just as we were told to end */
    if (!taken_over && unlink(path) < 0)
        pidfile_empty(fd); /* the sandbox, or another user's folder: the descriptor may still do that */
    close(fd);
}

pid_t pidfile_holder(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    pid_t pid = 0;
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        errno = ESRCH;
    else if (errno == EWOULDBLOCK && (pid = read_pid(fd)) == 0)
        errno = EAGAIN;
    int error = errno;
    close(fd);
    errno = error;
    return pid;
}
