#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "udp.h"
#include "whole_cpu.h"

#define WRONG_TOLD   5
#define SETTLE_TRIES 50
#define SETTLE_US    50000

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t warm_up_ns(const struct settings *settings)
{
    return settings->duration_ns / 5;
}

bool settings_direct(const struct settings *settings)
{
    return settings->proxy.sa.sa_family == AF_UNSPEC;
}

static struct usage server_usage(const struct settings *settings, struct usage (*measure)(pid_t))
{
    if (settings->pid == 0)
        return (struct usage){0};
    struct usage usage = measure(settings->pid);
    if (!usage.alive)
        bench_die(EXIT_SERVER, "the server (process %d) is gone", (int)settings->pid);
    return usage;
}

void report_begin(struct report *report, const struct settings *settings)
{
    /* What was wrong stays wrong, whenever it came. */
    *report = (struct report){.reordered = report->reordered,
                              .whole_sent = report->whole_sent,
                              .whole_answered = report->whole_answered,
                              .wrong_content = report->wrong_content,
                              .wrong_association = report->wrong_association,
                              .wrong_origin = report->wrong_origin};
    report->server_cpu_ns = server_usage(settings, usage_cpu_of_tree).cpu_ns;
    report->own_cpu_ns = usage_own_cpu_ns();
    if (settings->whole_cpu) {
        report->ksoftirqd_ns = whole_cpu_ksoftirqd_ns();
        report->idle_ns = whole_cpu_idle_ns();
    }
    report->elapsed_ns = now_ns();
}

void report_end(struct report *report, const struct settings *settings)
{
    report->elapsed_ns = now_ns() - report->elapsed_ns;
    if (settings->whole_cpu) {
        report->idle_ns = whole_cpu_idle_ns() - report->idle_ns;
        report->ksoftirqd_ns = whole_cpu_ksoftirqd_ns() - report->ksoftirqd_ns;
    }
    report->own_cpu_ns = usage_own_cpu_ns() - report->own_cpu_ns;
    report->server_cpu_ns = server_usage(settings, usage_cpu_of_tree).cpu_ns - report->server_cpu_ns;
}

/* The server may still be closing what an earlier load left: waits until its descriptors stay what they are. */
struct usage report_before(const struct settings *settings)
{
    struct usage usage = server_usage(settings, usage_of_tree);
    for (int i = 0; settings->pid && i < SETTLE_TRIES; i++) {
        uint64_t descriptors = usage.descriptors;
        usleep(SETTLE_US);
        usage = server_usage(settings, usage_of_tree);
        if (usage.descriptors == descriptors)
            break;
    }
    return usage;
}

void report_each(struct report *report, const struct settings *settings, const struct usage *before, unsigned count)
{
    struct usage after = server_usage(settings, usage_of_tree);
    report->kib_each = ((double)after.pss_kib - (double)before->pss_kib) / count;
    report->descriptors_each = ((double)after.descriptors - (double)before->descriptors) / count;
    report->tasks_each = ((double)after.tasks - (double)before->tasks) / count;
}

void report_wrong(const char *format, ...)
{
    static unsigned told;
    if (told++ >= WRONG_TOLD)
        return;
    va_list args;
    fputs("load: WRONG: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs(told == WRONG_TOLD ? "; further ones are only counted\n" : "\n", stderr);
}

static void own_address(int fd, union netaddr *address)
{
    socklen_t len = sizeof(*address);
    if (getsockname(fd, &address->sa, &len) < 0)
        bench_die(EXIT_SERVER, "getsockname: %s", strerror(errno));
}

/* A socket stays in the network namespace that it was made in. Returns the one to go back to. */
static int enter_netns(int netns)
{
    if (netns < 0)
        return -1;
    int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0 || setns(netns, CLONE_NEWNET) < 0)
        bench_die(EXIT_SERVER, "cannot enter the targets' network namespace: %s", strerror(errno));
    return home;
}

static void return_to_netns(int home)
{
    if (home < 0)
        return;
    if (setns(home, CLONE_NEWNET) < 0)
        bench_die(EXIT_SERVER, "cannot return from the targets' network namespace: %s", strerror(errno));
    close(home);
}

int target_udp(const struct settings *settings, union netaddr *address)
{
    *address = settings->target_at;
    int home = enter_netns(settings->target_netns);
    int fd = udp_open(address);
    return_to_netns(home);
    own_address(fd, address);
    return fd;
}

int target_listen(const struct settings *settings, union netaddr *address)
{
    *address = settings->target_at;
    int home = enter_netns(settings->target_netns);
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return_to_netns(home);
    if (fd < 0 || bind(fd, &address->sa, netaddr_len(address)) < 0 || listen(fd, SOMAXCONN) < 0)
        bench_die(EXIT_SERVER, "cannot listen for the server's connections: %s", strerror(errno));
    own_address(fd, address);
    return fd;
}

bool wait_readable(int fd, int timeout_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, timeout_ms) > 0;
}
