/*
 * What the tests of the sandbox share: whatever enters it does so in a process of its own, for there is no way back.
 */
#ifndef CONESOCKS_TEST_UNIT_SANDBOX_CHILD_H
#define CONESOCKS_TEST_UNIT_SANDBOX_CHILD_H

#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/config.h"
#include "daemon/sandbox.h"
#include "daemon/sandbox_impl.h"

#define REFUSED 250 /* exit status of a child that sandbox_enter() turned away */
#define NOBODY  65534

static char folder[] = "/tmp/test_sandbox.XXXXXX", path[64];

static const char *config_path; /* NULL: there is none */
static bool with_kernel_path;

static inline int make_file(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chmod(folder, 0755) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    return fd < 0 ? -1 : close(fd);
}

static inline int remove_file(void **state)
{
    (void)state;
    return unlink(path) | rmdir(folder);
}

/* Enters as `run` says in a process of its own and then acts; `before` may be NULL. Returns the wait status: what
 * `act` returned (0, or an errno), REFUSED, or a signal. */
static inline int enter(struct config config, void (*before)(void), int (*act)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (before)
            before();
        _exit(sandbox_enter(&config, config_path, with_kernel_path) ? act() : REFUSED);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static inline struct config as(const char *user, enum config_sandbox sandbox)
{
    return (struct config){.run = {.user = (char *)(uintptr_t)user, .sandbox = sandbox}};
}

static inline bool is_root(void)
{
    return geteuid() == 0;
}

static inline int nothing(void)
{
    return 0;
}

static inline void expect_exit(int status, int expected)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("wait status %x: exit status %d is expected", (unsigned)status, expected);
}

static inline void become_nobody(void)
{
    if (is_root() && (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
        _exit(99);
    prctl(PR_SET_DUMPABLE, 1); /* as after a start by that user */
}

#endif
