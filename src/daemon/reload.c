#include "daemon/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "reload"
#include "base/log.h"
#include "base/log_output.h"
#include "base/util.h"
#include "conf/changes.h"
#include "daemon/advertise.h"
#include "daemon/follow.h"
#include "daemon/notify.h"
#include "daemon/relay_port.h"
#include "daemon/sandbox.h"
#include "daemon/worker.h"
#include "net/sock.h"
#include "policy/snapshot.h"

struct reload {
    const char *path;
    struct inbox *inbox;
    struct snapshot *started, *in_force;
    struct snapshot *fresh; /* NULL: no reload is under way */
    bool again;             /* another one was asked for meanwhile */
    bool refused;           /* there will be none of our own any more */
    bool follows;           /* the one under way is of another process's configuration, which has taken over */
    bool to_follow;         /* such a one is to come: */
    char *followed_path;    /* NULL: no file */
    struct config_files followed;
    void (*done)(void *arg);
    void *arg;
    struct reload_record record;
    size_t worker_count, left;
    int *opened; /* for each worker, one for each listener: see struct worker_change */
    struct change {
        struct worker_change change;
        struct reload *reload;
    } changes[];
};

/* ---- reading ---- */

/* Line by line; frees the text. */
static void log_text(enum log_level level, char *text)
{
    char *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            LOG_AT(level, "%s", line);
    free(text);
}

/* What was read as root at the start may be out of reach for who this process is by now. */
static bool is_readable(const char *path)
{
    return !path || access(path, R_OK) == 0;
}

static void warn_unreadable(const char *path, char *text, size_t size)
{
    snprintf(
        text, size,
        "%s cannot be read again as user id %u, group id %u: %s. For SIGHUP to work, give it and its folder to that "
        "group (chgrp, chmod g+rX; see run.group)",
        path, (unsigned)geteuid(), (unsigned)getegid(), strerror(errno));
    log_warning("%s", text);
}

/* Permissions allow it, and yet it cannot be opened: Landlock knows the file that was there at the start. */
static void warn_replaced(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        close(fd);
    else if (errno == EACCES)
        log_warning("%s was replaced since the start, and the new one is out of the sandbox's reach: start again, or "
                    "keep it in a folder of its own, as another user than root",
                    path);
}

/* A pipe, as of a shell's <(...), could be read once, and would be waited for now. */
static bool is_pipe(const char *path)
{
    struct stat status;
    bool pipe = stat(path, &status) == 0 && !S_ISREG(status.st_mode);
    if (pipe)
        log_error("%s is not a regular file: it cannot be read again", path);
    return pipe;
}

static void note_error(struct reload *reload, const char *text)
{
    snprintf(reload->record.error, sizeof(reload->record.error), "%.*s", (int)strcspn(text, "\n"), text);
}

static const union netaddr *find_overlap(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_overlaps(&config->listen[i].address, address))
            return &config->listen[i].address;
    return NULL;
}

static void note_no_listener(struct reload *reload, const union netaddr *address, int error)
{
    const union netaddr *overlap = find_overlap(reload->in_force->config, address);
    char text[NETADDR_TEXT_MAX], other[NETADDR_TEXT_MAX], why[NETADDR_TEXT_MAX + 128] = "";
    if (error == EADDRINUSE && overlap)
        snprintf(why, sizeof(why),
                 ": this server's own listener at %s may be in the way; restart conesocks to change it",
                 netaddr_format(overlap, other));
    snprintf(reload->record.error, sizeof(reload->record.error), "cannot listen on %s: %s%s",
             netaddr_format(address, text), strerror(error), why);
    log_error("%s", reload->record.error);
}

static struct config *load_files(struct reload *reload, const char *path, const struct config_files *files)
{
    char *errors, *warnings;
    struct config *config = config_load_files(path, files, &errors, &warnings);
    if (errors)
        note_error(reload, errors);
    log_text(LOG_LEVEL_WARNING, warnings);
    log_text(LOG_LEVEL_ERROR, errors);
    return config;
}

static struct config *load(struct reload *reload)
{
    const char *path = reload->path;
    if (is_pipe(path))
        return NULL;
    struct config *config = load_files(reload, path, &CONFIG_FILES_NONE);
    if (!config && !is_readable(path))
        warn_unreadable(path, reload->record.error, sizeof(reload->record.error));
    else if (!config && path)
        warn_replaced(path);
    return config;
}

static void drop_followed(struct reload *reload)
{
    free(reload->followed_path);
    reload->followed_path = NULL;
    follow_close_files(&reload->followed);
}

static struct config *load_followed(struct reload *reload)
{
    struct config *config = load_files(reload, reload->followed_path, &reload->followed);
    drop_followed(reload);
    return config;
}

/* ---- listeners ---- */

static bool listens_on(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_equal(&config->listen[i].address, address))
            return true;
    return false;
}

static void close_listeners(struct reload *reload, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (reload->opened[i] >= 0)
            close(reload->opened[i]);
    free(reload->opened);
    reload->opened = NULL;
}

/* Opens the new listeners for every worker, before anything changes. A process that was taken over opens none. */
static bool open_listeners(struct reload *reload, const struct config *config)
{
    size_t opened = 0;
    reload->opened = calloc(reload->worker_count * config->listen_count, sizeof(int));
    if (!reload->opened)
        return false;
    for (size_t worker = 0; worker < reload->worker_count; worker++) {
        for (size_t i = 0; i < config->listen_count; i++) {
            const struct config_listener *listener = &config->listen[i];
            int fd = -1;
            if (!reload->follows && !listens_on(reload->in_force->config, &listener->address) &&
                (fd = sock_listen(&listener->address, true)) < 0) {
                note_no_listener(reload, &listener->address, -fd);
                close_listeners(reload, opened);
                return false;
            }
            reload->opened[opened++] = fd;
        }
    }
    return true;
}

static void log_listeners(const char *what, const struct config *config, const struct config *other)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        char text[NETADDR_TEXT_MAX];
        if (!listens_on(other, &config->listen[i].address))
            log_info("%s %s", what, netaddr_format(&config->listen[i].address, text));
    }
}

/* ---- the change ---- */

static void finish(struct reload *reload)
{
    const struct config *before = reload->in_force->config, *now = reload->fresh->config;
    const bool ours = !reload->follows;
    char *waiting = ours ? changes_at_start(reload->started->config, now) : NULL;
    if (ours) {
        log_listeners("listening on", now, before);
        log_listeners("no longer listening on", before, now);
        log_info("configuration reloaded%s%s", waiting ? "; these changes take effect at the next start: " : "",
                 waiting ? waiting : "");
    } else {
        log_info("following the configuration of the process that took over");
    }
    free(reload->opened);
    reload->opened = NULL;
    snapshot_release(reload->in_force);
    reload->in_force = reload->fresh;
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

static void warn_refused(void)
{
    log_warning("SIGHUP: not reloaded, for this server is about to end; after an upgrade a reload of the process "
                "that serves is for this one, too");
}

static void begin(struct reload *reload);

static void on_changed(struct inbox_item *item)
{
    struct reload *reload = container_of(item, struct change, change.item)->reload;
    if (--reload->left > 0)
        return;
    finish(reload);
    if (!reload->again)
        return;
    reload->again = false;
    if (reload->to_follow || !reload->refused)
        begin(reload);
    else
        warn_refused();
}

/* On the worker's thread. */
static void hand_back(struct worker_change *change)
{
    struct reload *reload = container_of(change, struct change, change)->reload;
    change->item.run = on_changed;
    inbox_post(reload->inbox, &change->item);
}

static void change_workers(struct reload *reload)
{
    const struct config *config = reload->fresh->config;
    log_set_level(config->log.level);
    log_set_format(config->log.format);
    reload->left = reload->worker_count;
    for (size_t i = 0; i < reload->worker_count; i++) {
        struct worker_change *change = &reload->changes[i].change;
        change->snapshot = reload->fresh;
        change->opened = &reload->opened[i * config->listen_count];
        worker_change(change);
    }
}

/* What only new clients need does not matter where there will be none. */
static bool suits(struct reload *reload, const struct config *config)
{
    if (!reload->follows)
        return sandbox_permits(config) && advertise_find(reload->fresh) && relay_port_is_free(config, true);
    reload->fresh->advertised_v4 = reload->in_force->advertised_v4;
    reload->fresh->advertised_v6 = reload->in_force->advertised_v6;
    return true;
}

static bool prepare(struct reload *reload)
{
    note_error(reload, "");
    struct config *config = reload->follows ? load_followed(reload) : load(reload);
    if (!config)
        return false;
    reload->fresh = snapshot_new(config);
    if (!reload->fresh) {
        log_error("out of memory");
        config_free(config);
        return false;
    }
    if (suits(reload, config) && open_listeners(reload, config))
        return true;
    snapshot_release(reload->fresh);
    reload->fresh = NULL;
    return false;
}

static void begin(struct reload *reload)
{
    reload->follows = reload->to_follow;
    reload->to_follow = false;
    if (!reload->follows)
        notify_reloading();
    if (prepare(reload)) {
        change_workers(reload);
        return;
    }
    reload->record.failed++;
    if (!reload->record.error[0])
        note_error(reload, "the log says why");
    if (reload->follows) {
        log_error("keeping the current configuration: that of the process that has taken over cannot be used here. "
                  "SIGTERM ends the sessions of this process");
        return;
    }
    log_error("configuration not reloaded: the one of before stays in force");
    notify_ready();
}

void reload_follow(struct reload *reload, const char *path, struct config_files *files)
{
    log_reopen();
    drop_followed(reload);
    reload->followed = *files;
    *files = CONFIG_FILES_NONE;
    reload->followed_path = path ? strdup(path) : NULL;
    if (path && !reload->followed_path) {
        log_error("keeping the current configuration: no memory to read that of the process that has taken over");
        drop_followed(reload);
        reload->to_follow = false; /* nor one that has been waiting: its files are closed */
        return;
    }
    reload->to_follow = true;
    if (reload->fresh)
        reload->again = true;
    else
        begin(reload);
}

void reload_begin(struct reload *reload)
{
    log_reopen(); /* whatever the configuration is like: logrotate has renamed the file */
    if (reload->refused)
        warn_refused();
    else if (!reload->path)
        log_warning("SIGHUP: there is no configuration file to read (-c)");
    else if (reload->fresh)
        reload->again = true;
    else
        begin(reload);
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
    return reload->in_force;
}

const struct config *reload_config(const struct reload *reload)
{
    return reload->in_force->config;
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

static void check_log(const struct config *config)
{
    char folder[PATH_MAX];
    if (config->log.target != LOG_TARGET_FILE)
        return;
    snprintf(folder, sizeof(folder), "%s", config->log.file);
    if (access(dirname(folder), W_OK | X_OK) < 0)
        log_warning("log.file: user id %u cannot make %s again once it was renamed: %s. Give its folder to that user "
                    "(see run.user), or have logrotate copy it (copytruncate)",
                    (unsigned)geteuid(), config->log.file, strerror(errno));
}

static void check_files(const struct reload *reload)
{
    const struct config *config = reload->started->config;
    const char *const paths[] = {reload->path, config->users_file};
    char text[PATH_MAX + 256];
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (!is_readable(paths[i]))
            warn_unreadable(paths[i], text, sizeof(text));
    check_log(config);
}

struct reload *reload_new(struct event_base *base, const char *path, struct snapshot *snapshot, struct worker **workers,
                          size_t worker_count, void (*done)(void *arg), void *arg)
{
    struct reload *reload = calloc(1, sizeof(*reload) + worker_count * sizeof(struct change));
    struct inbox *inbox = reload ? inbox_new(base) : NULL;
    if (!inbox) {
        free(reload);
        return NULL;
    }
    reload->path = path;
    reload->inbox = inbox;
    reload->followed = CONFIG_FILES_NONE;
    reload->done = done;
    reload->arg = arg;
    reload->started = snapshot_hold(snapshot);
    reload->in_force = snapshot_hold(snapshot);
    reload->worker_count = worker_count;
    reload->record.loaded = time(NULL);
    for (size_t i = 0; i < worker_count; i++)
        reload->changes[i] = (struct change){.change = {.worker = workers[i], .done = hand_back}, .reload = reload};
    check_files(reload);
    return reload;
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    reload->path = NULL; /* nothing begins any more */
    reload->again = false;
    drop_followed(reload);
    inbox_free(reload->inbox);
    snapshot_release(reload->started);
    snapshot_release(reload->in_force);
    free(reload->record.waiting);
    free(reload);
}
