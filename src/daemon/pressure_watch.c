#include "daemon/pressure_watch.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/clock.h"
#define LOG_MODULE "memory"
#include "base/log.h"
#include "daemon/memory.h"
#include "daemon/worker.h"
#include "proxy/env.h"

/* How often to look: below half of the limit, and above. The kernel's buffers fill within fractions of a second, and
 * who only reads a file can afford to look often; who has to ask each socket looks less often. */
static const struct timeval periods[2][2] = {
    [false] = {{.tv_usec = 100 * 1000}, {.tv_usec = 20 * 1000}},
    [true] = {{.tv_usec = 250 * 1000}, {.tv_usec = 100 * 1000}},
};
/* A level is not left sooner: what was given back is soon asked for again. */
#define LEVEL_KEPT_MS 2000

struct pressure_watch {
    struct memory *memory;
    struct event timer;
    enum memory_level level;
    struct memory_use use;
    uint64_t level_since_ms, trimmed_ms;
    size_t worker_count;
    struct worker *const *workers;
};

static void log_level_change(const struct pressure_watch *watch, struct memory_use use, enum memory_level before)
{
    const uint64_t mib = 1024 * 1024, used = use.used / mib, limit = use.limit / mib;
    if (watch->level == MEMORY_CRITICAL)
        log_warning("memory runs out: %" PRIu64 " of %" PRIu64
                    " MiB (%s); new clients are refused, and streams whose reader does not read end",
                    used, limit, memory_limited_by(watch->memory));
    else if (watch->level == MEMORY_AMPLE)
        log_info("memory is ample again: %" PRIu64 " of %" PRIu64 " MiB", used, limit);
    else if (before == MEMORY_AMPLE)
        log_warning("memory is short: %" PRIu64 " of %" PRIu64
                    " MiB (%s); new clients are refused, and the longest idle associations end",
                    used, limit, memory_limited_by(watch->memory));
}

/* libc keeps what was freed, which counts as ours: after a flood, and when it is wanted, it goes back to the system. */
static void trim_heap(struct pressure_watch *watch, uint64_t now)
{
    if (now - watch->trimmed_ms < 1000)
        return;
    watch->trimmed_ms = now;
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

static void settle_level(struct pressure_watch *watch, struct memory_use use, uint64_t now)
{
    enum memory_level before = watch->level, next = memory_level_of(use, before);
    if (next == before || (next < before && now - watch->level_since_ms < LEVEL_KEPT_MS))
        return;
    watch->level = next;
    watch->level_since_ms = now;
    log_level_change(watch, use, before);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pressure_watch *watch = arg;
    struct memory_use use;
    uint64_t in_sockets = 0, now = clock_coarse_ms();
    const enum memory_level before = watch->level;
    for (size_t i = 0; i < watch->worker_count; i++)
        in_sockets += worker_session_memory(watch->workers[i]);
    if (!memory_read(watch->memory, in_sockets, &use)) {
        event_add(&watch->timer, &periods[true][false]);
        return;
    }
    watch->use = use;
    settle_level(watch, use, now);
    if (before != MEMORY_AMPLE)
        trim_heap(watch, now);
    const struct memory_pressure_order order = {
        .level = watch->level,
        .recedes = memory_level_of(use, watch->level) < watch->level,
        .excess = (size_t)memory_excess(use) / watch->worker_count,
        .measure = memory_counts_sockets(watch->memory),
    };
    if (order.measure || before != MEMORY_AMPLE || order.level != MEMORY_AMPLE)
        for (size_t i = 0; i < watch->worker_count; i++)
            worker_relieve(watch->workers[i], &order);
    event_add(&watch->timer, &periods[order.measure][use.used > use.limit / 2]);
}

struct pressure_watch *pressure_watch_new(struct event_base *base, uint64_t limit, struct worker *const *workers,
                                          size_t worker_count)
{
    struct memory *memory = memory_open(limit, "/proc/self", "/sys/fs/cgroup");
    struct pressure_watch *watch = memory ? calloc(1, sizeof(*watch)) : NULL;
    struct memory_use use;
    if (!watch) {
        memory_close(memory);
        return NULL;
    }
    watch->memory = memory;
    watch->workers = workers;
    watch->worker_count = worker_count;
    event_assign(&watch->timer, base, -1, 0, on_timer, watch);
    event_add(&watch->timer, &periods[false][false]);
    if (memory_read(memory, 0, &use)) {
        watch->use = use;
        log_info("%" PRIu64 " MiB at most (%s), %" PRIu64 " in use", use.limit >> 20, memory_limited_by(memory),
                 use.used >> 20);
    }
    return watch;
}

enum memory_level pressure_watch_level(const struct pressure_watch *watch, struct memory_use *use)
{
    *use = watch->use;
    return watch->level;
}

void pressure_watch_free(struct pressure_watch *watch)
{
    if (!watch)
        return;
    event_del(&watch->timer);
    memory_close(watch->memory);
    free(watch);
}
