#include "daemon/serve.h"

#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "base/log_output.h"
#include "conf/config.h"
#include "daemon/background.h"
#include "daemon/inherited.h"
#include "daemon/sandbox.h"
#include "daemon/server.h"
#include "policy/snapshot.h"

static struct inherited *inherit(const struct config *config)
{
    struct inherited *inherited = inherited_new();
    if (inherited && inherited_from_systemd(inherited) && inherited_is_wanted(inherited, config))
        return inherited;
    inherited_free(inherited);
    return NULL;
}

/* As whoever starts us, who may have a folder that we will not reach. */
static bool open_log(const struct config *config)
{
    uid_t owner;
    return config->log.target != LOG_TARGET_FILE ||
           (sandbox_user_id(config, &owner) && log_open(config->log.file, owner));
}

/* What is wrong so far stands where whoever starts us looks. */
static bool start_log(const struct config *config, bool daemon)
{
    enum log_target target = config->log.target;
    if (target == LOG_TARGET_FILE)
        log_info("from here on the log is in %s", config->log.file);
    log_to(daemon && target == LOG_TARGET_STDERR ? LOG_TARGET_SYSLOG : target);
    int error = log_start();
    if (error)
        log_error("cannot start a thread: %s", strerror(-error));
    return error == 0;
}

/* With what takes privileges in hand. */
static bool run(struct server *server, const struct config *config, const struct serve_options *options)
{
    if (!open_log(config) || !sandbox_enter(config, options->path))
        return false;
    if (!start_log(config, options->daemon) || !server_start(server))
        return false;
    background_ready();
    server_run(server);
    return true;
}

int serve(struct snapshot *snapshot, const struct serve_options *options)
{
    const struct config *config = snapshot->config;
    const char *pid_file = config->run.pid_file;
    if (options->daemon && !pid_file)
        pid_file = PIDFILE_DEFAULT;
    struct inherited *inherited = inherit(config); /* before a fork: systemd passes them to one process alone */
    if (!inherited)
        return EXIT_FAILURE;
    if (options->daemon)
        background_start();
    int lock = -1;
    if (pid_file && (lock = pidfile_open(pid_file)) < 0) {
        inherited_free(inherited);
        return EXIT_FAILURE;
    }
    struct server *server = server_new(snapshot, options->path, inherited);
    inherited_free(inherited);
    bool served = server && run(server, config, options);
    server_free(server);
    pidfile_remove(pid_file, lock);
    log_stop();
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}
