#include "daemon/pidfile.h"

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

/* A user who may read the file may lock it, and keep the server from its next start. */
#define PIDFILE_MODE 0600

static int pidfile_refuse(const char *path, int fd, const char *why)
{
    log_error("pid file %s: %s", path, why);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* false and an errno; ENOSPC on a full disk, which leaves the file empty. */
static bool pidfile_write_id(int fd)
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
        return pidfile_refuse(path, -1,
                              errno == ELOOP    ? "is a symbolic link: remove it"
                              : errno == EACCES ? "Permission denied: set run.pid_file to a file that you may write"
                                                : strerror(errno));
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return pidfile_refuse(path, fd, "is not a plain file");
    /* In a folder that everyone may write to, another user could have put it there to make us overwrite a file of ours,
     * or to hold the lock. */
    if (status.st_uid != geteuid() || status.st_nlink != 1)
        return pidfile_refuse(path, fd,
                              status.st_nlink != 1 ? "has another name as well (a hard link): remove it"
                                                   : "belongs to another user: remove it, or name another file");
    /* A file that was there already may be readable to everyone. */
    if (fchmod(fd, PIDFILE_MODE) < 0)
        return pidfile_refuse(path, fd, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return pidfile_refuse(path, fd, errno == EWOULDBLOCK ? "conesocks is running already" : strerror(errno));
    /* The process that held it before may just have removed it: then another process would not see our lock. */
    if (!pidfile_is(path, fd))
        return pidfile_refuse(path, fd, "was replaced while it was being locked: try again");
    return pidfile_write_id(fd) ? fd : pidfile_refuse(path, fd, strerror(errno));
}

bool pidfile_is(const char *path, int fd)
{
    struct stat status, named;
    return fstat(fd, &status) == 0 && lstat(path, &named) == 0 && named.st_dev == status.st_dev &&
           named.st_ino == status.st_ino;
}

void pidfile_write(int fd)
{
    if (!pidfile_write_id(fd))
        log_warning("cannot write the pid file: %s", strerror(errno));
}

void pidfile_empty(int fd)
{
    (void)!ftruncate(fd, 0);
}

/* A number and a newline, as pidfile_open() writes it; 0: anything else. */
static pid_t pidfile_read_id(int fd)
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
    const pid_t named = pidfile_read_id(fd);
    bool taken_over = named > 0 && named != getpid(); /* by a process that took over just as we were told to end */
    if (!taken_over && unlink(path) < 0)
        pidfile_empty(fd); /* neither the sandbox nor the folder's permissions forbid that */
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
    else if (errno == EWOULDBLOCK && (pid = pidfile_read_id(fd)) == 0)
        errno = EAGAIN;
    int error = errno;
    close(fd);
    errno = error;
    return pid;
}
