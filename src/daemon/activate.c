#include "daemon/activate.h"

#define LOG_MODULE "worker"
#include "base/log.h"
#include "daemon/listeners.h"
#include "daemon/worker.h"
#include "net/resolver.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "proxy/session/login.h"
#include "proxy/session/review.h"

void activate(struct worker *worker, struct snapshot *snapshot, const int *opened, void (*done)(void *arg), void *arg)
{
    struct env *env = worker_env(worker);
    const struct config *config = snapshot->config;
    const struct resolver_options options = lookup_resolver_options(config);
    review_prepare(env, env_use(env, snapshot));
    logins_change(env->logins, config->limits.failed_logins);
    if (!resolver_change(env->resolver, &options))
        log_error("dns.servers: keeping the previous servers: no memory, or no descriptors (ulimit -n)");
    /* Accepts what waits at old listeners, which may end sessions, which may read datagrams of others. */
    listeners_change(worker_listeners(worker), config, opened);
    review_sessions(env, done, arg);
}
