#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "udp.h"

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
    report->elapsed_ns = now_ns();
}

void report_end(struct report *report, const struct settings *settings)
{
    report->elapsed_ns = now_ns() - report->elapsed_ns;
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

int target_udp(union netaddr *address)
{
    netaddr_parse(address, "127.0.0.1", 0);
    int fd = udp_open(address);
    own_address(fd, address);
    return fd;
}

int target_listen(union netaddr *address)
{
    netaddr_parse(address, "127.0.0.1", 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
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
