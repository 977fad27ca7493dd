#include "daemon/serve.h"

#include <stdlib.h>

#define LOG_MODULE "server"
#include "base/log.h"
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

/* With what takes privileges in hand. */
static bool run(struct server *server, const struct config *config, const struct serve_options *options)
{
    if (!sandbox_enter(config, options->path))
        return false;
    if (options->daemon)
        log_init(config->log.level, LOG_TARGET_SYSLOG); /* before there are threads that log */
    if (!server_start(server))
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
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}
