#include "sandbox_child.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_error(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int read_other_file(void)
{
    return open_error(path, O_RDONLY);
}

static int read_passwords(void)
{
    return open_error("/etc/shadow", O_RDONLY);
}

static int read_names(void)
{
    return open_error("/etc/hosts", O_RDONLY);
}

static int write_null(void)
{
    return open_error("/dev/null", O_RDWR);
}

static int make_other_file(void)
{
    return open_error("/tmp/test_sandbox.made", O_CREAT | O_WRONLY);
}

static bool have_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0 && !SANDBOX_SANITIZED;
}

static void other_files_are_out_of_reach(void **state)
{
    (void)state;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_OFF), NULL, read_other_file), 0);
    if (!have_landlock())
        SKIP_TEST("needs a kernel with Landlock, and no sanitizer");
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, read_other_file), EACCES);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, make_other_file), EACCES);
}

static void files_that_are_read_again_stay_in_reach(void **state)
{
    (void)state;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, read_names), 0);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, write_null), 0);
}

/* A reload reads the configuration and the users, also when another file was put in their place. */
static int read_replaced_file(void)
{
    static char fresh[sizeof(path) + 8];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    return open_error(fresh, O_RDONLY);
}

static void files_that_a_reload_reads_stay_in_reach(void **state)
{
    (void)state;
    static char fresh[sizeof(path) + 8];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0 && close(fd) == 0);
    config_path = path;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), become_nobody, read_other_file), 0);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), become_nobody, read_replaced_file), 0);
    config_path = NULL;
    struct config config = as(NULL, CONFIG_SANDBOX_ON);
    config.users_file = path;
    expect_exit(enter(config, become_nobody, read_replaced_file), 0);
    if (is_root() && have_landlock()) { /* to whom the folder would give too much */
        config.run.user = (char *)(uintptr_t) "root";
        expect_exit(enter(config, NULL, read_other_file), 0);
        expect_exit(enter(config, NULL, read_replaced_file), EACCES);
    }
    unlink(fresh);
}

static const char *home; /* of the user that this process runs as; NULL: the real one */

/* Replaces the one of libc. */
struct passwd *getpwuid(uid_t uid)
{
    static struct passwd entry;
    static struct passwd *(*real)(uid_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getpwuid");
    if (!home)
        return real(uid);
    entry.pw_dir = (char *)(uintptr_t)home;
    return &entry;
}

/* Users have keys and passwords of other programs in their home folder. */
static void row_52_home_folders_are_out_of_reach(void **state)
{
    (void)state;
    if (!have_landlock())
        SKIP_TEST("needs a kernel with Landlock, and no sanitizer");
    static char fresh[sizeof(path) + 8];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    int fd = open(fresh, O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0 && close(fd) == 0);
    config_path = path;
    home = folder;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), become_nobody, read_other_file), 0); /* path itself */
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), become_nobody, read_replaced_file), EACCES);
    home = NULL;
    config_path = "/vmlinuz"; /* whether it is there or not, all the system is in its folder */
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), become_nobody, read_other_file), EACCES);
    config_path = NULL;
    unlink(fresh);
}

static void row_52_not_even_root_reads_the_passwords(void **state)
{
    (void)state;
    if (!is_root() || !have_landlock())
        SKIP_TEST("needs root, a kernel with Landlock, and no sanitizer");
    expect_exit(enter(as("root", CONFIG_SANDBOX_OFF), NULL, read_passwords), 0);
    expect_exit(enter(as("root", CONFIG_SANDBOX_ON), NULL, read_passwords), EACCES);
    expect_exit(enter(as("root", CONFIG_SANDBOX_ON), NULL, read_names), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_files_are_out_of_reach),
        cmocka_unit_test(files_that_a_reload_reads_stay_in_reach),
        cmocka_unit_test(files_that_are_read_again_stay_in_reach),
        cmocka_unit_test(row_52_home_folders_are_out_of_reach),
        cmocka_unit_test(row_52_not_even_root_reads_the_passwords),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
