#include "daemon/watermark.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>

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

struct watermark {
    struct memory *memory;
    struct event timer;
    enum memory_level level;
    struct memory_use use;
    uint64_t level_since_ms, trimmed_ms;
    size_t worker_count;
    struct worker *const *workers;
};

static void log_level_change(const struct watermark *watermark, struct memory_use use, enum memory_level before)
{
    const uint64_t mib = 1024 * 1024, used = use.used / mib, limit = use.limit / mib;
    if (watermark->level == MEMORY_CRITICAL)
        log_warning("memory runs out: %" PRIu64 " of %" PRIu64
                    " MiB (%s); new clients are refused, and streams whose reader does not read end",
                    used, limit, memory_limited_by(watermark->memory));
    else if (watermark->level == MEMORY_AMPLE)
        log_info("memory is ample again: %" PRIu64 " of %" PRIu64 " MiB", used, limit);
    else if (before == MEMORY_AMPLE)
        log_warning("memory is short: %" PRIu64 " of %" PRIu64
                    " MiB (%s); new clients are refused, and the longest idle associations end",
                    used, limit, memory_limited_by(watermark->memory));
}

/* libc keeps what was freed, which counts as ours: after a flood, and when it is wanted, it goes back to the system. */
static void trim_heap(struct watermark *watermark, uint64_t now)
{
    if (now - watermark->trimmed_ms < 1000)
        return;
    watermark->trimmed_ms = now;
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

static void settle_level(struct watermark *watermark, struct memory_use use, uint64_t now)
{
    enum memory_level before = watermark->level, next = memory_level_of(use, before);
    if (next == before || (next < before && now - watermark->level_since_ms < LEVEL_KEPT_MS))
        return;
    watermark->level = next;
    watermark->level_since_ms = now;
    log_level_change(watermark, use, before);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct watermark *watermark = arg;
    struct memory_use use;
    uint64_t in_sockets = 0, now = env_clock_coarse();
    const enum memory_level before = watermark->level;
    for (size_t i = 0; i < watermark->worker_count; i++)
        in_sockets += worker_session_memory(watermark->workers[i]);
    if (!memory_read(watermark->memory, in_sockets, &use)) {
        event_add(&watermark->timer, &periods[true][false]);
        return;
    }
    watermark->use = use;
    settle_level(watermark, use, now);
    if (before != MEMORY_AMPLE)
        trim_heap(watermark, now);
    const struct relief_order order = {
        .level = watermark->level,
        .recedes = memory_level_of(use, watermark->level) < watermark->level,
        .excess = (size_t)memory_excess(use) / watermark->worker_count,
        .measure = memory_counts_sockets(watermark->memory),
    };
    if (order.measure || before != MEMORY_AMPLE || order.level != MEMORY_AMPLE)
        for (size_t i = 0; i < watermark->worker_count; i++)
            worker_relieve(watermark->workers[i], &order);
    event_add(&watermark->timer, &periods[order.measure][use.used > use.limit / 2]);
}

struct watermark *watermark_new(struct event_base *base, uint64_t limit, struct worker *const *workers,
                                size_t worker_count)
{
    struct memory *memory = memory_open(limit, "/proc/self", "/sys/fs/cgroup");
    struct watermark *watermark = memory ? calloc(1, sizeof(*watermark)) : NULL;
    struct memory_use use;
    if (!watermark) {
        memory_close(memory);
        return NULL;
    }
    watermark->memory = memory;
    watermark->workers = workers;
    watermark->worker_count = worker_count;
    event_assign(&watermark->timer, base, -1, 0, on_timer, watermark);
    event_add(&watermark->timer, &periods[false][false]);
    if (memory_read(memory, 0, &use)) {
        watermark->use = use;
        log_info("%" PRIu64 " MiB at most (%s), %" PRIu64 " in use", use.limit >> 20, memory_limited_by(memory),
                 use.used >> 20);
    }
    return watermark;
}

enum memory_level watermark_level(const struct watermark *watermark, struct memory_use *use)
{
    *use = watermark->use;
    return watermark->level;
}

void watermark_free(struct watermark *watermark)
{
    if (!watermark)
        return;
    event_del(&watermark->timer);
    memory_close(watermark->memory);
    free(watermark);
}
