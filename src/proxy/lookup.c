#include "proxy/lookup.h"

#include <inttypes.h>
#include <stdio.h>

#define LOG_MODULE "limits"
#include "base/log.h"
#include "policy/quota.h"
#include "proxy/env.h"

static void say_limited(struct env *env, const union netaddr *client, const char *user)
{
    char host[NETADDR_TEXT_MAX], more[64] = "";
    uint32_t held_back;
    if (!log_enabled(LOG_LEVEL_INFO) || !log_limit_pass(&env->limits_log[0], env_now(env), &held_back))
        return;
    if (held_back)
        snprintf(more, sizeof(more), " (%" PRIu32 " similar lines held back)", held_back);
    log_info("too many names being resolved for this user at once (limits.lookups_per_user): client=%s user=%s%s",
             netaddr_format_host(client, host), user, more);
}

static struct quota_account *charge(struct env *env, const union netaddr *client, const char *user)
{
    const uint32_t names = env->config->limits.lookups_per_user;
    struct quota_account *account = quota_of_user(env->quota, user);
    if (account && quota_take(account, QUOTA_LOOKUPS, 2 * names)) /* a name is asked for in both families */
        return account;
    quota_close(account);
    metrics_add(&env->metrics.limited_lookups_per_user_total, 1);
    say_limited(env, client, user);
    return NULL;
}

void lookup_release(void *charge)
{
    struct quota_account *account = charge;
    quota_give_back(account, QUOTA_LOOKUPS);
    quota_close(account);
}

struct resolver_query *lookup_begin(struct env *env, const union netaddr *client, const char *user, const char *name,
                                    int family, resolver_done *done, void *arg)
{
    struct quota_account *account = user ? charge(env, client, user) : NULL;
    if (user && !account)
        return NULL;
    struct resolver_query *query = resolver_lookup(env->resolver, client, name, family, done, arg);
    if (query && account)
        resolver_charge(query, account);
    else if (account)
        lookup_release(account);
    return query;
}
