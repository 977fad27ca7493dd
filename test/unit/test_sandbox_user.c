#include "sandbox_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct credentials {
    unsigned uid[4], gid[4];
    unsigned long long permitted, effective, bounding;
    unsigned groups, no_new_privs, seccomp;
    uid_t memory_owner; /* root when others of the same user may not look into it */
};

static unsigned count_words(const char *text)
{
    unsigned count = 0;
    for (size_t len; *(text += strspn(text, " \t\n")); text += len, count++)
        len = strcspn(text, " \t\n");
    return count;
}

/* What the kernel says of a process, while it waits. */
static struct credentials read_credentials(pid_t pid)
{
    char name[64], line[256];
    struct credentials found = {.groups = 99};
    snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "Uid: %u %u %u %u", &found.uid[0], &found.uid[1], &found.uid[2], &found.uid[3]);
        sscanf(line, "Gid: %u %u %u %u", &found.gid[0], &found.gid[1], &found.gid[2], &found.gid[3]);
        sscanf(line, "CapPrm: %llx", &found.permitted);
        sscanf(line, "CapEff: %llx", &found.effective);
        sscanf(line, "CapBnd: %llx", &found.bounding);
        sscanf(line, "NoNewPrivs: %u", &found.no_new_privs);
        sscanf(line, "Seccomp: %u", &found.seccomp);
        if (strncmp(line, "Groups:", 7) == 0)
            found.groups = count_words(line + 7);
    }
    fclose(file);
    struct stat memory;
    snprintf(name, sizeof(name), "/proc/%d/mem", (int)pid);
    assert_int_equal(stat(name, &memory), 0);
    found.memory_owner = memory.st_uid;
    return found;
}

static struct credentials credentials_after(struct config config, void (*before)(void))
{
    int ready[2], go[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (before)
            before();
        if (sandbox_enter(&config, NULL, false)) {
            (void)!write(ready[1], "", 1);
            (void)!read(go[0], &byte, 1);
        }
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct credentials found = read_credentials(child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(go[0]);
    close(go[1]);
    return found;
}

static void expect_nothing_left(const struct credentials *found)
{
    assert_int_equal(found->permitted, 0);
    assert_int_equal(found->effective, 0);
    assert_int_equal(found->no_new_privs, 1);
#ifdef SANDBOX_HAS_CALLS
    assert_int_equal(found->seccomp, SANDBOX_SANITIZED ? 0 : 2);
#endif
}

static void join_groups(void)
{
    static const gid_t groups[] = {1, 2};
    if (setgroups(2, groups) < 0)
        _exit(99);
}

static void row_52_root_becomes_nobody(void **state)
{
    (void)state;
    if (!is_root())
        SKIP_TEST("needs root");
    struct credentials found = credentials_after(as(NULL, CONFIG_SANDBOX_ON), join_groups);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(found.uid[i], NOBODY);
        assert_int_equal(found.gid[i], NOBODY);
    }
    assert_int_equal(found.groups, 0);
    assert_int_equal(found.bounding, 0);
    expect_nothing_left(&found);
}

static void row_52_a_user_and_a_group_by_name(void **state)
{
    (void)state;
    if (!is_root())
        SKIP_TEST("needs root");
    struct config config = as("daemon", CONFIG_SANDBOX_ON);
    config.run.group = (char *)(uintptr_t) "sys";
    struct credentials found = credentials_after(config, NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(found.uid[i], 1);
        assert_int_equal(found.gid[i], 3);
    }
    assert_int_equal(found.groups, 0);
    expect_nothing_left(&found);
}

/* In a folder of that user's, who may have put another of root's files in the socket's place. */
static void row_52_nothing_but_a_socket_is_given_to_the_user(void **state)
{
    (void)state;
    if (!is_root())
        SKIP_TEST("needs root");
    struct config config = as("daemon", CONFIG_SANDBOX_OFF);
    config.admin.socket = path;
    expect_exit(enter(config, NULL, nothing), 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_uid, 0);
}

static void row_52_root_without_another_user_loses_its_privileges(void **state)
{
    (void)state;
    if (!is_root())
        SKIP_TEST("needs root");
    struct credentials found = credentials_after(as("root", CONFIG_SANDBOX_ON), join_groups);
    assert_int_equal(found.uid[1], 0);
    assert_int_equal(found.groups, 0);
    assert_int_equal(found.bounding, 0);
    expect_nothing_left(&found);
}

static void row_52_a_start_without_root_is_restricted_too(void **state)
{
    (void)state;
    struct credentials found = credentials_after(as(NULL, CONFIG_SANDBOX_ON), become_nobody);
    assert_int_equal(found.uid[1], is_root() ? NOBODY : geteuid());
    assert_int_equal(found.memory_owner == 0, !SANDBOX_SANITIZED);
    expect_nothing_left(&found);
}

static void a_user_that_cannot_be_changed_to_is_an_error(void **state)
{
    (void)state;
    expect_exit(enter(as("no-such-user", CONFIG_SANDBOX_ON), NULL, nothing), REFUSED);
    expect_exit(enter(as("root", CONFIG_SANDBOX_ON), become_nobody, nothing), REFUSED);
}

static void give_up_other_users(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) < 0)
        _exit(99);
}

/* As in a container without CAP_SETUID, or in a user namespace with a single user. */
static void root_without_capabilities_starts_unless_a_user_is_named(void **state)
{
    (void)state;
    if (!is_root())
        SKIP_TEST("needs root");
#ifdef __SANITIZE_THREAD__
    SKIP_TEST("TSan's own thread keeps the capabilities that ours gives up, and libc wants threads to agree");
#endif
    struct credentials found = credentials_after(as(NULL, CONFIG_SANDBOX_ON), give_up_other_users);
    assert_int_equal(found.uid[1], 0);
    expect_nothing_left(&found);
    expect_exit(enter(as("nobody", CONFIG_SANDBOX_ON), give_up_other_users, nothing), REFUSED);
}

/* ---- the capability that a mark takes ---- */

static struct config marked(const char *user)
{
    struct config config = as(user, CONFIG_SANDBOX_ON);
    config.outbound.mark = 7;
    return config;
}

#define NET_ADMIN (1ULL << CAP_NET_ADMIN)

static int set_mark(void)
{
    const int mark = 7;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0 ? 0 : errno;
}

static void row_52_a_mark_keeps_one_capability_and_no_more(void **state)
{
    (void)state;
    if (set_mark() != 0)
        SKIP_TEST("needs CAP_NET_ADMIN");
    static const char *const users[] = {NULL, "root"};
    for (int i = 0; i < 2; i++) {
        struct credentials found = credentials_after(marked(users[i]), join_groups);
        assert_int_equal(found.uid[1], users[i] ? 0 : NOBODY);
        assert_int_equal(found.permitted, NET_ADMIN);
        assert_int_equal(found.effective, NET_ADMIN);
        assert_int_equal(found.bounding, 0);
        assert_int_equal(found.no_new_privs, 1);
    }
}

/* What a reload asks. */
static int permit_mark(void)
{
    const struct config config = marked(NULL), plain = as(NULL, CONFIG_SANDBOX_ON);
    return !sandbox_permits(&plain) ? ENOTRECOVERABLE : sandbox_permits(&config) ? 0 : EPERM;
}

static void a_mark_can_be_set_where_one_is_configured_and_nowhere_else(void **state)
{
    (void)state;
    if (set_mark() != 0)
        SKIP_TEST("needs CAP_NET_ADMIN");
    expect_exit(enter(marked(NULL), NULL, set_mark), 0);
    expect_exit(enter(marked(NULL), NULL, permit_mark), 0);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, set_mark), EPERM);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, permit_mark), EPERM);
}

static void a_mark_that_cannot_be_set_is_an_error(void **state)
{
    (void)state;
    expect_exit(enter(marked(NULL), become_nobody, nothing), REFUSED);
}

static void ask_for_a_signal(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int tell_signal(void)
{
    int number = 0;
    prctl(PR_GET_PDEATHSIG, &number);
    return number;
}

static void it_still_ends_with_its_parent(void **state)
{
    (void)state;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_OFF), ask_for_a_signal, tell_signal), SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_52_root_becomes_nobody),
        cmocka_unit_test(row_52_a_user_and_a_group_by_name),
        cmocka_unit_test(row_52_nothing_but_a_socket_is_given_to_the_user),
        cmocka_unit_test(row_52_root_without_another_user_loses_its_privileges),
        cmocka_unit_test(row_52_a_start_without_root_is_restricted_too),
        cmocka_unit_test(a_user_that_cannot_be_changed_to_is_an_error),
        cmocka_unit_test(root_without_capabilities_starts_unless_a_user_is_named),
        cmocka_unit_test(row_52_a_mark_keeps_one_capability_and_no_more),
        cmocka_unit_test(a_mark_can_be_set_where_one_is_configured_and_nowhere_else),
        cmocka_unit_test(a_mark_that_cannot_be_set_is_an_error),
        cmocka_unit_test(it_still_ends_with_its_parent),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
