#include "daemon/background.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "daemon"
#include "base/log.h"

static void background_die(void)
{
    log_error("cannot start as a daemon: %s", strerror(errno));
    exit(EXIT_FAILURE);
}

/* The process that the user started ends as soon as the daemon is ready, or has ended. */
static void background_wait(int ready)
{
    char byte;
    ssize_t n;
    do
        n = read(ready, &byte, 1);
    while (n < 0 && errno == EINTR);
    _exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int background_start(void)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) < 0)
        background_die();
    pid_t pid = fork();
    if (pid < 0)
        background_die();
    if (pid > 0) {
        close(ready[1]);
        background_wait(ready[0]);
    }
    close(ready[0]);
    /* A session without a terminal; the second fork makes sure that it never gets one. */
    if (setsid() < 0 || (pid = fork()) < 0)
        background_die();
    if (pid > 0)
        _exit(EXIT_SUCCESS);
    umask(022);
    return ready[1];
}

void background_ready(int caller)
{
    assert(caller >= 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= 2; fd++)
        (void)dup2(null, fd);
    if (null > 2)
        close(null);
    if (chdir("/") < 0)
        log_warning("cannot leave the working directory: %s", strerror(errno));
    (void)!write(caller, "", 1);
    close(caller);
}
