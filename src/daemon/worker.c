#include "daemon/worker.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#define LOG_MODULE "worker"
#include "base/calendar.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "daemon/balance.h"
#include "daemon/inherited.h"
#include "daemon/listeners.h"
#include "host/addresses.h"
#include "host/host.h"
#include "kernel/kernel_path.h"
#include "net/inbox.h"
#include "net/pump.h"
#include "net/resolver.h"
#include "net/ticker.h"
#include "proxy/assoc/shared_socket.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "proxy/session/login.h"
#include "proxy/session/session_list.h"
#include "proxy/session/sessions.h"

struct worker {
    struct env env;
    struct listeners listeners;
    struct ticker sweep;
    struct inbox_item stop;
    pthread_t thread; /* the main thread's */
    bool started;     /* likewise */
    pthread_t self;   /* the worker's own, while it `runs` */
    bool runs;
};

/* ---- the loop ---- */

static void worker_on_sweep(void *arg)
{
    struct worker *worker = arg;
    assert(worker_is_current(worker));
    sessions_sweep(&worker->env);
    pump_pool_trim(worker->env.pumps);
    balance_note_work(worker->listeners.place, clock_thread_us());
}

static void worker_on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    assert(worker_is_current(worker));
    sessions_reap(&worker->env);
}

static void worker_on_stop(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, stop);
    listeners_close(&worker->listeners);
    balance_leave(worker->listeners.place);
    sessions_end(&worker->env, "server stops");
    shared_sockets_close(&worker->env);
    event_base_loopbreak(worker->env.base);
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    worker->self = pthread_self();
    worker->runs = true;
    pthread_setname_np(pthread_self(), "worker"); /* the sandbox does not allow to name another thread */
    event_base_dispatch(worker->env.base);
    worker->runs = false;
    return NULL;
}

int worker_start(struct worker *worker, struct auth *auth)
{
    assert(!worker->started);
    worker->env.logins = logins_new(auth, worker->env.config->limits.failed_logins);
    if (!worker->env.logins)
        return -ENOMEM;
    int error = pthread_create(&worker->thread, NULL, worker_run, worker);
    worker->started = error == 0;
    return -error;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    worker->stop.run = worker_on_stop;
    worker_post(worker, &worker->stop);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

/* ---- life ---- */

static bool worker_init_env(struct worker *worker, struct snapshot *snapshot, struct host *host)
{
    const struct config *config = snapshot->config;
    struct env *env = &worker->env;
    struct resolver_options options = lookup_resolver_options(config);
    options.metrics = &env->metrics;
    options.reserve = host->reserve;
    options.files_told = &host->files_told;
    env->host = host;
    env->quota = host->quota;
    env->policy.own_hosts = own_hosts_hold(addresses_hosts(host->addresses));
    env->policy.own_ports = host->own_ports;
    env->system_ports = port_range_of_system(host->ports);
    env->counts_icmp = config->udp.icmp == CONFIG_ICMP_COUNT;
    env->dgrams = dgram_io_new(config->udp.offload == CONFIG_OFFLOAD_AUTO && dgram_io_can_offload());
    (void)env_use(env, snapshot);
    env->clock_ms = clock_coarse_ms;
    env->today = calendar_today;
    TAILQ_INIT(&env->sessions);
    TAILQ_INIT(&env->waiting);
    TAILQ_INIT(&env->dials);
    TAILQ_INIT(&env->ended);
    env->base = event_base_new();
    if (!env->base)
        return false;
    event_assign(&env->reaper, env->base, -1, 0, worker_on_reap, worker);
    env->inbox = inbox_new(env->base);
    env->pumps = pump_pool_new(true, host->reserve);
    env->resolver = resolver_new(env->base, &options);
    return env->inbox && env->pumps && env->dgrams && env->resolver;
}

/* A worker without a part of the kernel path relays all datagrams itself. */
static void worker_join_kernel_path(struct worker *worker, size_t index)
{
    struct kernel_path *path = worker->env.host->kernel_path;
    worker->env.kernel = path ? kernel_worker_new(path, (unsigned)index) : NULL;
    if (path && !worker->env.kernel)
        log_warning("udp.kernel_path: worker %zu relays all datagrams in user space: no memory, no descriptors "
                    "(ulimit -n), or more than 256 workers",
                    index);
}

struct worker *worker_new(struct snapshot *snapshot, struct host *host, struct balance *balance,
                          const struct inherited_share *share, bool paused)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker)
        worker->listeners =
            (struct listeners){.env = &worker->env, .place = balance_join(balance, &worker->env), .paused = paused};
    if (!worker || !worker_init_env(worker, snapshot, host)) {
        log_error("cannot set up a worker: no memory, or no descriptors (ulimit -n)");
        worker_free(worker);
        return NULL;
    }
    worker_join_kernel_path(worker, share->worker);
    if (ticker_start(&worker->sweep, worker->env.base, 1, worker_on_sweep, worker) &&
        listeners_open(&worker->listeners, snapshot->config, share))
        return worker;
    worker_free(worker);
    return NULL;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    struct env *env = &worker->env;
    assert(!worker->started);
    balance_leave(worker->listeners.place);
    if (env->base) {
        listeners_close(&worker->listeners);
        sessions_end(env, "server stops");
        sessions_reap(env);
        if (env->inbox)
            inbox_free(env->inbox);
        if (env->resolver)
            resolver_free(env->resolver);
        ticker_stop(&worker->sweep);
        event_base_free(env->base);
    }
    assert(TAILQ_EMPTY(&env->sessions) && TAILQ_EMPTY(&env->ended));
    logins_free(env->logins);
    own_hosts_release(env->policy.own_hosts);
    snapshot_release(env->snapshot);
    kernel_worker_free(env->kernel);
    dgram_io_free(env->dgrams);
    pump_pool_free(env->pumps);
    free(worker);
}

/* ---- for others ---- */

void worker_post(struct worker *worker, struct inbox_item *item)
{
    assert(item->run);
    inbox_post(worker->env.inbox, item);
}

bool worker_is_current(const struct worker *worker)
{
    return !worker->runs || pthread_equal(worker->self, pthread_self());
}

struct env *worker_env(struct worker *worker)
{
    assert(worker_is_current(worker));
    return &worker->env;
}

struct listeners *worker_listeners(struct worker *worker)
{
    assert(worker_is_current(worker));
    return &worker->listeners;
}

void worker_list_sessions(struct worker *worker, struct session_list *list, uint64_t after)
{
    session_list_take(list, worker_env(worker), after);
}

const struct metrics *worker_metrics(const struct worker *worker)
{
    return &worker->env.metrics;
}
