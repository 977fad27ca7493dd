/*
 * seccomp: allows the system calls that the server needs, and no others. The list has names, since the set of calls
 * depends on the machine; libseccomp knows their numbers.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "sandbox"
#include "base/log.h"
#include "base/util.h"
#include "daemon/sandbox_impl.h"

/*
 * In a debug build, a call that is missing in the list must be noticed. In production it fails with ENOSYS and a line
 * in the kernel's log: with that error, a newer libc avoids a call that is not in our list.
 */
#ifdef SANDBOX_KILLS
#define OTHERWISE SCMP_ACT_KILL_PROCESS
#else
#define OTHERWISE SCMP_ACT_ERRNO(ENOSYS)
#endif

static const char *const allowed_calls[] = {
    /* the event loops, and between threads */
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "poll", "ppoll",
    "ppoll_time64", "select", "pselect6", "timerfd_create", "timerfd_settime", "futex", "futex_time64", "membarrier",
    /* sockets: the policy decides what they connect to */
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socketpair",
    /* descriptors */
    "close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "pipe", "pipe2", "pread64", "pwrite64", "read",
    "readv", "splice", "write", "writev",
    /* files: Landlock decides which ones */
    "_llseek", "access", "chdir", "faccessat", "faccessat2", "flock", "fstat", "fstat64", "fstatat64", "ftruncate",
    "ftruncate64", "lseek", "lstat", "lstat64", "newfstatat", "open", "openat", "readlink", "readlinkat", "stat",
    "stat64", "statx", "unlink", "unlinkat",
    /* memory */
    "brk", "madvise", "mremap", "munmap",
    /* threads, signals and the end; of clone3, see below */
    "clone3", "exit", "exit_group", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "sigaltstack",
    "sigreturn",
    /* the time, and what the process knows about itself */
    "clock_getres", "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getegid",
    "geteuid", "getgid", "getpid", "getppid", "getrandom", "getrusage", "gettid", "gettimeofday", "getuid", "nanosleep",
    "sysinfo", "time", "times", "ugetrlimit", "uname", /* qsort(3) asks how much memory there is */
};

#define IS(index, value)    SCMP_CMP64(index, SCMP_CMP_EQ, (scmp_datum_t)(value), 0)
#define LACKS(index, flags) SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(flags), 0)
#define HAS(index, flags)   SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, (scmp_datum_t)(flags), (scmp_datum_t)(flags))
/* The type of a socket, with any flags (SOCK_NONBLOCK, SOCK_CLOEXEC). */
#define IS_TYPE(type)         SCMP_CMP64(1, SCMP_CMP_MASKED_EQ, (scmp_datum_t)0xf, (scmp_datum_t)(type))
#define IS_PROTOCOL(protocol) SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, (scmp_datum_t)UINT32_MAX, (scmp_datum_t)(protocol))
#define THREAD                (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* Adds one rule. A call that this machine or this libseccomp does not know needs none. */
static int filter_permit(scmp_filter_ctx filter, const char *name, unsigned count,
                         const struct scmp_arg_cmp *conditions)
{
    int number = seccomp_syscall_resolve_name(name);
    return number == __NR_SCMP_ERROR ? 0 : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, conditions);
}

/* Calls that are harmless with some arguments only. */
static int filter_permit_some(scmp_filter_ctx filter)
{
    const struct {
        const char *name;
        unsigned count;
        struct scmp_arg_cmp conditions[3];
    } rules[] = {
        /* clients, destinations, name servers: TCP and UDP, but none of the kernel's rarer protocols */
        {"socket", 3, {IS(0, AF_INET), IS_TYPE(SOCK_STREAM), IS_PROTOCOL(0)}},
        {"socket", 3, {IS(0, AF_INET), IS_TYPE(SOCK_STREAM), IS_PROTOCOL(IPPROTO_TCP)}},
        {"socket", 3, {IS(0, AF_INET), IS_TYPE(SOCK_DGRAM), IS_PROTOCOL(0)}},
        {"socket", 3, {IS(0, AF_INET), IS_TYPE(SOCK_DGRAM), IS_PROTOCOL(IPPROTO_UDP)}},
        {"socket", 3, {IS(0, AF_INET6), IS_TYPE(SOCK_STREAM), IS_PROTOCOL(0)}},
        {"socket", 3, {IS(0, AF_INET6), IS_TYPE(SOCK_STREAM), IS_PROTOCOL(IPPROTO_TCP)}},
        {"socket", 3, {IS(0, AF_INET6), IS_TYPE(SOCK_DGRAM), IS_PROTOCOL(0)}},
        {"socket", 3, {IS(0, AF_INET6), IS_TYPE(SOCK_DGRAM), IS_PROTOCOL(IPPROTO_UDP)}},
        {"socket", 1, {IS(0, AF_UNIX)}},                                /* syslog */
        {"socket", 2, {IS(0, AF_NETLINK), IS_PROTOCOL(NETLINK_ROUTE)}}, /* this host's own addresses */
        {"ioctl", 1, {IS(1, FIONREAD)}},                                /* libevent's buffers */
        {"ioctl", 1, {IS(1, SIOCGIFINDEX)}},                            /* fe80::1%eth0 to its number */
        {"ioctl", 1, {IS(1, SIOCGIFNAME)}},                             /* and back */
        {"mmap", 1, {LACKS(2, PROT_EXEC)}},                             /* memory, no new code */
        {"mmap2", 1, {LACKS(2, PROT_EXEC)}},                            /* the same on 32-bit machines */
        {"mprotect", 1, {LACKS(2, PROT_EXEC)}},                         /* nor by a detour */
        {"clone", 1, {HAS(0, THREAD)}},                                 /* threads, no processes */
        {"prctl", 1, {IS(0, PR_SET_NAME)}},                             /* of a thread */
        {"prlimit64", 2, {IS(0, 0), IS(2, 0)}},                         /* to ask, not to set */
        {"tgkill", 1, {IS(0, getpid())}},                               /* abort(3) */
    };
    int error = 0;
    for (size_t i = 0; i < ARRAY_LEN(rules) && !error; i++)
        error = filter_permit(filter, rules[i].name, rules[i].count, rules[i].conditions);
    return error;
}

/* What was loaded and opened at the start can be used, and nothing else loaded. */
static int filter_permit_maps(scmp_filter_ctx filter)
{
    static const int commands[] = {BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM};
    int error = 0;
    for (size_t i = 0; i < ARRAY_LEN(commands) && !error; i++) {
        const struct scmp_arg_cmp condition = IS(0, commands[i]);
        error = filter_permit(filter, "bpf", 1, &condition);
    }
    return error;
}

static int filter_load(scmp_filter_ctx filter, bool kernel_path)
{
    int error = 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed_calls) && !error; i++)
        error = filter_permit(filter, allowed_calls[i], 0, NULL);
    if (!error)
        error = filter_permit_some(filter);
    if (!error && kernel_path)
        error = filter_permit_maps(filter);
    if (!error)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a long list */
    if (!error)
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1); /* Linux 4.14 and later */
    return error ? error : seccomp_load(filter);
}

/* The flags of clone3 are in memory, where no filter sees them; without it, libc starts threads with clone. This is a
 * separate filter because it is not worth a line in the kernel's log, which each refusal of the main filter causes. */
static int filter_clone3(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) : -ENOMEM;
    if (!error)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error;
}

static int filter_others(bool kernel_path)
{
    scmp_filter_ctx filter = seccomp_init(OTHERWISE);
    int error = filter ? filter_load(filter, kernel_path) : -ENOMEM;
    seccomp_release(filter);
    return error;
}

bool sandbox_calls(bool kernel_path)
{
    int error = filter_clone3();
    if (!error)
        error = filter_others(kernel_path);
    if (error)
        log_error("cannot restrict the system calls (seccomp): %s. To start without a sandbox, set run.sandbox: off",
                  strerror(-error));
    return !error;
}
