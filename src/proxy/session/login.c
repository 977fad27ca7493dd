#include "proxy/session/login.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "login"
#include "base/log.h"
#include "base/util.h"
#include "net/inbox.h"
#include "policy/auth.h"
#include "proxy/env.h"

/* May outlive its session, which cannot take a check back that has begun. */
struct login {
    struct auth_job job;
    struct inbox_item item;
    struct env *env;
    struct snapshot *snapshot; /* whose users it is about */
    struct login_proof proof;
    login_done *done; /* NULL: cancelled */
    void *arg;
};

struct logins {
    struct auth *auth;
    struct login_cache *cache;
    size_t pending; /* with the helper thread */
    struct log_limit failed_log, throttled_log,
        busy_log; /* by themselves, so that a flood of other lines does not hide them */
};

struct logins *logins_new(struct auth *auth, uint32_t failed_logins)
{
    struct logins *logins = calloc(1, sizeof(*logins));
    if (!logins)
        return NULL;
    logins->auth = auth;
    logins->cache = login_cache_new();
    if (!logins->cache) {
        logins_free(logins);
        return NULL;
    }
    logins_change(logins, failed_logins);
    return logins;
}

void logins_free(struct logins *logins)
{
    if (!logins)
        return;
    assert(logins->pending == 0); /* nothing comes back from the helper thread any more */
    login_cache_free(logins->cache);
    free(logins);
}

void logins_change(struct logins *logins, uint32_t failed_logins)
{
    auth_limit_failures(logins->auth, failed_logins);
}

struct log_limit *logins_failed_log(struct logins *logins)
{
    return &logins->failed_log;
}

static void login_discard(struct login *login)
{
    snapshot_release(login->snapshot);
    explicit_bzero(login, sizeof(*login)); /* the password */
    free(login);
}

static void logins_log_throttled(struct logins *logins, const struct auth_job *job, uint64_t now)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&logins->throttled_log, now, LOG_LEVEL_INFO,
                "too many wrong passwords from %s%s: closing its logins unchecked for a while (limits.failed_logins)",
                job->block == AUTH_ADDRESS_BLOCKED ? "" : "the network of ", netaddr_format_host(&job->client, host));
}

static void logins_log_busy(struct logins *logins, uint64_t now)
{
    LOG_LIMITED(&logins->busy_log, now, LOG_LEVEL_WARNING,
                "closed a login unchecked: %d passwords wait to be checked; many addresses may be guessing passwords",
                AUTH_QUEUE_MAX);
}

static enum login_outcome login_take_verdict(const struct login *login)
{
    struct env *env = login->env;
    struct logins *logins = env->logins;
    switch (login->job.verdict) {
    case AUTH_RIGHT:
        login_cache_add(logins->cache, &login->proof, login->job.right_until_ms);
        return LOGIN_RIGHT;
    case AUTH_WRONG:
        metrics_add(&env->metrics.auth_failed_total, 1);
        if (login->job.block != AUTH_NOT_BLOCKED)
            logins_log_throttled(logins, &login->job, env_now(env));
        return LOGIN_WRONG;
    case AUTH_THROTTLED:
        metrics_add(&env->metrics.auth_throttled_total, 1);
        return LOGIN_THROTTLED;
    case AUTH_UNCHECKED: /* its session has ended, or the server stops */
        break;
    }
    return LOGIN_BUSY;
}

static void login_on_checked(struct inbox_item *item)
{
    struct login *login = container_of(item, struct login, item);
    assert(login->env->logins->pending > 0);
    login->env->logins->pending--;
    enum login_outcome outcome = login_take_verdict(login);
    login_done *done = login->done;
    void *arg = login->arg;
    login_discard(login);
    if (done)
        done(arg, outcome);
}

/* On the helper thread. */
static void login_hand_back(struct auth_job *job)
{
    struct login *login = container_of(job, struct login, job);
    inbox_post(login->env->inbox, &login->item);
}

/* Asks what needs no waiting for: the cache, then whether there is room in the helper's queue. */
static enum login_outcome login_ask(struct login *login)
{
    struct env *env = login->env;
    struct logins *logins = env->logins;
    struct auth_job *job = &login->job;
    login->proof = auth_proof(logins->auth, job->users, job->user, job->password);
    if (login_cache_find(logins->cache, &login->proof, job->now_ms)) {
        metrics_add(&env->metrics.auth_cached_total, 1);
        return LOGIN_RIGHT;
    }
    logins->pending++;
    if (auth_submit(logins->auth, job))
        return LOGIN_PENDING;
    logins->pending--;
    metrics_add(&env->metrics.auth_busy_total, 1);
    logins_log_busy(logins, job->now_ms);
    return LOGIN_BUSY;
}

enum login_outcome login_begin(struct login **login, struct env *env, const union netaddr *client,
                               const struct socks5_password *given, login_done *done, void *arg)
{
    *login = NULL;
    /* Before the cache is asked: an address that guesses must not learn from it either. */
    if (auth_blocks(env->logins->auth, client, env_now(env)) != AUTH_NOT_BLOCKED) {
        metrics_add(&env->metrics.auth_throttled_total, 1);
        return LOGIN_THROTTLED;
    }
    struct login *new = calloc(1, sizeof(*new));
    if (!new) {
        metrics_add(&env->metrics.auth_busy_total, 1);
        return LOGIN_BUSY;
    }
    static_assert(sizeof(new->job.user) > UINT8_MAX && sizeof(new->job.password) > UINT8_MAX, "the longest of each");
    memcpy(new->job.user, given->user, given->user_len);
    memcpy(new->job.password, given->password, given->password_len);
    new->snapshot = snapshot_hold(env->snapshot);
    new->job.users = &new->snapshot->users;
    new->job.now_ms = env_now(env);
    new->job.remember_ms = env->config->timeouts.login_cache_ms;
    new->job.done = login_hand_back;
    new->item.run = login_on_checked;
    new->env = env;
    new->job.client = *client;
    new->done = done;
    new->arg = arg;
    enum login_outcome outcome = login_ask(new);
    if (outcome == LOGIN_PENDING)
        *login = new;
    else
        login_discard(new);
    return outcome;
}

void login_cancel(struct login *login)
{
    assert(login->done); /* it is cancelled once */
    login->done = NULL;
    atomic_store(&login->job.abandoned, true);
}
