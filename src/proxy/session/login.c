#include "proxy/session/login.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOG_MODULE "login"
#include "base/log.h"
#include "base/util.h"
#include "net/inbox.h"
#include "policy/auth.h"
#include "policy/throttle.h"
#include "proxy/env.h"

/* May outlive its session, which cannot take a check back that has begun. */
struct login {
    struct auth_job job;
    struct inbox_item item;
    TAILQ_ENTRY(login) link;
    struct env *env;
    struct snapshot *snapshot; /* whose users it is about */
    struct login_proof proof;
    login_done *done; /* NULL: cancelled */
    void *arg;
};

struct logins {
    struct auth *auth;
    struct login_cache *cache;
    struct throttle *throttle;
    TAILQ_HEAD(, login) pending;
    struct log_limit throttled_log, busy_log; /* by themselves, so that a flood of other lines does not hide them */
};

struct logins *logins_new(struct auth *auth, uint32_t failed_logins)
{
    struct logins *logins = calloc(1, sizeof(*logins));
    if (!logins)
        return NULL;
    logins->auth = auth;
    logins->cache = login_cache_new();
    logins->throttle = throttle_new(failed_logins);
    TAILQ_INIT(&logins->pending);
    if (logins->cache && logins->throttle)
        return logins;
    logins_free(logins);
    return NULL;
}

void logins_free(struct logins *logins)
{
    if (!logins)
        return;
    assert(TAILQ_EMPTY(&logins->pending)); /* nothing comes back from the helper thread any more */
    login_cache_free(logins->cache);
    throttle_free(logins->throttle);
    free(logins);
}

void logins_change(struct logins *logins, uint32_t failed_logins)
{
    throttle_set(logins->throttle, failed_logins);
}

static void login_discard(struct login *login)
{
    snapshot_release(login->snapshot);
    explicit_bzero(login, sizeof(*login)); /* the password */
    free(login);
}

/* After one failure too many: what its address or network still has in the queue would only delay others. */
static void logins_abandon(struct logins *logins, const union netaddr *client, uint64_t now)
{
    bool network = throttle_blocks(logins->throttle, THROTTLE_NETWORK, client, now);
    struct login *login;
    TAILQ_FOREACH(login, &logins->pending, link)
    {
        struct auth_job *job = &login->job;
        if (throttle_same(THROTTLE_ADDRESS, &job->client, client) ||
            (network && !job->known && throttle_same(THROTTLE_NETWORK, &job->client, client)))
            atomic_store(&job->abandoned, true);
    }
}

static void logins_log_throttled(struct logins *logins, const union netaddr *client, uint64_t now)
{
    bool alone = throttle_blocks(logins->throttle, THROTTLE_ADDRESS, client, now);
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&logins->throttled_log, now, LOG_LEVEL_INFO,
                "too many wrong passwords from %s%s: closing its logins unchecked for a while (limits.failed_logins)",
                alone ? "" : "the network of ", netaddr_format_host(client, host));
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
    uint64_t now = env_now(env);
    switch (login->job.verdict) {
    case AUTH_RIGHT:
        login_cache_add(logins->cache, &login->proof, login->job.right_until_ms);
        return LOGIN_RIGHT;
    case AUTH_WRONG:
        metrics_add(&env->metrics.auth_failed_total, 1);
        throttle_fail(logins->throttle, &login->job.client, now);
        /* What the job knows, for at a stop `auth` is gone by now. */
        if (throttle_blocks(logins->throttle, THROTTLE_ADDRESS, &login->job.client, now) ||
            (!login->job.known && throttle_blocks(logins->throttle, THROTTLE_NETWORK, &login->job.client, now))) {
            logins_abandon(logins, &login->job.client, now);
            logins_log_throttled(logins, &login->job.client, now);
        }
        return LOGIN_WRONG;
    case AUTH_UNCHECKED:
        break;
    }
    if (login->done)
        metrics_add(&env->metrics.auth_throttled_total, 1);
    return LOGIN_THROTTLED;
}

static void login_on_checked(struct inbox_item *item)
{
    struct login *login = container_of(item, struct login, item);
    assert(!TAILQ_EMPTY(&login->env->logins->pending));
    TAILQ_REMOVE(&login->env->logins->pending, login, link);
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
    TAILQ_INSERT_TAIL(&logins->pending, login, link);
    if (auth_submit(logins->auth, job))
        return LOGIN_PENDING;
    TAILQ_REMOVE(&logins->pending, login, link);
    metrics_add(&env->metrics.auth_busy_total, 1);
    logins_log_busy(logins, job->now_ms);
    return LOGIN_BUSY;
}

/* A network that has failed too often may also have users who have logged in before: those may still try. */
static bool logins_block(const struct logins *logins, const union netaddr *client, uint64_t now)
{
    return throttle_blocks(logins->throttle, THROTTLE_ADDRESS, client, now) ||
           (throttle_blocks(logins->throttle, THROTTLE_NETWORK, client, now) && !auth_knows(logins->auth, client, now));
}

enum login_outcome login_begin(struct login **login, struct env *env, const union netaddr *client,
                               const struct socks5_password *given, login_done *done, void *arg)
{
    *login = NULL;
    /* Before the cache is asked: an address that guesses must not learn from it either. */
    if (logins_block(env->logins, client, env_now(env))) {
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
