#include "proxy/session/session_user.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "limits"
#include "base/calendar.h"
#include "base/log.h"
#include "host/host.h"
#include "policy/user_limits.h"
#include "proxy/env.h"

struct session_user *session_user_new(const uint8_t *name, size_t len)
{
    struct session_user *user = calloc(1, sizeof(*user) + len + 1);
    if (user)
        memcpy(user->name, name, len);
    return user;
}

void session_user_free(struct session_user *user, const union netaddr *client)
{
    if (user && user->account)
        usage_leave(user->account, client);
    free(user);
}

static const struct config_user *session_user_entry(const struct env *env, const char *name)
{
    return users_find(&env->snapshot->users, name);
}

bool session_user_has_expired(const struct env *env, const struct session_user *user)
{
    return user_has_expired(session_user_entry(env, user->name), env->today());
}

/* ---- expiry and volume end a user's sessions ---- */

const char *session_user_bar(struct env *env, const struct session_user *user, atomic_uint_fast64_t **counter)
{
    const struct config_user *entry = session_user_entry(env, user->name);
    const struct user_limits limits = user_limits_find(env->config, entry);
    if (user_has_expired(entry, env->today())) {
        *counter = &env->metrics.auth_expired_total;
        return "the user's access has expired (users[].expires)";
    }
    if (!limits.volume || usage_volume(user->account) < limits.volume)
        return NULL;
    *counter = &env->metrics.limited_volume_per_user_total;
    return limits.own_volume ? "the user's volume of this month is used up (users[].volume)"
                             : "the user's volume of this month is used up (limits.volume_per_user)";
}

/* ---- a session's request ---- */

static const char *user_refuse(struct env *env, const char *name, const union netaddr *client)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->limits_log[0], env_now(env), LOG_LEVEL_INFO, "%s: client=%s user=%s", env->refusal,
                netaddr_format_host(client, host), name);
    return env->refusal;
}

const char *session_user_enter(struct session_user *user, struct env *env, const union netaddr *client)
{
    const struct user_limits limits = user_limits_find(env->config, session_user_entry(env, user->name));
    assert(!user->account);
    usage_set_month(env->host->usage, calendar_month_of(env->today()));
    int error = usage_enter(env->host->usage, &user->account, user->name, client, limits.addresses);
    if (error == EDQUOT) {
        metrics_add(&env->metrics.limited_addresses_per_user_total, 1);
        snprintf(env->refusal, sizeof(env->refusal), "too many client addresses of this user at once: %s (%" PRIu32 ")",
                 limits.own_addresses ? "users[].addresses" : "limits.addresses_per_user", limits.addresses);
        return user_refuse(env, user->name, client);
    }
    if (error)
        return "out of memory";
    atomic_uint_fast64_t *counter;
    const char *why = session_user_bar(env, user, &counter);
    if (!why)
        return NULL;
    metrics_add(counter, 1);
    snprintf(env->refusal, sizeof(env->refusal), "%s", why);
    return user_refuse(env, user->name, client);
}
