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

#define LOG_MODULE "worker"
#include "base/log.h"
#include "base/util.h"
#include "daemon/inherited.h"
#include "net/inbox.h"
#include "net/pump.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/login.h"
#include "proxy/lookup.h"
#include "proxy/report.h"
#include "proxy/session.h"

#define ACCEPT_MAX      32   /* connections taken before others have their turn */
#define LAST_ACCEPT_MAX 4096 /* before a listener closes: as many as can wait */

/* A listener that finds no descriptor rests this long: trying again at once would only burn CPU. */
static const struct timeval accept_rest = {.tv_usec = 250 * 1000};
static const struct timeval sweep_period = {.tv_sec = 1};
#define REST_SAID_MS (60 * 1000) /* it can happen four times a second, for hours */

struct listener {
    SLIST_ENTRY(listener) link;
    struct worker *worker;
    int fd;
    const struct config_listener *config; /* of the snapshot in force */
    struct event acceptable, rested;
};

struct worker {
    struct env env;
    pthread_t thread;
    bool running;
    struct event sweep;
    struct inbox_item stop, relief, ping, closing;
    bool takes_waiting; /* when it closes: the main thread's until then */
    atomic_bool accepts;
    struct relief_order order; /* the main thread's, the worker's while `ordered` */
    atomic_bool ordered, pinged;
    atomic_size_t session_memory;
    uint64_t rest_said_ms; /* 0: never */
    SLIST_HEAD(, listener) listeners;
};

/* ---- accepting ---- */

static void rest(struct listener *listener, int error)
{
    struct worker *worker = listener->worker;
    uint64_t now = env_now(&worker->env);
    metrics_add(&worker->env.metrics.accept_failed_total, 1);
    event_del(&listener->acceptable);
    event_add(&listener->rested, &accept_rest);
    if (worker->rest_said_ms && now - worker->rest_said_ms < REST_SAID_MS)
        return;
    worker->rest_said_ms = now;
    log_warning(
        "cannot accept a connection: %s; new ones wait. For \"Too many open files\" raise the limit (ulimit -n, "
        "or LimitNOFILE= in the systemd unit)",
        strerror(error));
}

static void accept_some(struct listener *listener, int max)
{
    for (int i = 0; i < max; i++) {
        union netaddr peer;
        int accepted = sock_accept(listener->fd, &peer);
        if (accepted == -EAGAIN)
            return;
        if (accepted == -EMFILE || accepted == -ENFILE || accepted == -ENOBUFS || accepted == -ENOMEM) {
            if (sessions_shed_handshake(&listener->worker->env) || sessions_shed(&listener->worker->env, NULL))
                continue;
            rest(listener, -accepted);
            return;
        }
        if (accepted >= 0)
            session_new(&listener->worker->env, accepted, &peer, listener->config);
        /* Any other error is that connection's own (accept(2)): the next one may be fine. */
    }
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    accept_some(arg, ACCEPT_MAX);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct listener *listener = arg;
    event_add(&listener->acceptable, NULL);
    accept_some(listener, ACCEPT_MAX);
}

/* Takes over the socket. false: no memory. */
static bool listen_on(struct worker *worker, const struct config_listener *wanted, int fd)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener) {
        *listener = (struct listener){.worker = worker, .fd = fd, .config = wanted};
        event_assign(&listener->acceptable, worker->env.base, fd, EV_READ | EV_PERSIST, on_acceptable, listener);
        event_assign(&listener->rested, worker->env.base, -1, 0, on_rested, listener);
    }
    if (!listener || event_add(&listener->acceptable, NULL) < 0) {
        log_error("a worker cannot accept connections: no memory");
        close(fd);
        free(listener);
        return false;
    }
    SLIST_INSERT_HEAD(&worker->listeners, listener, link);
    return true;
}

static bool listen_on_inherited(struct worker *worker, const struct config_listener *wanted,
                                const struct inherited_share *share)
{
    size_t position = 0;
    int fd;
    while ((fd = inherited_next(share, &wanted->address, &position)) >= 0)
        if (!listen_on(worker, wanted, fd))
            return false;
    if (fd != -ENOENT)
        log_error("cannot listen at an inherited socket: %s", strerror(-fd));
    return fd == -ENOENT;
}

static bool listen_on_all(struct worker *worker, const struct config *config, const struct inherited_share *share)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        const struct config_listener *wanted = &config->listen[i];
        if (inherited_has(share->inherited, &wanted->address)) {
            if (!listen_on_inherited(worker, wanted, share))
                return false;
            continue;
        }
        int fd = worker_listen(wanted);
        if (fd < 0 || !listen_on(worker, wanted, fd))
            return false;
    }
    return true;
}

static void stop_listening(struct worker *worker, struct listener *listener)
{
    SLIST_REMOVE(&worker->listeners, listener, listener, link);
    event_del(&listener->acceptable);
    event_del(&listener->rested);
    close(listener->fd);
    free(listener);
}

static void stop_all_listening(struct worker *worker)
{
    while (!SLIST_EMPTY(&worker->listeners))
        stop_listening(worker, SLIST_FIRST(&worker->listeners));
}

/* Shared even when this worker is the only one: 0.0.0.0 and :: with one port may then stand side by side. */
int worker_listen(const struct config_listener *wanted)
{
    char text[NETADDR_TEXT_MAX];
    int fd = sock_listen(&wanted->address, true);
    if (fd < 0)
        log_error("cannot listen on %s: %s", netaddr_format(&wanted->address, text), strerror(-fd));
    return fd;
}

static void on_copy(struct inbox_item *item)
{
    struct worker_listeners *copy = container_of(item, struct worker_listeners, item);
    struct worker *worker = copy->worker;
    struct listener *listener;
    size_t count = 0;
    SLIST_FOREACH(listener, &worker->listeners, link)
    {
        count++;
    }
    copy->fds = calloc(count + 1, sizeof(int));
    copy->count = 0;
    copy->error = copy->fds ? 0 : ENOMEM;
    SLIST_FOREACH(listener, &worker->listeners, link)
    {
        int fd = copy->error ? -1 : fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0)
            copy->fds[copy->count++] = fd;
        else if (!copy->error)
            copy->error = errno;
    }
    copy->done(copy);
}

void worker_copy_listeners(struct worker_listeners *listeners)
{
    listeners->item.run = on_copy;
    inbox_post(listeners->worker->env.inbox, &listeners->item);
}

static void on_closing(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, closing);
    struct listener *listener;
    SLIST_FOREACH(listener, &worker->listeners, link)
    {
        if (worker->takes_waiting)
            accept_some(listener, LAST_ACCEPT_MAX);
    }
    stop_all_listening(worker);
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
    (void)own_hosts_read(&worker->env.policy.own); /* addresses come and go; on failure the old ones stay */
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
    stop_all_listening(worker);
    sessions_end(&worker->env, "server stops");
    event_base_loopbreak(worker->env.base);
}

static void on_relief(struct inbox_item *item)
{
    struct worker *worker = container_of(item, struct worker, relief);
    size_t held = relief_give(&worker->env, &worker->order);
    atomic_store_explicit(&worker->session_memory, held, memory_order_relaxed);
    atomic_store_explicit(&worker->ordered, false, memory_order_release);
}

void worker_relieve(struct worker *worker, const struct relief_order *order)
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

static bool init_env(struct env *env, struct snapshot *snapshot, struct quota *quota, struct worker *worker)
{
    env->quota = quota;
    const struct config *config = snapshot->config;
    struct resolver_options options = resolver_options(config);
    options.metrics = &env->metrics;
    ports_init_system(&env->system_ports);
    env->dgrams = dgram_io_new(config->udp.offload == CONFIG_OFFLOAD_AUTO && dgram_io_can_offload());
    (void)env_use(env, snapshot);
    env->clock_ms = env_clock_coarse;
    TAILQ_INIT(&env->sessions);
    TAILQ_INIT(&env->waiting);
    TAILQ_INIT(&env->ended);
    env->base = event_base_new();
    if (!env->base)
        return false;
    event_assign(&env->reaper, env->base, -1, 0, on_reap, worker);
    env->inbox = inbox_new(env->base);
    env->pumps = pump_pool_new(true);
    env->resolver = resolver_new(env->base, &options);
    if (!own_hosts_read(&env->policy.own))
        return false;
    return env->inbox && env->pumps && env->dgrams && env->resolver;
}

struct worker *worker_new(struct snapshot *snapshot, struct quota *quota, const struct inherited_share *share)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker || !init_env(&worker->env, snapshot, quota, worker)) {
        log_error("cannot set up a worker: no memory, or no descriptors (ulimit -n)");
        worker_free(worker);
        return NULL;
    }
    event_assign(&worker->sweep, worker->env.base, -1, EV_PERSIST, on_sweep, worker);
    if (event_add(&worker->sweep, &sweep_period) == 0 && listen_on_all(worker, snapshot->config, share))
        return worker;
    worker_free(worker);
    return NULL;
}

/* ---- reload ---- */

static const struct config_listener *find_listener(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_equal(&config->listen[i].address, address))
            return &config->listen[i];
    return NULL;
}

static void change_listeners(struct worker *worker, const struct config *config, const int *opened)
{
    struct listener *next;
    for (struct listener *listener = SLIST_FIRST(&worker->listeners); listener; listener = next) {
        const struct config_listener *wanted = find_listener(config, &listener->config->address);
        next = SLIST_NEXT(listener, link);
        if (wanted)
            listener->config = wanted;
        else
            stop_listening(worker, listener);
    }
    for (size_t i = 0; i < config->listen_count; i++)
        if (opened[i] >= 0)
            (void)listen_on(worker, &config->listen[i], opened[i]); /* which has said why not */
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
    change_listeners(change->worker, config, change->opened);
    sessions_review(env, before);
    snapshot_release(before);
    change->done(change);
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
    report_take(question->report, &question->worker->env, question->after);
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
        stop_all_listening(worker);
        sessions_end(env, "server stops");
        sessions_reap(env);
        if (env->inbox)
            inbox_free(env->inbox);
        if (env->resolver)
            resolver_free(env->resolver);
        event_base_free(env->base);
    }
    logins_free(env->logins);
    own_hosts_deinit(&env->policy.own);
    snapshot_release(env->snapshot);
    dgram_io_free(env->dgrams);
    pump_pool_free(env->pumps);
    free(worker);
}

const struct metrics *worker_metrics(const struct worker *worker)
{
    return &worker->env.metrics;
}
