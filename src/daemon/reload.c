#include "daemon/reload.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "reload"
#include "base/log.h"
#include "base/log_output.h"
#include "conf/changes.h"
#include "daemon/activate.h"
#include "daemon/advertise.h"
#include "daemon/crew.h"
#include "daemon/follow.h"
#include "daemon/notify.h"
#include "daemon/relay_port.h"
#include "daemon/reload_source.h"
#include "daemon/sandbox.h"
#include "daemon/spread.h"
#include "net/sock.h"
#include "policy/snapshot.h"

struct reload {
    const char *path;
    struct crew *crew;
    struct crew_round *round;
    struct snapshot *started; /* the one of the start, for what takes effect at the next start only */
    struct snapshot *active;
    struct snapshot *fresh; /* NULL: no reload is under way */
    bool again;             /* another one was asked for meanwhile */
    bool refused;           /* our own file is not read any more */
    bool follows;           /* the one under way is the configuration of a process that has taken over */
    bool to_follow;         /* such a one is to come: */
    char *followed_path;    /* NULL: no file */
    struct config_files followed;
    void (*done)(void *arg);
    void *arg;
    struct reload_record record;
    int *opened; /* for each worker, a new socket for each endpoint; -1: none is needed */
};

static void reload_begin_next(struct reload *reload);

/* ---- listeners ---- */

static void reload_fail_listener(struct reload *reload, const union netaddr *address, int error)
{
    const struct config_listener *overlap = config_listener_overlapping(reload->active->config, address);
    char text[NETADDR_TEXT_MAX], other[CONFIG_LISTENER_TEXT_MAX], why[NETADDR_TEXT_MAX + 128] = "";
    if (error == EADDRINUSE && overlap)
        snprintf(why, sizeof(why),
                 ": this server's own listener at %s may be in the way; restart conesocks to change it",
                 config_listener_format(overlap, other));
    else if (error == EMFILE || error == ENFILE)
        snprintf(why, sizeof(why), "; raise the limit (ulimit -n, or LimitNOFILE= in the systemd unit)");
    snprintf(reload->record.error, sizeof(reload->record.error), "cannot listen on %s: %s%s",
             netaddr_format(address, text), strerror(error), why);
    log_error("%s", reload->record.error);
}

static void reload_close_opened(struct reload *reload, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (reload->opened[i] >= 0)
            close(reload->opened[i]);
    free(reload->opened);
    reload->opened = NULL;
}

/* A process that was replaced opens none. */
static bool reload_opens(const struct reload *reload, const struct config *config, size_t endpoint, size_t worker)
{
    return !reload->follows && spread_has(config, endpoint, worker, crew_size(reload->crew)) &&
           !config_listener_at(reload->active->config, &config->endpoints[endpoint].address);
}

/* Opens the new listeners for the workers, before anything changes. */
static bool reload_open_listeners(struct reload *reload, const struct config *config)
{
    const size_t workers = crew_size(reload->crew);
    size_t opened = 0;
    assert(!reload->opened);
    reload->opened = calloc(workers * config->endpoint_count, sizeof(int));
    if (!reload->opened)
        return false;
    for (size_t worker = 0; worker < workers; worker++) {
        for (size_t i = 0; i < config->endpoint_count; i++) {
            const union netaddr *address = &config->endpoints[i].address;
            int fd = -1;
            if (reload_opens(reload, config, i, worker) && (fd = sock_listen(address, true)) < 0) {
                reload_fail_listener(reload, address, -fd);
                reload_close_opened(reload, opened);
                return false;
            }
            reload->opened[opened++] = fd;
        }
    }
    return true;
}

/* One line for all ports of a listener that follow each other. */
static void reload_log_listener(const char *what, const struct config_listener *listener, const struct config *other)
{
    for (uint32_t port = listener->ports.first; port <= listener->ports.last; port++) {
        struct config_listener part = *listener;
        char text[CONFIG_LISTENER_TEXT_MAX];
        netaddr_set_port(&part.address, (uint16_t)port);
        if (config_listener_at(other, &part.address))
            continue;
        part.ports.first = (uint16_t)port;
        union netaddr next = part.address;
        do
            netaddr_set_port(&next, (uint16_t)++port);
        while (port <= listener->ports.last && !config_listener_at(other, &next));
        part.ports.last = (uint16_t)(port - 1);
        log_info("%s %s", what, config_listener_format(&part, text));
    }
}

static void reload_log_listeners(const char *what, const struct config *config, const struct config *other)
{
    for (size_t i = 0; i < config->listen_count; i++)
        reload_log_listener(what, &config->listen[i], other);
}

/* ---- the change ---- */

static void reload_finish(struct reload *reload)
{
    const struct config *before = reload->active->config, *now = reload->fresh->config;
    const bool ours = !reload->follows;
    char *waiting = ours ? changes_at_start(reload->started->config, now) : NULL;
    if (ours) {
        reload_log_listeners("listening on", now, before);
        reload_log_listeners("no longer listening on", before, now);
        log_info("configuration reloaded%s%s", waiting ? "; these changes take effect at the next start: " : "",
                 waiting ? waiting : "");
    } else {
        log_info("following the configuration of the process that took over");
    }
    free(reload->opened);
    reload->opened = NULL;
    snapshot_release(reload->active);
    reload->active = reload->fresh;
    reload->record.done++;
    reload->record.loaded = time(NULL);
    free(reload->record.waiting);
    reload->record.waiting = waiting;
    reload->fresh = NULL;
    if (!ours)
        return;
    notify_ready();
    reload->done(reload->arg);
}

static void reload_warn_refused(void)
{
    log_warning("SIGHUP: not reloaded, because this server is about to exit. After an upgrade, reload the process that "
                "has taken over: this process then reloads, too");
}

static void reload_on_joined(void *arg)
{
    struct reload *reload = arg;
    reload_finish(reload);
    if (!reload->again)
        return;
    reload->again = false;
    if (reload->to_follow || !reload->refused)
        reload_begin_next(reload);
    else
        reload_warn_refused();
}

/* On the worker's thread. */
static void reload_on_activated(void *arg)
{
    crew_turn_end(arg);
}

/* On the worker's thread. */
static void reload_worker(struct crew_turn *turn)
{
    const struct reload *reload = turn->arg;
    const int *opened = &reload->opened[turn->number * reload->fresh->config->endpoint_count];
    activate(turn->worker, reload->fresh, opened, reload_on_activated, turn);
}

/* A process that was replaced gets no new clients, so what only they need does not matter there. */
static bool reload_can_activate(struct reload *reload)
{
    const struct config *config = reload->fresh->config;
    if (!reload->follows)
        return sandbox_permits(config) && advertise_find(reload->fresh) && relay_port_is_free(config, true);
    memcpy(reload->fresh->advertised, reload->active->advertised, sizeof(reload->fresh->advertised));
    return true;
}

static void reload_close_followed(struct reload *reload)
{
    free(reload->followed_path);
    reload->followed_path = NULL;
    follow_close_files(&reload->followed);
}

static struct config *reload_read(struct reload *reload)
{
    char *error = reload->record.error;
    const size_t size = sizeof(reload->record.error);
    if (!reload->follows)
        return reload_source_read(reload->path, error, size);
    struct config *config = reload_source_read_files(reload->followed_path, &reload->followed, error, size);
    reload_close_followed(reload);
    return config;
}

static bool reload_prepare(struct reload *reload)
{
    reload->record.error[0] = '\0';
    struct config *config = reload_read(reload);
    if (!config)
        return false;
    reload->fresh = snapshot_new(config);
    if (!reload->fresh) {
        log_error("out of memory");
        config_free(config);
        return false;
    }
    if (reload_can_activate(reload) && reload_open_listeners(reload, config))
        return true;
    snapshot_release(reload->fresh);
    reload->fresh = NULL;
    return false;
}

static void reload_fail(struct reload *reload)
{
    reload->record.failed++;
    if (!reload->record.error[0])
        snprintf(reload->record.error, sizeof(reload->record.error), "see the log for the reason");
    if (reload->follows) {
        log_error("keeping the current configuration: that of the process that has taken over cannot be used here. "
                  "SIGTERM ends the sessions of this process");
        return;
    }
    log_error("configuration not reloaded: keeping the current configuration");
    notify_ready();
}

static void reload_begin_next(struct reload *reload)
{
    assert(!reload->fresh); /* one at a time */
    reload->follows = reload->to_follow;
    reload->to_follow = false;
    if (!reload->follows)
        notify_reloading();
    if (!reload_prepare(reload)) {
        reload_fail(reload);
        return;
    }
    log_set_level(reload->fresh->config->log.level);
    log_set_format(reload->fresh->config->log.format);
    crew_round_begin(reload->round, reload_worker, reload_on_joined);
}

/* ---- requests ---- */

void reload_follow(struct reload *reload, const char *path, struct config_files *files)
{
    log_reopen();
    reload_close_followed(reload);
    reload->followed = *files;
    *files = CONFIG_FILES_NONE;
    reload->followed_path = path ? strdup(path) : NULL;
    if (path && !reload->followed_path) {
        log_error("keeping the current configuration: no memory to read the one of the process that has taken over");
        reload_close_followed(reload);
        reload->to_follow = false; /* its files are closed */
        return;
    }
    reload->to_follow = true;
    if (reload->fresh)
        reload->again = true;
    else
        reload_begin_next(reload);
}

void reload_begin(struct reload *reload)
{
    log_reopen(); /* even if the configuration has an error: logrotate has renamed the file */
    if (reload->refused)
        reload_warn_refused();
    else if (!reload->path)
        log_warning("SIGHUP: there is no configuration file to reload (-c)");
    else if (reload->fresh)
        reload->again = true;
    else
        reload_begin_next(reload);
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
    return reload->active;
}

const struct config *reload_config(const struct reload *reload)
{
    return reload->active->config;
}

const struct reload_record *reload_record(const struct reload *reload)
{
    return &reload->record;
}

void reload_refuse(struct reload *reload)
{
    reload->refused = true;
}

/* ---- life ---- */

struct reload *reload_new(struct crew *crew, const char *path, struct snapshot *snapshot, void (*done)(void *arg),
                          void *arg)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    struct crew_round *round = reload ? crew_round_new(crew, reload) : NULL;
    if (!round) {
        free(reload);
        return NULL;
    }
    *reload = (struct reload){
        .path = path,
        .crew = crew,
        .round = round,
        .started = snapshot_hold(snapshot),
        .active = snapshot_hold(snapshot),
        .followed = CONFIG_FILES_NONE,
        .done = done,
        .arg = arg,
        .record.loaded = time(NULL),
    };
    reload_source_check(path, snapshot->config);
    return reload;
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    reload->path = NULL; /* nothing begins any more */
    reload->again = false;
    reload_close_followed(reload);
    crew_round_free(reload->round); /* joins one whose workers are all done */
    assert(!reload->fresh);
    snapshot_release(reload->started);
    snapshot_release(reload->active);
    free(reload->record.waiting);
    free(reload);
}
