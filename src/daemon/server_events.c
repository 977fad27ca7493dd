#include <assert.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "base/metrics.h"
#include "base/util.h"
#include "conf/config.h"
#include "daemon/address_update.h"
#include "daemon/crew.h"
#include "daemon/drain.h"
#include "daemon/handover.h"
#include "daemon/notify.h"
#include "daemon/reload.h"
#include "daemon/server_impl.h"
#include "daemon/usage_exchange.h"

void server_log_counters(const struct server *server)
{
    struct metrics sum = {0};
    char text[1000];
    crew_sum_metrics(server->crew, &sum);
    metrics_format(&sum, text, sizeof(text));
    log_info("counters: %s", text[0] ? text : "all zero");
}

void server_on_addresses(void *arg, struct own_hosts *hosts)
{
    struct server *server = arg;
    address_update_send(server->address_update, hosts);
}

void server_on_drained(void *arg)
{
    struct server *server = arg;
    assert(drain_is_under_way(server->drain));
    event_base_loopbreak(server->base);
}

/* ---- signals ---- */

/* The first SIGTERM may give sessions time to end. A second one, or a Ctrl-C at a terminal, stops at once. */
static void server_stop(struct server *server, const char *why, bool gently)
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
    systemd_send(server->systemd);
}

/* A daemon's SIGHUP asks for a reload. A server that was started in a terminal gets one when that is closed, too. */
static bool server_has_lost_terminal(const struct server *server)
{
    struct pollfd terminal = {.fd = STDERR_FILENO};
    return server->at_terminal && poll(&terminal, 1, 0) == 1 && terminal.revents & POLLHUP;
}

static void server_on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)what;
    struct server *server = arg;
    switch (signal) {
    case SIGUSR1:
        server_log_counters(server);
        break;
    case SIGHUP:
        if (server_has_lost_terminal(server))
            server_stop(server, "the terminal was closed", false);
        else
            reload_begin(server->reload);
        break;
    case SIGTERM:
        server_stop(server, "SIGTERM", true);
        break;
    default:
        server_stop(server, "SIGINT", false);
    }
}

bool server_watch_signals(struct server *server)
{
    static const int watched[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    static_assert(ARRAY_LEN(watched) == ARRAY_LEN(server->signals), "one event per signal");
    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        evsignal_assign(&server->signals[i], server->base, watched[i], server_on_signal, server);
        if (event_add(&server->signals[i], NULL) < 0)
            return false;
        server->signal_count++;
    }
    signal(SIGPIPE, SIG_IGN);
    return true;
}

/* ---- upgrades ---- */

void server_on_reloaded(void *arg)
{
    struct server *server = arg;
    if (server->followers.count == 0)
        return;
    usage_exchange_run(server->usage_exchange);
    struct config_files files = follow_open_files(server->path, reload_config(server->reload));
    followers_tell(&server->followers, server->path, &files);
    follow_close_files(&files);
}

static void server_on_leader_changed(void *arg, const char *path, struct config_files *files)
{
    struct server *server = arg;
    reload_follow(server->reload, path, files);
}

void server_on_replaced(void *arg)
{
    struct server *server = arg;
    const int leader = handover_take_leader(server->handover);
    assert(!server->leader);
    admin_let_go(server->admin);
    followers_close(&server->followers); /* they follow that process now */
    reload_refuse(server->reload);
    if (leader >= 0)
        server->leader = leader_new(server->base, leader, server_on_leader_changed, server);
    if (server->leader)
        usage_exchange_begin(server->usage_exchange, server->leader);
    drain_begin(server->drain, DRAIN_LEAVE_WAITING, reload_config(server->reload)->timeouts.drain_ms);
    systemd_send(server->systemd);
}
