#include <inttypes.h>
#include <stdio.h>

#include "conf/config.h"
#include "daemon/crew.h"
#include "daemon/drain.h"
#include "daemon/handover.h"
#include "daemon/health.h"
#include "daemon/port_usage.h"
#include "daemon/readiness.h"
#include "daemon/reload.h"
#include "daemon/server_impl.h"
#include "daemon/status_query.h"
#include "host/host.h"
#include "policy/quota.h"

static const struct config *server_show_config(void *arg)
{
    const struct server *server = arg;
    return reload_config(server->reload);
}

static void server_show_metrics(void *arg, struct metrics *sum)
{
    const struct server *server = arg;
    crew_sum_metrics(server->crew, sum);
}

static void server_show_facts(void *arg, struct admin_facts *facts)
{
    const struct server *server = arg;
    const struct reload_record *reloads = reload_record(server->reload);
    const struct config *config = reload_config(server->reload);
    *facts =
        (struct admin_facts){.started = server->started, .reloads = reloads->done, .reloads_failed = reloads->failed};
    facts->kernel_path = admin_kernel_path_of(server->host->kernel_path, server->kernel.why);
    facts->kernel_path_configured = config->udp.kernel_path != CONFIG_KERNEL_PATH_OFF;
    facts->port_count = port_usage(config, &server->system_ports, facts->ports);
}

static const char *server_show_sick(void *arg)
{
    const struct server *server = arg;
    return health_complaint(server->health);
}

static const char *server_show_unready(void *arg)
{
    const struct server *server = arg;
    const struct readiness readiness = {
        .draining = drain_is_under_way(server->drain) && !handover_is_over(server->handover),
        .health = server->health,
        .pressure_watch = server->pressure_watch,
        .quota = server->host->quota,
        .reserve = server->host->reserve,
        .config = reload_config(server->reload),
        .system_ports = &server->system_ports,
    };
    return readiness_complaint(&readiness);
}

static void server_show_status(void *arg, const struct admin_query *query, admin_done *done, void *done_arg)
{
    const struct server *server = arg;
    status_query_status(server->status_query, drain_is_under_way(server->drain), query, done, done_arg);
}

static void server_show_history(void *arg, admin_done *done, void *done_arg)
{
    const struct server *server = arg;
    status_query_history(server->status_query, done, done_arg);
}

struct admin_source server_admin_source(struct server *server)
{
    return (struct admin_source){
        .arg = server,
        .config = server_show_config,
        .metrics = server_show_metrics,
        .facts = server_show_facts,
        .sick = server_show_sick,
        .unready = server_show_unready,
        .status = server_show_status,
        .history = server_show_history,
    };
}

void server_describe(void *arg, char text[SYSTEMD_TEXT_MAX])
{
    const struct server *server = arg;
    struct quota_account *all = quota_of_all(server->host->quota);
    size_t listeners = reload_config(server->reload)->endpoint_count;
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
