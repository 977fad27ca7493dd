#include "daemon/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "worker"
#include "base/log.h"
#include "base/util.h"
#include "daemon/listeners.h"
#include "host/addresses.h"
#include "host/host.h"
#include "net/inbox.h"
#include "net/pump.h"
#include "net/resolver.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/assoc/shared_port.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "proxy/memory_pressure.h"
#include "proxy/session/login.h"
#include "proxy/session/session.h"
#include "proxy/session/session_list.h"

static const struct timeval sweep_period = {.tv_sec = 1};

struct worker {
    struct env env;
    pthread_t thread;
    bool running;
    struct event sweep;
    struct inbox_item stop, relief, ping, closing, resume, hosts;
    bool takes_waiting; /* when it closes: the main thread's until then */
    atomic_bool accepts;
    struct memory_pressure_order order; /* the main thread's, the worker's while `ordered` */
    atomic_bool ordered, pinged;
    atomic_size_t session_memory;
    _Atomic(struct own_hosts *) fresh_hosts; /* held, on their way to this worker; NULL: none */
    struct listeners listeners;
    struct handover_link *kin[2]; /* an elder and a younger one */
    size_t handover_link_count;
};

/* ---- listening ---- */

static void on_copy(struct inbox_item *item)
{
    struct worker_listeners *copy = container_of(item, struct worker_listeners, item);
    struct worker *worker = copy->worker;
    copy->udp = (struct worker_sockets){0};
    copy->error = listeners_copy(&worker->listeners, &copy->tcp.fds, &copy->tcp.count);
    if (!copy->error)
        copy->error = shared_port_copy(&worker->env, &copy->udp.fds, &copy->udp.count);
    copy->done(copy);
}

void worker_copy_listeners(struct worker_listeners *listeners)
{
    listeners->item.run = on_copy;
    inbox_post(listeners->worker->env.inbox, &listeners->item);
}

static void on_give_up(struct inbox_item *item)
{
    struct worker_listeners *listeners = container_of(item, struct worker_listeners, item);
    shared_port_give_up(&listeners->worker->env);
    listeners->done(listeners);
}

void worker_give_up(struct worker_listeners *listeners)
{
    listeners->item.run = on_give_up;
    inbox_post(listeners->worker->env.inbox, &listeners->item);
}

/* A descriptor on its way to a worker. */
struct passing {
    struct inbox_item item;
    struct worker *worker;
    int fd;
};

/* false: no memory. */
static bool pass(struct worker *worker, int fd, void (*run)(struct inbox_item *item))
{
    struct passing *passing = malloc(sizeof(*passing));
    if (!passing) {
        log_error("a worker cannot take part in the upgrade: no memory");
        return false;
    }
    *passing = (struct passing){.item = {.run = run}, .worker = worker, .fd = fd};
    inbox_post(worker->env.inbox, &passing->item);
    return true;
}

static void on_adopt(struct inbox_item *item)
{
    struct passing *passing = container_of(item, struct passing, item);
    shared_port_adopt(&passing->worker->env, passing->fd);
    free(passing);
}

void worker_adopt(struct worker *worker, int fd)
{
    if (!pass(worker, fd, on_adopt))
        close(fd);
}

static void on_kin(struct inbox_item *item)
{
    struct passing *passing = container_of(item, struct passing, item);
    struct worker *worker = passing->worker;
    struct handover_link *kin = handover_link_new(&worker->env, passing->fd);
    if (kin)
        worker->kin[worker->handover_link_count++] = kin;
    free(passing);
}

void worker_hear(struct worker *worker, int kin)
{
    if (!pass(worker, kin, on_kin))
        handover_link_give_up(worker->env.host, kin);
}

static void on_resume(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, resume);
    listeners_resume(&worker->listeners);
}

void worker_resume(struct worker *worker)
{
    worker->resume.run = on_resume;
    inbox_post(worker->env.inbox, &worker->resume);
}

static void on_closing(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, closing);
    if (worker->takes_waiting)
        listeners_accept_waiting(&worker->listeners);
    listeners_close(&worker->listeners);
    atomic_store_explicit(&worker->accepts, false, memory_order_release);
}

void worker_close(struct worker *worker, bool take_waiting)
{
    worker->takes_waiting = take_waiting;
    worker->closing.run = on_closing;
    inbox_post(worker->env.inbox, &worker->closing);
}

bool worker_accepts(const struct worker *worker)
{
    return atomic_load_explicit(&worker->accepts, memory_order_acquire);
}

/* ---- the loop ---- */

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    sessions_sweep(&worker->env);
    pump_pool_trim(worker->env.pumps);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    sessions_reap(&worker->env);
}

static void on_stop(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, stop);
    listeners_close(&worker->listeners);
    sessions_end(&worker->env, "server stops");
    shared_port_close(&worker->env);
    event_base_loopbreak(worker->env.base);
}

static void on_relief(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, relief);
    size_t held = memory_pressure_relieve(&worker->env, &worker->order);
    atomic_store_explicit(&worker->session_memory, held, memory_order_relaxed);
    atomic_store_explicit(&worker->ordered, false, memory_order_release);
}

void worker_relieve(struct worker *worker, const struct memory_pressure_order *order)
{
    if (atomic_load_explicit(&worker->ordered, memory_order_acquire))
        return;
    worker->order = *order;
    worker->relief.run = on_relief;
    atomic_store_explicit(&worker->ordered, true, memory_order_relaxed);
    inbox_post(worker->env.inbox, &worker->relief);
}

size_t worker_session_memory(const struct worker *worker)
{
    return atomic_load_explicit(&worker->session_memory, memory_order_relaxed);
}

static void on_hosts(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, hosts);
    struct policy *policy = &worker->env.policy;
    own_hosts_release(policy->own);
    policy->own = atomic_exchange(&worker->fresh_hosts, NULL);
}

void worker_use_hosts(struct worker *worker, struct own_hosts *hosts)
{
    struct own_hosts *passed_over = atomic_exchange(&worker->fresh_hosts, own_hosts_hold(hosts));
    own_hosts_release(passed_over);
    if (passed_over) /* the item is still on its way */
        return;
    worker->hosts.run = on_hosts;
    inbox_post(worker->env.inbox, &worker->hosts);
}

static void on_ping(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, ping);
    atomic_store_explicit(&worker->pinged, false, memory_order_release);
}

bool worker_ping(struct worker *worker)
{
    if (atomic_load_explicit(&worker->pinged, memory_order_acquire))
        return false;
    worker->ping.run = on_ping;
    atomic_store_explicit(&worker->pinged, true, memory_order_relaxed);
    inbox_post(worker->env.inbox, &worker->ping);
    return true;
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    pthread_setname_np(pthread_self(), "worker"); /* the sandbox forbids to name another */
    event_base_dispatch(worker->env.base);
    return NULL;
}

int worker_start(struct worker *worker, struct auth *auth)
{
    worker->env.logins = logins_new(auth, worker->env.config->limits.failed_logins);
    if (!worker->env.logins)
        return -ENOMEM;
    worker->accepts = true;
    int error = pthread_create(&worker->thread, NULL, run, worker);
    worker->running = error == 0;
    return -error;
}

void worker_stop(struct worker *worker)
{
    if (!worker->running)
        return;
    worker->stop.run = on_stop;
    inbox_post(worker->env.inbox, &worker->stop);
    pthread_join(worker->thread, NULL);
    worker->running = false;
}

/* ---- life ---- */

static struct resolver_options resolver_options(const struct config *config)
{
    return (struct resolver_options){
        .servers = config->dns.servers,
        .server_count = config->dns.server_count,
        .timeout_ms = config->dns.timeout_ms,
        .per_client = 2 * config->limits.lookups_per_client, /* a name is asked for in both families */
        .release = lookup_release,
    };
}

static bool init_env(struct env *env, struct snapshot *snapshot, struct host *host, struct worker *worker)
{
    env->host = host;
    env->quota = host->quota;
    env->policy.own = own_hosts_hold(addresses_hosts(host->addresses));
    const struct config *config = snapshot->config;
    struct resolver_options options = resolver_options(config);
    options.metrics = &env->metrics;
    env->system_ports = port_range_of_system(host->ports);
    env->policy.own_ports = host->own_ports;
    env->counts_icmp = config->udp.icmp == CONFIG_ICMP_COUNT;
    env->dgrams = dgram_io_new(config->udp.offload == CONFIG_OFFLOAD_AUTO && dgram_io_can_offload());
    (void)env_use(env, snapshot);
    env->clock_ms = clock_coarse_ms;
    TAILQ_INIT(&env->sessions);
    TAILQ_INIT(&env->waiting);
    TAILQ_INIT(&env->dials);
    TAILQ_INIT(&env->ended);
    env->base = event_base_new();
    if (!env->base)
        return false;
    event_assign(&env->reaper, env->base, -1, 0, on_reap, worker);
    env->inbox = inbox_new(env->base);
    env->pumps = pump_pool_new(true);
    env->resolver = resolver_new(env->base, &options);
    return env->inbox && env->pumps && env->dgrams && env->resolver;
}

struct worker *worker_new(struct snapshot *snapshot, struct host *host, const struct inherited_share *share,
                          bool paused)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker)
        worker->listeners = (struct listeners){.env = &worker->env, .paused = paused};
    if (!worker || !init_env(&worker->env, snapshot, host, worker)) {
        log_error("cannot set up a worker: no memory, or no descriptors (ulimit -n)");
        worker_free(worker);
        return NULL;
    }
    event_assign(&worker->sweep, worker->env.base, -1, EV_PERSIST, on_sweep, worker);
    if (event_add(&worker->sweep, &sweep_period) == 0 && listeners_open(&worker->listeners, snapshot->config, share))
        return worker;
    worker_free(worker);
    return NULL;
}

/* ---- reload ---- */

static void on_reviewed(void *arg)
{
    struct worker_change *change = arg;
    change->done(change);
}

static void on_change(struct inbox_item *item)
{
    struct worker_change *change = container_of(item, struct worker_change, item);
    struct env *env = &change->worker->env;
    const struct config *config = change->snapshot->config;
    const struct resolver_options options = resolver_options(config);
    struct snapshot *before = env_use(env, change->snapshot);
    logins_change(env->logins, config->limits.failed_logins);
    if (!resolver_change(env->resolver, &options))
        log_error("dns.servers: the ones of before go on being asked: no memory, or no descriptors");
    listeners_change(&change->worker->listeners, config, change->opened);
    sessions_review(env, before, on_reviewed, change);
}

void worker_change(struct worker_change *change)
{
    change->item.run = on_change;
    inbox_post(change->worker->env.inbox, &change->item);
}

/* ---- what it is doing ---- */

static void on_question(struct inbox_item *item)
{
    struct worker_question *question = container_of(item, struct worker_question, item);
    session_list_take(question->report, &question->worker->env, question->after);
    question->done(question);
}

void worker_ask(struct worker_question *question)
{
    question->item.run = on_question;
    inbox_post(question->worker->env.inbox, &question->item);
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    struct env *env = &worker->env;
    if (env->base) {
        listeners_close(&worker->listeners);
        for (size_t i = 0; i < worker->handover_link_count; i++)
            handover_link_free(worker->kin[i]);
        sessions_end(env, "server stops");
        sessions_reap(env);
        if (env->inbox)
            inbox_free(env->inbox);
        if (env->resolver)
            resolver_free(env->resolver);
        event_base_free(env->base);
    }
    logins_free(env->logins);
    own_hosts_release(env->policy.own);
    snapshot_release(env->snapshot);
    dgram_io_free(env->dgrams);
    pump_pool_free(env->pumps);
    free(worker);
}

const struct metrics *worker_metrics(const struct worker *worker)
{
    return &worker->env.metrics;
}
