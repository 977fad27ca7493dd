#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/background.h"
#include "daemon/pidfile.h"

static char folder[] = "/tmp/test_background.XXXXXX", path[64], other[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/pid", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_file(const char *name, const char *text)
{
    char found[64] = "";
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    size_t len = fread(found, 1, sizeof(found) - 1, file);
    fclose(file);
    assert_int_equal(len, strlen(text));
    assert_string_equal(found, text);
}

/* ---- the pid file ---- */

static void the_pid_file_has_the_pid_and_a_lock(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
    int lock = pidfile_open(path);
    assert_true(lock >= 0);
    expect_file(path, expected);
    assert_int_equal(pidfile_open(path), -1); /* started twice */
    expect_file(path, expected);
    pidfile_remove(path, lock);
    assert_int_equal(access(path, F_OK), -1);
}

static void row_57_a_stale_pid_file_is_used_again(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpid());
    write_file(path, "123456789012345678901234567890\n");
    int lock = pidfile_open(path);
    assert_true(lock >= 0);
    expect_file(path, expected);
    pidfile_remove(path, lock);
}

/* A user who may read it may lock it, and keep the server from its next start. */
static void row_57_other_users_cannot_read_the_pid_file(void **state)
{
    (void)state;
    struct stat status;
    write_file(path, "");
    assert_int_equal(chmod(path, 0644), 0);
    int lock = pidfile_open(path);
    assert_true(lock >= 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    pidfile_remove(path, lock);
}

static void row_57_only_a_regular_file_is_overwritten(void **state)
{
    (void)state;
    write_file(other, "precious");
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(pidfile_open(path), -1);
    expect_file(other, "precious");
    unlink(path);
    unlink(other);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pidfile_open(path), -1);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(pidfile_open(path), -1);
    rmdir(path);
}

/* In /tmp any user may have created it. */
static void row_57_another_users_file_is_refused(void **state)
{
    (void)state;
    write_file(other, "precious");
    assert_int_equal(link(other, path), 0);
    assert_int_equal(pidfile_open(path), -1);
    expect_file(other, "precious");
    unlink(other);
    expect_file(path, "precious");
    if (geteuid() == 0) { /* only root can change the owner */
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        assert_int_equal(pidfile_open(path), -1);
        expect_file(path, "precious");
    }
    unlink(path);
}

static void the_holder_of_the_lock_is_found(void **state)
{
    (void)state;
    errno = 0;
    assert_int_equal(pidfile_holder(path), 0);
    assert_int_equal(errno, ENOENT);
    int lock = pidfile_open(path);
    assert_true(lock >= 0);
    assert_int_equal(pidfile_holder(path), getpid());
    static const char *const texts[] = {
        "", "\n", "4711", "0\n", "-1\n", " 7\n", "7x\n", "99999999999\n", "123456789012345678901234567890123\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(path, texts[i]); /* the same file, so the lock stays */
        assert_int_equal(pidfile_holder(path), 0);
        assert_int_equal(errno, EAGAIN);
    }
    close(lock);
    write_file(path, "1\n");
    assert_int_equal(pidfile_holder(path), 0); /* row 57: another process may have that id by now */
    assert_int_equal(errno, ESRCH);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(pidfile_holder(path), 0);
    assert_int_equal(errno, ELOOP);
    unlink(other);
    unlink(path);
}

/* Another process can get the descriptor, and with it the lock. */
static void row_57_a_pid_file_is_handed_over(void **state)
{
    (void)state;
    char mine[32], child_text[32];
    int lock = pidfile_open(path);
    assert_true(lock >= 0);
    assert_true(pidfile_is(path, lock));
    assert_false(pidfile_is(other, lock));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pidfile_write(lock);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(child_text, sizeof(child_text), "%ld\n", (long)child);
    expect_file(path, child_text);
    pidfile_remove(path, dup(lock));
    expect_file(path, child_text);
    pidfile_write(lock); /* from the start of the file, wherever the other process has stopped */
    snprintf(mine, sizeof(mine), "%ld\n", (long)getpid());
    expect_file(path, mine);
    assert_int_equal(pidfile_open(path), -1);
    pidfile_empty(lock);
    expect_file(path, "");
    unlink(path);
    write_file(path, "another file of that name");
    assert_false(pidfile_is(path, lock));
    unlink(path);
    close(lock);
}

/* ---- the daemon ---- */

/* Starts a daemon that runs `act` and ends. Returns the exit status that its caller sees. */
static int start(void (*act)(int caller, int report), int report)
{
    pid_t caller = fork();
    assert_true(caller >= 0);
    if (caller == 0) {
        act(background_start(), report);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void end_before_ready(int caller, int report)
{
    (void)caller, (void)report;
}

struct facts {
    pid_t pid, group, session;
    bool terminal, at_root, null[3];
};

static void tell_facts(int caller, int report)
{
    struct stat null, standard;
    char folder_now[8];
    background_ready(caller);
    struct facts facts = {.pid = getpid(), .group = getpgrp(), .session = getsid(0)};
    facts.terminal = open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0;
    facts.at_root = getcwd(folder_now, sizeof(folder_now)) && strcmp(folder_now, "/") == 0;
    for (int fd = 0; fd <= 2; fd++)
        facts.null[fd] = stat("/dev/null", &null) == 0 && fstat(fd, &standard) == 0 && standard.st_rdev == null.st_rdev;
    (void)!write(report, &facts, sizeof(facts));
}

static void the_calling_process_reports_success(void **state)
{
    (void)state;
    int report[2];
    struct facts facts;
    assert_int_equal(pipe(report), 0);
    assert_int_equal(start(tell_facts, report[1]), 0);
    assert_int_equal(read(report[0], &facts, sizeof(facts)), sizeof(facts));
    assert_int_not_equal(facts.session, getsid(0));
    assert_int_not_equal(facts.session, facts.pid); /* so that it can never get a terminal */
    assert_int_equal(facts.group, facts.session);
    assert_false(facts.terminal);
    assert_true(facts.at_root);
    for (int fd = 0; fd <= 2; fd++)
        assert_true(facts.null[fd]);
    close(report[0]);
    close(report[1]);
}

static void the_calling_process_reports_failure(void **state)
{
    (void)state;
    assert_int_equal(start(end_before_ready, -1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pid_file_has_the_pid_and_a_lock),
        cmocka_unit_test(row_57_a_stale_pid_file_is_used_again),
        cmocka_unit_test(row_57_other_users_cannot_read_the_pid_file),
        cmocka_unit_test(row_57_only_a_regular_file_is_overwritten),
        cmocka_unit_test(row_57_another_users_file_is_refused),
        cmocka_unit_test(the_holder_of_the_lock_is_found),
        cmocka_unit_test(row_57_a_pid_file_is_handed_over),
        cmocka_unit_test(the_calling_process_reports_success),
        cmocka_unit_test(the_calling_process_reports_failure),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
