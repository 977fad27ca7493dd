#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/config.h"
#include "daemon/sandbox.h"
#include "daemon/sandbox_impl.h"

#define REFUSED 250 /* exit status of a child that sandbox_enter() turned away */
#define NOBODY  65534

static char folder[] = "/tmp/test_sandbox.XXXXXX", path[64];

static const char *config_path; /* NULL: there is none */

static int make_file(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chmod(folder, 0755) < 0)
        return -1;
    snprintf(path, sizeof(path), "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path) | rmdir(folder);
}

/* Enters as `run` says in a process of its own and then acts; `before` may be NULL. Returns the wait status: what
 * `act` returned (0, or an errno), REFUSED, or a signal. */
static int enter(struct config config, void (*before)(void), int (*act)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (before)
            before();
        _exit(sandbox_enter(&config, config_path) ? act() : REFUSED);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static struct config as(const char *user, enum config_sandbox sandbox)
{
    return (struct config){.run = {.user = (char *)(uintptr_t)user, .sandbox = sandbox}};
}

static bool is_root(void)
{
    return geteuid() == 0;
}

static int nothing(void)
{
    return 0;
}

static void expect_exit(int status, int expected)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("wait status %x: exit status %d is expected", (unsigned)status, expected);
}

/* ---- user and privileges ---- */

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
        if (sandbox_enter(&config, NULL)) {
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

static void row_52_who_stays_root_keeps_nothing_but_the_name(void **state)
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

static void become_nobody(void)
{
    if (is_root() && (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
        _exit(99);
    prctl(PR_SET_DUMPABLE, 1); /* as after a start by that user */
}

static void row_52_without_root_all_the_rest_applies(void **state)
{
    (void)state;
    struct credentials found = credentials_after(as(NULL, CONFIG_SANDBOX_ON), become_nobody);
    assert_int_equal(found.uid[1], is_root() ? NOBODY : geteuid());
    assert_int_equal(found.memory_owner == 0, !SANDBOX_SANITIZED);
    expect_nothing_left(&found);
}

static void a_user_that_cannot_be_had_is_an_error(void **state)
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
static void root_without_its_capabilities_stays_unless_a_user_is_named(void **state)
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

static void it_still_dies_with_whoever_started_it(void **state)
{
    (void)state;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_OFF), ask_for_a_signal, tell_signal), SIGKILL);
}

/* ---- files ---- */

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

static void files_that_are_read_again_stay(void **state)
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

static void what_a_reload_reads_stays(void **state)
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

static const char *home; /* of whoever this process is; NULL: as the system says */

/* Stands before libc's. */
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

/* Who keeps the configuration in his home has keys and passwords of other programs beside it. */
static void row_52_nobodys_home_is_in_reach(void **state)
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

/* ---- system calls ---- */

#ifdef SANDBOX_HAS_CALLS

static int error_of(long result)
{
    return result < 0 ? errno : 0;
}

static int run_program(void)
{
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL}, *const environment[] = {NULL};
    return error_of(execve("/bin/true", arguments, environment));
}

static int trace(void)
{
    return error_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int make_process(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return error_of(child);
}

static int signal_others(void)
{
    return error_of(kill(getppid(), 0));
}

static int tap_the_network(void)
{
    return error_of(socket(AF_PACKET, SOCK_DGRAM, 0)); /* EPERM or EAFNOSUPPORT would be others' refusal */
}

static int speak_sctp(void)
{
    return error_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP));
}

static int speak_icmp(void)
{
    return error_of(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
}

static int write_packets(void)
{
    return error_of(socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
}

static int ask_generic_netlink(void)
{
    return error_of(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
}

static int map_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int turn_data_into_code(void)
{
    void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return data == MAP_FAILED ? 0 : error_of(mprotect(data, 4096, PROT_READ | PROT_EXEC));
}

static int raise_limit(void)
{
    static const unsigned long long limit[2] = {64, 64};
    return error_of(syscall(SYS_prlimit64, 0, 7, limit, NULL));
}

static int use_io_uring(void)
{
    return error_of(syscall(SYS_io_uring_setup, 0, NULL));
}

static int mount_something(void)
{
    return error_of(syscall(SYS_mount, NULL, "/tmp", "tmpfs", 0UL, NULL));
}

static void row_52_other_system_calls_are_refused(void **state)
{
    (void)state;
    if (SANDBOX_SANITIZED)
        SKIP_TEST("sanitizers make system calls of their own");
    static const struct {
        const char *name;
        int (*act)(void);
    } acts[] = {
        {"execve", run_program},
        {"ptrace", trace},
        {"fork", make_process},
        {"kill", signal_others},
        {"socket(AF_PACKET)", tap_the_network},
        {"socket(IPPROTO_SCTP)", speak_sctp},
        {"socket(IPPROTO_ICMPV6)", speak_icmp},
        {"socket(SOCK_RAW)", write_packets},
        {"socket(NETLINK_GENERIC)", ask_generic_netlink},
        {"mmap(PROT_EXEC)", map_code},
        {"mprotect(PROT_EXEC)", turn_data_into_code},
        {"setrlimit", raise_limit},
        {"io_uring_setup", use_io_uring},
        {"mount", mount_something},
    };
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        int status = enter(as(NULL, CONFIG_SANDBOX_ON), NULL, acts[i].act);
        /* A debug build is killed, others get an error. */
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
        bool failed = WIFEXITED(status) && WEXITSTATUS(status) == ENOSYS;
        if (!killed && !failed)
            fail_msg("%s: wait status %x", acts[i].name, (unsigned)status);
    }
}

static void *touch(void *arg)
{
    memset(arg, 1, 1 << 20);
    return NULL;
}

static bool know_interfaces(void)
{
    char name[IF_NAMESIZE];
    struct ifaddrs *addresses;
    if (getifaddrs(&addresses) < 0)
        return false;
    freeifaddrs(addresses);
    return if_nametoindex("lo") != 0 && if_indextoname(if_nametoindex("lo"), name);
}

/* Threads, memory, interfaces and sockets, by way of libc. */
static int work(void)
{
    pthread_t thread;
    void *memory = malloc(1 << 20);
    int error = memory ? pthread_create(&thread, NULL, touch, memory) : ENOMEM;
    if (!error)
        error = pthread_join(thread, NULL);
    free(memory);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    if (!error && fd < 0 && errno != EAFNOSUPPORT)
        error = errno;
    return error ? error : know_interfaces() ? 0 : ENODEV;
}

static int give_up(void)
{
    abort();
}

static void what_libc_needs_is_allowed(void **state)
{
    (void)state;
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, work), 0);
    int status = enter(as(NULL, CONFIG_SANDBOX_ON), NULL, give_up);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_52_root_becomes_nobody),
        cmocka_unit_test(row_52_a_user_and_a_group_by_name),
        cmocka_unit_test(row_52_nothing_but_a_socket_is_given_to_the_user),
        cmocka_unit_test(row_52_who_stays_root_keeps_nothing_but_the_name),
        cmocka_unit_test(row_52_without_root_all_the_rest_applies),
        cmocka_unit_test(a_user_that_cannot_be_had_is_an_error),
        cmocka_unit_test(root_without_its_capabilities_stays_unless_a_user_is_named),
        cmocka_unit_test(row_52_a_mark_keeps_one_capability_and_no_more),
        cmocka_unit_test(a_mark_can_be_set_where_one_is_configured_and_nowhere_else),
        cmocka_unit_test(a_mark_that_cannot_be_set_is_an_error),
        cmocka_unit_test(it_still_dies_with_whoever_started_it),
        cmocka_unit_test(other_files_are_out_of_reach),
        cmocka_unit_test(what_a_reload_reads_stays),
        cmocka_unit_test(files_that_are_read_again_stay),
        cmocka_unit_test(row_52_nobodys_home_is_in_reach),
        cmocka_unit_test(row_52_not_even_root_reads_the_passwords),
#ifdef SANDBOX_HAS_CALLS
        cmocka_unit_test(row_52_other_system_calls_are_refused),
        cmocka_unit_test(what_libc_needs_is_allowed),
#endif
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
