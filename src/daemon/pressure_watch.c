#include "daemon/pressure_watch.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#define LOG_MODULE "memory"
#include "base/log.h"
#include "base/util.h"
#include "daemon/crew.h"
#include "daemon/memory.h"
#include "daemon/worker.h"
#include "proxy/env.h"

/* How often to look, below and above half of the limit. The kernel's buffers fill within fractions of a second. Reading
 * a file is cheap enough to be done often; [true]: each socket has to be asked, which is done less often. */
static const struct timeval pressure_periods[2][2] = {
    [false] = {{.tv_usec = 100 * 1000}, {.tv_usec = 20 * 1000}},
    [true] = {{.tv_usec = 250 * 1000}, {.tv_usec = 100 * 1000}},
};
/* A level lasts at least so long: what was given back is soon asked for again. */
#define LEVEL_KEPT_MS 2000

struct pressure_watch {
    struct memory *memory;
    struct event timer;
    enum memory_level level;
    struct memory_use use;
    uint64_t level_since_ms, trimmed_ms;
    size_t worker_count;
    struct pressure_order {
        struct inbox_item item; /* the worker's while `pending`, like the order */
        struct worker *worker;
        struct memory_pressure_order order;
        atomic_bool pending;
        atomic_size_t held; /* what the worker's sessions held when it last measured that */
    } orders[];
};

/* ---- on a worker's thread ---- */

static void pressure_order_obey(struct inbox_item *item)
{
    struct pressure_order *order = container_of(item, struct pressure_order, item);
    size_t held = memory_pressure_relieve(worker_env(order->worker), &order->order);
    atomic_store_explicit(&order->held, held, memory_order_relaxed);
    atomic_store_explicit(&order->pending, false, memory_order_release);
}

/* ---- on the main thread ---- */

/* Skipped while the previous order is pending. */
static void pressure_order_send(struct pressure_order *order, const struct memory_pressure_order *wanted)
{
    if (atomic_load_explicit(&order->pending, memory_order_acquire))
        return;
    order->order = *wanted;
    atomic_store_explicit(&order->pending, true, memory_order_relaxed);
    worker_post(order->worker, &order->item);
}

static void pressure_watch_log_level(const struct pressure_watch *watch, struct memory_use use,
                                     enum memory_level before)
{
    const uint64_t mib = 1024 * 1024, used = use.used / mib, limit = use.limit / mib;
    if (watch->level == MEMORY_CRITICAL)
        log_warning("memory is almost used up: %" PRIu64 " of %" PRIu64
                    " MiB (%s); refusing new clients, and ending streams whose reader does not read",
                    used, limit, memory_limited_by(watch->memory));
    else if (watch->level == MEMORY_AMPLE)
        log_info("memory is no longer short: %" PRIu64 " of %" PRIu64 " MiB", used, limit);
    else if (before == MEMORY_AMPLE)
        log_warning("memory is short: %" PRIu64 " of %" PRIu64
                    " MiB (%s); refusing new clients, and ending the longest idle associations",
                    used, limit, memory_limited_by(watch->memory));
}

/* libc keeps what was freed, and that counts as ours: give it back to the system while memory is short. */
static void pressure_watch_trim_heap(struct pressure_watch *watch, uint64_t now)
{
    if (now - watch->trimmed_ms < 1000)
        return;
    watch->trimmed_ms = now;
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

static void pressure_watch_set_level(struct pressure_watch *watch, struct memory_use use, uint64_t now)
{
    enum memory_level before = watch->level, next = memory_level_of(use, before);
    if (next == before || (next < before && now - watch->level_since_ms < LEVEL_KEPT_MS))
        return;
    assert(next >= MEMORY_AMPLE && next <= MEMORY_CRITICAL);
    watch->level = next;
    watch->level_since_ms = now;
    pressure_watch_log_level(watch, use, before);
}

static void pressure_watch_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pressure_watch *watch = arg;
    struct memory_use use;
    uint64_t in_sockets = 0, now = clock_coarse_ms();
    const enum memory_level before = watch->level;
    for (size_t i = 0; i < watch->worker_count; i++)
        in_sockets += atomic_load_explicit(&watch->orders[i].held, memory_order_relaxed);
    if (!memory_read(watch->memory, in_sockets, &use)) {
        event_add(&watch->timer, &pressure_periods[true][false]);
        return;
    }
    watch->use = use;
    pressure_watch_set_level(watch, use, now);
    if (before != MEMORY_AMPLE)
        pressure_watch_trim_heap(watch, now);
    const struct memory_pressure_order order = {
        .level = watch->level,
        .recedes = memory_level_of(use, watch->level) < watch->level,
        .excess = (size_t)memory_excess(use) / watch->worker_count,
        .measure = memory_counts_sockets(watch->memory),
    };
    if (order.measure || before != MEMORY_AMPLE || order.level != MEMORY_AMPLE)
        for (size_t i = 0; i < watch->worker_count; i++)
            pressure_order_send(&watch->orders[i], &order);
    event_add(&watch->timer, &pressure_periods[order.measure][use.used > use.limit / 2]);
}

struct pressure_watch *pressure_watch_new(struct event_base *base, uint64_t limit, const struct crew *crew)
{
    const size_t count = crew_size(crew);
    struct memory *memory = memory_open(limit, "/proc/self", "/sys/fs/cgroup");
    struct pressure_watch *watch = memory ? calloc(1, sizeof(*watch) + count * sizeof(struct pressure_order)) : NULL;
    struct memory_use use;
    if (!watch) {
        memory_close(memory);
        return NULL;
    }
    watch->memory = memory;
    watch->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        watch->orders[i].item.run = pressure_order_obey;
        watch->orders[i].worker = crew_worker(crew, i);
    }
    event_assign(&watch->timer, base, -1, 0, pressure_watch_on_timer, watch);
    event_add(&watch->timer, &pressure_periods[false][false]);
    if (memory_read(memory, 0, &use)) {
        watch->use = use;
        log_info("limit: %" PRIu64 " MiB (%s), %" PRIu64 " in use", use.limit >> 20, memory_limited_by(memory),
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
