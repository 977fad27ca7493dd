#include "daemon/system.h"

#include <event2/event.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "base/log_output.h"
#include "net/sock.h"

size_t system_cpus(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (size_t)count : 1;
}

void system_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        log_info("open files: at most %llu", (unsigned long long)limit.rlim_cur);
}

uint64_t system_descriptor_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? UINT64_MAX : limit.rlim_cur;
}

void system_log_receive_buffer(void)
{
    int fd = sock_udp_open(NULL, AF_INET, false), granted = 0;
    socklen_t len = sizeof(granted);
    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &len) == 0)
        log_info("UDP receive buffers: %d KiB each%s", granted / 1024,
                 granted / 2 < SOCK_UDP_BUFFER
                     ? "; to lose fewer datagrams in bursts, raise net.core.rmem_max to 1048576"
                     : "");
    close(fd);
}

/* libevent ends the process after this: what the log's thread has not written yet would be lost. */
static void system_on_libevent_fatal(int error)
{
    log_error("libevent: fatal error %d", error);
    log_stop();
    abort();
}

static void system_on_libevent_log(int severity, const char *message)
{
    if (severity >= EVENT_LOG_WARN)
        log_warning("libevent: %s", message);
    else
        log_debug("libevent: %s", message);
}

void system_log_libevent(void)
{
    event_set_log_callback(system_on_libevent_log);
    event_set_fatal_callback(system_on_libevent_fatal);
}
