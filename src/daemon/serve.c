#include "daemon/serve.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "base/log_output.h"
#include "conf/config.h"
#include "daemon/background.h"
#include "daemon/inherited.h"
#include "daemon/pidfile.h"
#include "daemon/sandbox.h"
#include "daemon/server.h"
#include "daemon/takeover.h"
#include "policy/snapshot.h"

/* What the process has besides the server. */
struct process {
    const struct config *config;
    const struct serve_options *options;
    const char *pid_file; /* NULL: none */
    int lock;             /* the pid file's; -1: none */
    bool lock_taken;      /* the running server holds it as well */
    int caller;           /* for background_ready(); -1: not a daemon */
    struct inherited *inherited;
    struct takeover takeover;
};

/* Before the fork: systemd passes its sockets to this process id only. */
static bool process_inherit(struct process *process)
{
    process->inherited = inherited_new();
    if (!process->inherited)
        log_error("cannot start: no memory");
    return process->inherited && inherited_from_systemd(process->inherited) &&
           inherited_is_wanted(process->inherited, process->config);
}

/* The sandbox changes the user later, and a reload opens listeners as that user. */
static bool process_give_listeners(struct process *process)
{
    uid_t user;
    gid_t group;
    if (!sandbox_identity(process->config, &user, &group))
        return false;
    inherited_give(process->inherited, user);
    return true;
}

/* A file that was taken over is locked already, and still names the process that runs. */
static bool process_open_pid_file(struct process *process)
{
    const int taken = process->takeover.pid_file;
    if (!process->pid_file)
        return true;
    process->lock_taken = taken >= 0 && pidfile_is(process->pid_file, taken);
    process->lock = process->lock_taken ? fcntl(taken, F_DUPFD_CLOEXEC, 0) : pidfile_open(process->pid_file);
    return process->lock >= 0;
}

static struct server *process_open_server(struct process *process, struct snapshot *snapshot)
{
    const struct serve_options *options = process->options;
    if (!process_inherit(process))
        return NULL;
    if (options->daemon)
        process->caller = background_start();
    if (options->take_over && !takeover_begin(&process->takeover, process->config, process->inherited))
        return NULL;
    if (!process_give_listeners(process))
        return NULL;
    process->takeover.files = follow_open_files(options->path, process->config);
    if (!process_open_pid_file(process))
        return NULL;
    const struct server_given given = {
        .listeners = process->inherited,
        .admin = process->takeover.admin,
        .handover = process->takeover.handover,
        .taken = takeover_is_under_way(&process->takeover),
        .pid_file = process->lock,
    };
    return server_new(snapshot, options->path, &given);
}

/* While we are still the user that started us: the log's folder may be out of reach later. */
static bool serve_open_log(const struct config *config)
{
    uid_t user;
    gid_t group;
    return config->log.target != LOG_TARGET_FILE ||
           (sandbox_identity(config, &user, &group) && log_open(config->log.file, user, group));
}

/* Errors so far have gone to where the user that starts us looks. */
static bool serve_start_log(const struct config *config, bool daemon)
{
    enum log_target target = config->log.target;
    if (target == LOG_TARGET_FILE)
        log_info("the log continues in %s", config->log.file);
    log_to(daemon && target == LOG_TARGET_STDERR ? LOG_TARGET_SYSLOG : target);
    int error = log_start();
    if (error)
        log_error("cannot start a thread: %s", strerror(-error));
    return error == 0;
}

/* Tells the previous server, the pid file and the process that waits that this server serves. false: it must not serve.
 */
static bool process_announce(struct process *process, struct server *server)
{
    const bool takes_over = takeover_is_under_way(&process->takeover);
    if (takes_over && !takeover_finish(&process->takeover))
        return false;
    if (process->lock_taken)
        pidfile_write(process->lock);
    else if (process->takeover.pid_file >= 0)
        pidfile_empty(process->takeover.pid_file);
    if (takes_over) {
        server_take_over(server, &process->takeover);
        takeover_abandon(&process->takeover);
    }
    if (process->caller >= 0)
        background_ready(process->caller);
    process->caller = -1;
    return true;
}

/* While the server does not run, nothing handles these signals, and they would kill the process. */
static void serve_block_signals(bool block)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static bool process_run(struct process *process, struct server *server)
{
    if (!serve_open_log(process->config) ||
        !sandbox_enter(process->config, process->options->path, server_has_kernel_path(server)))
        return false;
    if (!serve_start_log(process->config, process->options->daemon) || !server_start(server))
        return false;
    if (!process_announce(process, server))
        return false;
    serve_block_signals(false);
    server_run(server);
    serve_block_signals(true);
    return true;
}

int serve(struct snapshot *snapshot, const struct serve_options *options)
{
    struct process process = {
        .config = snapshot->config,
        .options = options,
        .pid_file = snapshot->config->run.pid_file,
        .lock = -1,
        .caller = -1,
        .takeover = TAKEOVER_NONE,
    };
    serve_block_signals(true);
    if (options->daemon && !process.pid_file)
        process.pid_file = PIDFILE_DEFAULT;
    struct server *server = process_open_server(&process, snapshot);
    inherited_free(process.inherited);
    bool served = server && process_run(&process, server);
    assert(process.caller < 0 || !served);
    bool names_another = served ? server_is_replaced(server) : process.lock_taken;
    server_free(server);
    takeover_abandon(&process.takeover);
    if (names_another)
        close(process.lock);
    else
        pidfile_remove(process.pid_file, process.lock);
    log_stop();
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}
