#include "sandbox_child.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

static int call_bpf(enum bpf_cmd command)
{
    union bpf_attr none = {.map_fd = UINT32_MAX};
    return error_of(syscall(SYS_bpf, command, &none, sizeof(none)));
}

static int load_program(void)
{
    return call_bpf(BPF_PROG_LOAD);
}

static int create_map(void)
{
    return call_bpf(BPF_MAP_CREATE);
}

static int attach_program(void)
{
    return call_bpf(BPF_LINK_CREATE);
}

static int take_map_of_others(void)
{
    return call_bpf(BPF_MAP_GET_FD_BY_ID);
}

static int update_map(void)
{
    return call_bpf(BPF_MAP_UPDATE_ELEM);
}

static int delete_from_map(void)
{
    return call_bpf(BPF_MAP_DELETE_ELEM);
}

/* A debug build is killed, others get an error. */
static void expect_refused(const char *name, int (*act)(void))
{
    const int status = enter(as(NULL, CONFIG_SANDBOX_ON), NULL, act);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
    const bool failed = WIFEXITED(status) && WEXITSTATUS(status) == ENOSYS;
    if (!killed && !failed)
        fail_msg("%s: wait status %x", name, (unsigned)status);
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
        {"bpf(BPF_PROG_LOAD)", load_program},
        {"bpf(BPF_MAP_UPDATE_ELEM)", update_map},
    };
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
        expect_refused(acts[i].name, acts[i].act);
}

/* It changes entries of the maps that it has open; EBADF: these calls have none. */
static void row_52_the_kernel_path_can_change_maps_and_nothing_more(void **state)
{
    (void)state;
    if (SANDBOX_SANITIZED)
        SKIP_TEST("sanitizers make system calls of their own");
    with_kernel_path = true;
    expect_refused("bpf(BPF_PROG_LOAD)", load_program);
    expect_refused("bpf(BPF_MAP_CREATE)", create_map);
    expect_refused("bpf(BPF_LINK_CREATE)", attach_program);
    expect_refused("bpf(BPF_MAP_GET_FD_BY_ID)", take_map_of_others);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, update_map), EBADF);
    expect_exit(enter(as(NULL, CONFIG_SANDBOX_ON), NULL, delete_from_map), EBADF);
    with_kernel_path = false;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_52_other_system_calls_are_refused),
        cmocka_unit_test(row_52_the_kernel_path_can_change_maps_and_nothing_more),
        cmocka_unit_test(what_libc_needs_is_allowed),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
