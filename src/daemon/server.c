#include "daemon/server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "admin/admin.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/util.h"
#include "conf/config.h"
#include "daemon/advertise.h"
#include "daemon/drain.h"
#include "daemon/follow.h"
#include "daemon/handover.h"
#include "daemon/health.h"
#include "daemon/inherited.h"
#include "daemon/notify.h"
#include "daemon/port_usage.h"
#include "daemon/pressure_watch.h"
#include "daemon/readiness.h"
#include "daemon/relay_port.h"
#include "daemon/reload.h"
#include "daemon/status_query.h"
#include "daemon/system.h"
#include "daemon/systemd.h"
#include "daemon/takeover.h"
#include "daemon/worker.h"
#include "host/host.h"
#include "net/ports.h"
#include "net/reserve.h"
#include "policy/auth.h"
#include "policy/quota.h"
#include "policy/snapshot.h"
#include "proxy/assoc/handover_link.h"

struct server {
    struct snapshot *snapshot; /* of the start */
    const char *path;
    struct event_base *base;
    struct host *host;
    struct auth *auth;
    struct port_range system_ports; /* read before the sandbox */
    struct reload *reload;
    struct drain *drain;
    struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
    struct health *health;
    struct handover *handover;         /* NULL: nobody can take over */
    struct followers followers;        /* servers that we have replaced */
    struct leader *leader;             /* the one that has replaced us; NULL: none */
    int handover_socket, pid_file;     /* -1: none */
    bool taken;                        /* from a server that still may serve on */
    bool at_terminal;                  /* not as a daemon */
    struct admin *admin;               /* NULL: there is nobody to show anything to */
    struct systemd *systemd;           /* NULL: by nobody */
    struct status_query *status_query; /* for `admin` */
    time_t started;
    struct event signals[4];
    size_t signal_count, worker_count;
    struct worker **workers;
};

static void sum_metrics(const struct server *server, struct metrics *sum)
{
    for (size_t i = 0; i < server->worker_count; i++)
        metrics_sum(sum, worker_metrics(server->workers[i]));
}

static void log_counters(const struct server *server)
{
    struct metrics sum = {0};
    sum_metrics(server, &sum);
    char text[1000];
    metrics_format(&sum, text, sizeof(text));
    log_info("counters: %s", text[0] ? text : "all zero");
}

static void describe(void *arg, char text[SYSTEMD_TEXT_MAX])
{
    const struct server *server = arg;
    struct quota_account *all = quota_of_all(server->host->quota);
    size_t listeners = reload_config(server->reload)->listen_count;
    uint32_t sessions = quota_held(all, QUOTA_SESSIONS), associations = quota_held(all, QUOTA_ASSOCIATIONS);
    int len = 0;
    if (drain_is_under_way(server->drain))
        len = snprintf(text, SYSTEMD_TEXT_MAX, "%s; ",
                       handover_is_over(server->handover) ? "another process serves" : "about to end");
    else
        len = snprintf(text, SYSTEMD_TEXT_MAX, "%zu listener%s, ", listeners, listeners == 1 ? "" : "s");
    snprintf(text + len, (size_t)(SYSTEMD_TEXT_MAX - len), "%" PRIu32 " session%s, %" PRIu32 " association%s", sessions,
             sessions == 1 ? "" : "s", associations, associations == 1 ? "" : "s");
}

static void on_drained(void *arg)
{
    struct server *server = arg;
    event_base_loopbreak(server->base);
}

/* The first SIGTERM may give the sessions time; whoever asks again, or at a terminal, wants it now. */
static void stop(struct server *server, const char *why, bool gently)
{
    uint64_t limit_ms = reload_config(server->reload)->timeouts.drain_ms;
    if (!gently || limit_ms == 0 || drain_is_under_way(server->drain)) {
        log_info("%s: stopping", why);
        notify_stopping(0);
        event_base_loopbreak(server->base);
        return;
    }
    notify_stopping(limit_ms);
    reload_refuse(server->reload);
    drain_begin(server->drain, DRAIN_TAKE_WAITING, limit_ms);
    systemd_say(server->systemd);
}

static void on_leader_changed(void *arg, const char *path, struct config_files *files)
{
    struct server *server = arg;
    reload_follow(server->reload, path, files);
}

static void on_reloaded(void *arg)
{
    struct server *server = arg;
    if (server->followers.count == 0)
        return;
    struct config_files files = follow_open_files(server->path, reload_config(server->reload));
    followers_tell(&server->followers, server->path, &files);
    follow_close_files(&files);
}

/* Another process serves: new connections are its. */
static void on_replaced(void *arg)
{
    struct server *server = arg;
    const int leader = handover_take_leader(server->handover);
    admin_let_go(server->admin);
    followers_close(&server->followers); /* which follow that process now */
    reload_refuse(server->reload);
    if (leader >= 0)
        server->leader = leader_new(server->base, leader, on_leader_changed, server);
    drain_begin(server->drain, DRAIN_LEAVE_WAITING, reload_config(server->reload)->timeouts.drain_ms);
    systemd_say(server->systemd);
}

static bool wait_for_successor(struct server *server)
{
    const struct handover_goods goods = {server->host,  server->workers,  server->worker_count,
                                         server->admin, server->pid_file, &server->followers};
    const int fd = server->handover_socket;
    server->handover_socket = -1;
    server->handover = fd >= 0 ? handover_new(server->base, fd, &goods, on_replaced, server) : NULL;
    return server->handover || fd < 0;
}

/* A daemon's SIGHUP means: read the file again. Whoever started it in a window and closes that wants it to end. */
static bool terminal_is_gone(const struct server *server)
{
    struct pollfd terminal = {.fd = STDERR_FILENO};
    return server->at_terminal && poll(&terminal, 1, 0) == 1 && terminal.revents & POLLHUP;
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)what;
    struct server *server = arg;
    switch (signal) {
    case SIGUSR1:
        log_counters(server);
        break;
    case SIGHUP:
        if (terminal_is_gone(server))
            stop(server, "the terminal is gone", false);
        else
            reload_begin(server->reload);
        break;
    case SIGTERM:
        stop(server, "SIGTERM", true);
        break;
    default:
        stop(server, "SIGINT", false);
    }
}

/* false: no memory, and it could not be told to stop. */
static bool watch_signals(struct server *server)
{
    static const int watched[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    _Static_assert(ARRAY_LEN(watched) == ARRAY_LEN(server->signals), "one event per signal");
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        evsignal_assign(&server->signals[i], server->base, watched[i], on_signal, server);
        if (event_add(&server->signals[i], NULL) < 0)
            return false;
        server->signal_count++;
    }
    signal(SIGPIPE, SIG_IGN);
    return true;
}

static void on_addresses(void *arg, struct own_hosts *hosts)
{
    struct server *server = arg;
    for (size_t i = 0; i < server->worker_count; i++)
        worker_use_hosts(server->workers[i], hosts);
}

static bool open_workers(struct server *server, const struct inherited *inherited)
{
    const struct config *config = server->snapshot->config;
    size_t count = config->workers ? config->workers : system_cpus();
    server->workers = calloc(count, sizeof(struct worker *));
    if (!server->workers)
        return false;
    for (; server->worker_count < count; server->worker_count++) {
        const struct inherited_share share = {inherited, server->worker_count, count};
        struct worker *worker = worker_new(server->snapshot, server->host, &share, server->taken);
        if (!worker)
            return false;
        server->workers[server->worker_count] = worker;
    }
    return true;
}

/* ---- what the admin listener shows ---- */

static const struct config *show_config(void *arg)
{
    const struct server *server = arg;
    return reload_config(server->reload);
}

static void show_metrics(void *arg, struct metrics *sum)
{
    sum_metrics(arg, sum);
}

static void show_facts(void *arg, struct admin_facts *facts)
{
    const struct server *server = arg;
    const struct reload_record *reloads = reload_record(server->reload);
    *facts =
        (struct admin_facts){.started = server->started, .reloads = reloads->done, .reloads_failed = reloads->failed};
    facts->port_count = port_usage(reload_config(server->reload), &server->system_ports, facts->ports);
}

static const char *show_sick(void *arg)
{
    const struct server *server = arg;
    return health_complaint(server->health);
}

static const char *show_unready(void *arg)
{
    const struct server *server = arg;
    const struct readiness readiness = {
        .draining = drain_is_under_way(server->drain) && !handover_is_over(server->handover),
        .health = server->health,
        .pressure_watch = server->pressure_watch,
        .quota = server->host->quota,
        .config = reload_config(server->reload),
        .system_ports = &server->system_ports,
    };
    return readiness_complaint(&readiness);
}

static void show_status(void *arg, const struct admin_query *query, admin_done *done, void *done_arg)
{
    const struct server *server = arg;
    status_query_status(server->status_query, drain_is_under_way(server->drain), query, done, done_arg);
}

static void show_history(void *arg, admin_done *done, void *done_arg)
{
    const struct server *server = arg;
    status_query_history(server->status_query, done, done_arg);
}

static int copy_of(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Without a file nobody has asked for it: then it may fail. */
static bool open_admin(struct server *server, const struct admin_sockets *given)
{
    const struct config *config = server->snapshot->config;
    const struct admin_source source = {
        .arg = server,
        .config = show_config,
        .metrics = show_metrics,
        .facts = show_facts,
        .sick = show_sick,
        .unready = show_unready,
        .status = show_status,
        .history = show_history,
    };
    const bool wanted = netaddr_port(&config->admin.address) || config->admin.socket, must = server->path;
    const struct admin_sockets opened = {copy_of(given->tcp), copy_of(given->local)};
    server->started = time(NULL);
    server->health =
        wanted || notify_is_heard() ? health_new(server->base, server->workers, server->worker_count) : NULL;
    server->admin = wanted && server->health ? admin_new(server->base, config, &source, opened, must) : NULL;
    return server->admin || !wanted || !must;
}

static bool open_handover(struct server *server, int given)
{
    const char *path = server->snapshot->config->run.handover;
    server->handover_socket = given < 0 && path ? handover_listen(path) : copy_of(given);
    return server->handover_socket >= 0 || !path;
}

struct server *server_new(struct snapshot *snapshot, const char *path, const struct server_given *given)
{
    system_listen_to_libevent();
    system_raise_descriptor_limit();
    if (!inherited_others_are_free(given->listeners, snapshot->config) ||
        !(given->taken || relay_port_is_free(snapshot->config, false)) || !advertise_find(snapshot))
        return NULL;
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return NULL;
    server->snapshot = snapshot_hold(snapshot);
    server->path = path;
    server->taken = given->taken;
    server->at_terminal = isatty(STDERR_FILENO);
    server->pid_file = given->pid_file;
    server->handover_socket = -1;
    server->base = event_base_new();
    server->host = host_new();
    const bool begun =
        server->base && server->host && host_watch_addresses(server->host, server->base, on_addresses, server);
    if (!begun)
        log_error("cannot start: %s", strerror(errno));
    if (begun)
        server->system_ports = port_range_of_system(server->host->ports);
    if (!begun || !open_workers(server, given->listeners) || !open_admin(server, &given->admin) ||
        !open_handover(server, given->handover)) {
        server_free(server);
        return NULL;
    }
    server->pressure_watch =
        pressure_watch_new(server->base, snapshot->config->limits.memory, server->workers, server->worker_count);
    if (!watch_signals(server)) {
        log_error("cannot start: no memory");
        server_free(server);
        return NULL;
    }
    system_log_receive_buffer();
    reserve_set(server->worker_count * (snapshot->config->listen_count + 1));
    return server;
}

static void log_listeners(const struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        char text[NETADDR_TEXT_MAX];
        log_info("listening on %s%s", netaddr_format(&config->listen[i].address, text),
                 config->listen[i].need_password ? " (login needed)" : "");
    }
}

/* false: no memory or descriptors (errno). */
static bool begin_status_query(struct server *server)
{
    const struct status_query_scene scene = {
        .file = server->path,
        .started = server->started,
        .workers = server->workers,
        .worker_count = server->worker_count,
        .quota = server->host->quota,
        .system_ports = &server->system_ports,
        .reload = server->reload,
        .pressure_watch = server->pressure_watch,
    };
    server->status_query = server->admin ? status_query_new(server->base, &scene) : NULL;
    return server->status_query || !server->admin;
}

bool server_start(struct server *server)
{
    /* Signals are the main thread's alone. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    server->reload = reload_new(server->base, server->path, server->snapshot, server->workers, server->worker_count,
                                on_reloaded, server);
    server->drain = server->reload ? drain_new(server->base, server->workers, server->worker_count, server->host,
                                               on_drained, server)
                                   : NULL;
    server->auth = server->drain && begin_status_query(server) && wait_for_successor(server) ? auth_new() : NULL;
    int error = server->auth ? 0 : -errno;
    for (size_t i = 0; i < server->worker_count && !error; i++)
        error = worker_start(server->workers[i], server->auth);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        log_error("cannot start a thread: %s", strerror(-error));
    else
        log_listeners(server->snapshot->config);
    return !error;
}

void server_take_place(struct server *server, struct takeover *takeover)
{
    if (takeover->udp_count > 0 || config_shared_port(server->snapshot->config)) {
        handover_link_set_previous(server->host, takeover->server);
        worker_hear(server->workers[0], takeover->server);
        takeover->server = -1;
    }
    for (size_t i = 0; i < takeover->udp_count; i++)
        worker_adopt(server->workers[i % server->worker_count], takeover->udp[i]);
    takeover->udp_count = 0;
    for (size_t i = 0; i < server->worker_count; i++)
        worker_resume(server->workers[i]);
    server->taken = false; /* it is all ours now */
    server->followers = takeover->followers;
    takeover->followers = (struct followers){0};
    followers_tell(&server->followers, server->path, &takeover->files);
}

static void stop_workers(struct server *server)
{
    for (size_t i = 0; i < server->worker_count; i++)
        worker_stop(server->workers[i]);
}

void server_run(struct server *server)
{
    server->systemd = systemd_new(server->base, server->health, describe, server);
    notify_ready();
    systemd_say(server->systemd);
    event_base_dispatch(server->base);
    stop_workers(server);
    log_counters(server);
}

bool server_is_replaced(const struct server *server)
{
    return handover_is_over(server->handover) || handover_is_promised(server->handover);
}

void server_free(struct server *server)
{
    if (!server)
        return;
    if (server->taken || server_is_replaced(server))
        admin_let_go(server->admin); /* its file is the other's */
    admin_free(server->admin);
    health_free(server->health);
    stop_workers(server);
    systemd_free(server->systemd);
    status_query_free(server->status_query);
    pressure_watch_free(server->pressure_watch);
    reload_free(server->reload);
    handover_free(server->handover);
    if (server->handover_socket >= 0)
        close(server->handover_socket);
    leader_free(server->leader);
    followers_close(&server->followers);
    drain_free(server->drain);
    /* The helper before the workers: it posts to their inboxes. */
    if (server->auth)
        auth_free(server->auth);
    for (size_t i = 0; i < server->worker_count; i++)
        worker_free(server->workers[i]);
    if (server->host && quota_size(server->host->quota) > 0)
        log_error("a mistake in this program: %zu accounts still open at the end", quota_size(server->host->quota));
    host_free(server->host);
    for (size_t i = 0; i < server->signal_count; i++)
        event_del(&server->signals[i]);
    if (server->base)
        event_base_free(server->base);
    free(server->workers);
    snapshot_release(server->snapshot);
    free(server);
}
