#include "daemon/server.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"
#include "daemon/address_update.h"
#include "daemon/advertise.h"
#include "daemon/crew.h"
#include "daemon/drain.h"
#include "daemon/handover.h"
#include "daemon/health.h"
#include "daemon/inherited.h"
#include "daemon/kernel_start.h"
#include "daemon/notify.h"
#include "daemon/pressure_watch.h"
#include "daemon/relay_port.h"
#include "daemon/reload.h"
#include "daemon/server_impl.h"
#include "daemon/spread.h"
#include "daemon/status_query.h"
#include "daemon/system.h"
#include "daemon/takeover.h"
#include "daemon/usage_exchange.h"
#include "daemon/worker.h"
#include "daemon/worker_takeover.h"
#include "host/host.h"
#include "net/reserve.h"
#include "policy/auth.h"
#include "policy/quota.h"
#include "policy/snapshot.h"

/*
 * The server is made of parts. They begin in the order of a table and end in the reverse order, so each part may use
 * those above it. `begin` returns false and an errno, or logs the reason. The part that has failed is ended as well, so
 * `end` also takes a part that has not begun.
 */
struct server_part {
    const char *name;
    enum server_stage {
        STAGE_OPEN,  /* with privileges, before there is a second thread */
        STAGE_START, /* in the sandbox */
        STAGE_RUN,
    } stage;
    bool logs; /* the reason when it fails */
    bool (*begin)(struct server *server);
    void (*end)(struct server *server);
};

/* ---- parts that open ---- */

static bool begin_base(struct server *server)
{
    server->base = event_base_new();
    return server->base;
}

static void end_base(struct server *server)
{
    if (server->base)
        event_base_free(server->base);
}

static bool begin_host(struct server *server)
{
    server->host = host_new();
    if (!server->host || !host_watch_addresses(server->host, server->base, server_on_addresses, server))
        return false;
    server->system_ports = port_range_of_system(server->host->ports);
    return true;
}

static void end_host(struct server *server)
{
    if (server->host && quota_size(server->host->quota) > 0)
        log_error("an error in this program: %zu accounts still open at the end", quota_size(server->host->quota));
    host_free(server->host);
}

static bool begin_kernel_path(struct server *server)
{
    kernel_start_open(&server->kernel, server->snapshot->config, server->base);
    server->host->kernel_path = server->kernel.path;
    return true;
}

static void end_kernel_path(struct server *server)
{
    kernel_start_close(&server->kernel);
}

static size_t server_workers(const struct config *config)
{
    return config->workers ? config->workers : system_cpus();
}

static bool begin_workers(struct server *server)
{
    const struct config *config = server->snapshot->config;
    const size_t count = server_workers(config);
    server->crew = crew_new(server->base, count);
    if (!server->crew) {
        log_error("cannot start: no memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct inherited_share share = {server->given.listeners, i, count};
        struct worker *worker =
            worker_new(server->snapshot, server->host, crew_balance(server->crew), &share, server->taken);
        if (!worker)
            return false;
        crew_add(server->crew, worker);
    }
    reserve_set(server->host->reserve, spread_sockets(config, count) + count);
    return true;
}

static void end_workers(struct server *server)
{
    crew_free(server->crew);
}

static bool begin_address_update(struct server *server)
{
    server->address_update = address_update_new(server->crew);
    return server->address_update;
}

static void end_address_update(struct server *server)
{
    address_update_free(server->address_update);
}

static int copy_descriptor(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Without a configuration file nobody has asked for the admin listener: then it may fail. */
static bool begin_admin(struct server *server)
{
    const struct config *config = server->snapshot->config;
    const struct admin_source source = server_admin_source(server);
    const struct admin_sockets *given = &server->given.admin;
    const struct admin_sockets opened = {copy_descriptor(given->tcp), copy_descriptor(given->local)};
    const bool wanted = netaddr_port(&config->admin.address) || config->admin.socket, must = server->path;
    server->health = wanted || notify_is_heard() ? health_new(server->base, server->crew) : NULL;
    server->admin = wanted && server->health ? admin_new(server->base, config, &source, opened, must) : NULL;
    return server->admin || !wanted || !must;
}

static void end_admin(struct server *server)
{
    admin_free(server->admin);
    health_free(server->health);
}

static bool begin_handover_socket(struct server *server)
{
    const char *path = server->snapshot->config->run.handover;
    const int given = server->given.handover;
    server->handover_socket = given < 0 && path ? handover_listen(path) : copy_descriptor(given);
    return server->handover_socket >= 0 || !path;
}

static void end_handover_socket(struct server *server)
{
    if (server->handover_socket >= 0)
        close(server->handover_socket);
}

static bool begin_pressure_watch(struct server *server)
{
    server->pressure_watch = pressure_watch_new(server->base, server->snapshot->config->limits.memory, server->crew);
    return true;
}

static void end_pressure_watch(struct server *server)
{
    pressure_watch_free(server->pressure_watch);
}

static bool begin_signals(struct server *server)
{
    return server_watch_signals(server);
}

/* From here on the process only ends. A further signal must not make that look like a crash: all stay blocked. */
static void end_signals(struct server *server)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (size_t i = 0; i < server->signal_count; i++)
        event_del(&server->signals[i]);
}

/* ---- parts that start ---- */

static bool begin_reload(struct server *server)
{
    server->reload = reload_new(server->crew, server->path, server->snapshot, server_on_reloaded, server);
    return server->reload;
}

static void end_reload(struct server *server)
{
    reload_free(server->reload);
}

static bool begin_drain(struct server *server)
{
    server->drain = drain_new(server->base, server->crew, server->host, server_on_drained, server);
    return server->drain;
}

static void end_drain(struct server *server)
{
    drain_free(server->drain);
}

static bool begin_status_query(struct server *server)
{
    const struct status_query_scene scene = {
        .file = server->path,
        .started = server->started,
        .crew = server->crew,
        .host = server->host,
        .kernel_path_why = server->kernel.why,
        .system_ports = &server->system_ports,
        .reload = server->reload,
        .pressure_watch = server->pressure_watch,
    };
    server->status_query = server->admin ? status_query_new(server->base, &scene) : NULL;
    return server->status_query || !server->admin;
}

static void end_status_query(struct server *server)
{
    status_query_free(server->status_query);
}

static bool begin_handover(struct server *server)
{
    const struct handover_goods goods = {server->host, server->crew, server->admin, server->given.pid_file,
                                         &server->followers};
    const int fd = server->handover_socket;
    server->handover_socket = -1;
    server->usage_exchange = usage_exchange_new(server->base, server->host->usage, &server->followers);
    if (!server->usage_exchange) {
        server->handover_socket = fd;
        return false;
    }
    server->handover = fd >= 0 ? handover_new(server->base, fd, &goods, server_on_replaced, server) : NULL;
    return server->handover || fd < 0;
}

static void end_handover(struct server *server)
{
    handover_free(server->handover);
    usage_exchange_free(server->usage_exchange);
    leader_free(server->leader);
    followers_close(&server->followers);
}

static bool begin_takeover(struct server *server)
{
    server->worker_takeover = server->taken ? worker_takeover_new(server->host, server->crew) : NULL;
    return server->worker_takeover || !server->taken;
}

static void end_takeover(struct server *server)
{
    worker_takeover_free(server->worker_takeover);
}

static bool begin_auth(struct server *server)
{
    server->auth = auth_new();
    return server->auth;
}

/* After the workers' threads and before the workers: its helper posts to their inboxes. */
static void end_auth(struct server *server)
{
    if (server->auth)
        auth_free(server->auth);
}

static bool begin_threads(struct server *server)
{
    errno = -crew_start(server->crew, server->auth);
    return errno == 0;
}

static void end_threads(struct server *server)
{
    crew_stop(server->crew);
}

static bool begin_systemd(struct server *server)
{
    server->systemd = systemd_new(server->base, server->health, server_describe, server);
    return true;
}

static void end_systemd(struct server *server)
{
    systemd_free(server->systemd);
}

/* ---- the order ---- */

static const struct server_part server_parts[] = {
    {"the event loop", STAGE_OPEN, false, begin_base, end_base},
    {"this host's addresses", STAGE_OPEN, false, begin_host, end_host},
    {"udp.kernel_path", STAGE_OPEN, false, begin_kernel_path, end_kernel_path},
    {"workers", STAGE_OPEN, true, begin_workers, end_workers},
    {"address updates", STAGE_OPEN, false, begin_address_update, end_address_update},
    {"the admin listener", STAGE_OPEN, true, begin_admin, end_admin},
    {"run.handover", STAGE_OPEN, true, begin_handover_socket, end_handover_socket},
    {"limits.memory", STAGE_OPEN, false, begin_pressure_watch, end_pressure_watch},
    {"signals", STAGE_OPEN, false, begin_signals, end_signals},
    {"reload", STAGE_START, false, begin_reload, end_reload},
    {"drain", STAGE_START, false, begin_drain, end_drain},
    {"status", STAGE_START, false, begin_status_query, end_status_query},
    {"hand over", STAGE_START, false, begin_handover, end_handover},
    {"take over", STAGE_START, false, begin_takeover, end_takeover},
    {"the password helper", STAGE_START, false, begin_auth, end_auth},
    {"threads", STAGE_START, false, begin_threads, end_threads},
    {"systemd", STAGE_RUN, false, begin_systemd, end_systemd},
};

static bool server_begin(struct server *server, enum server_stage stage)
{
    for (; server->begun < ARRAY_LEN(server_parts); server->begun++) {
        const struct server_part *part = &server_parts[server->begun];
        if (part->stage != stage)
            break;
        if (part->begin(server))
            continue;
        if (!part->logs)
            log_error("cannot start: %s: %s", part->name, strerror(errno));
        server->begun++; /* to be ended as well */
        return false;
    }
    assert(server->begun > 0 && server_parts[server->begun - 1].stage == stage);
    return true;
}

/* ---- life ---- */

/* Descriptors besides those of listeners: for the process itself, and for a few sessions. */
#define OTHER_DESCRIPTORS 32

static bool server_has_descriptors(const struct config *config)
{
    const size_t needed = spread_sockets(config, server_workers(config)) + OTHER_DESCRIPTORS;
    const uint64_t limit = system_descriptor_limit();
    if (needed <= limit)
        return true;
    log_error("cannot start: %zu ports (listen) need at least %zu open files, and the limit is %" PRIu64
              "; raise it (ulimit -n, or LimitNOFILE= in the systemd unit)",
              config->endpoint_count, needed, limit);
    return false;
}

/* What others may have opened, and what cannot be found out any more in the sandbox. */
static bool server_can_open(struct snapshot *snapshot, const struct server_given *given)
{
    return server_has_descriptors(snapshot->config) && inherited_others_are_free(given->listeners, snapshot->config) &&
           (given->taken || relay_port_is_free(snapshot->config, false)) && advertise_find(snapshot);
}

struct server *server_new(struct snapshot *snapshot, const char *path, const struct server_given *given)
{
    system_log_libevent();
    system_raise_descriptor_limit();
    struct server *server = server_can_open(snapshot, given) ? calloc(1, sizeof(*server)) : NULL;
    if (!server)
        return NULL;
    server->snapshot = snapshot_hold(snapshot);
    server->path = path;
    server->given = *given;
    server->taken = given->taken;
    server->at_terminal = isatty(STDERR_FILENO);
    server->started = time(NULL);
    server->handover_socket = -1;
    if (server_begin(server, STAGE_OPEN)) {
        server->given.listeners = NULL;
        system_log_receive_buffer();
        return server;
    }
    server_free(server);
    return NULL;
}

/* More lines than that would hide those around them. */
#define LISTENERS_LOGGED_MAX 64

static void server_log_listeners(const struct config *config)
{
    for (size_t i = 0; i < config->listen_count && i < LISTENERS_LOGGED_MAX; i++) {
        char text[CONFIG_LISTENER_TEXT_MAX];
        log_info("listening on %s%s", config_listener_format(&config->listen[i], text),
                 config->listen[i].need_password ? " (login needed)" : "");
    }
    if (config->listen_count > LISTENERS_LOGGED_MAX)
        log_info("listening on %zu more (listen)", config->listen_count - LISTENERS_LOGGED_MAX);
}

bool server_has_kernel_path(const struct server *server)
{
    return server->kernel.path;
}

bool server_start(struct server *server)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* only the main thread handles signals */
    const bool started = server_begin(server, STAGE_START);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        server_log_listeners(server->snapshot->config);
    return started;
}

void server_take_over(struct server *server, struct takeover *takeover)
{
    assert(server->taken && server->worker_takeover);
    worker_takeover_begin(server->worker_takeover, takeover, config_shared_port(server->snapshot->config));
    server->taken = false; /* it is all ours now */
    server->followers = takeover->followers;
    takeover->followers = (struct followers){0};
    followers_tell(&server->followers, server->path, &takeover->files);
    usage_exchange_begin(server->usage_exchange, NULL);
}

void server_run(struct server *server)
{
    (void)server_begin(server, STAGE_RUN);
    notify_ready();
    systemd_send(server->systemd);
    event_base_dispatch(server->base);
    crew_stop(server->crew);
    server_log_counters(server);
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
        admin_let_go(server->admin); /* the socket's file is the other process's */
    while (server->begun > 0)
        server_parts[--server->begun].end(server);
    snapshot_release(server->snapshot);
    free(server);
}
