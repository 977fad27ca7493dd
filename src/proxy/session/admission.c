#include "proxy/session/admission.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define LOG_MODULE "limits"
#include "base/log.h"
#include "base/util.h"
#include "policy/quota.h"
#include "proxy/env.h"
#include "proxy/session/session_user.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"

/* What a charge is against, in the order of `limits`. */
enum limit {
    LIMIT_SESSIONS,
    LIMIT_SESSIONS_PER_CLIENT,
    LIMIT_HANDSHAKES_PER_CLIENT,
    LIMIT_SESSIONS_PER_USER,
    LIMIT_ASSOCIATIONS,
    LIMIT_ASSOCIATIONS_PER_CLIENT,
    LIMIT_ASSOCIATIONS_PER_USER,
    LIMIT_COUNT
};

enum scope { IN_ALL, PER_CLIENT, PER_USER };

struct limit_row {
    enum quota_kind kind;
    enum scope scope;
    size_t configured; /* in struct config */
    size_t refused;    /* in struct metrics */
    const char *why, *name;
};

#define ROW(kind_, scope_, key, why_)                                                                                  \
    {                                                                                                                  \
        .kind = (kind_), .scope = (scope_), .configured = offsetof(struct config, limits.key),                         \
        .refused = offsetof(struct metrics, limited_##key##_total), .why = (why_), .name = "limits." #key              \
    }
static const struct limit_row limits[LIMIT_COUNT] = {
    [LIMIT_SESSIONS] = ROW(QUOTA_SESSIONS, IN_ALL, sessions, "too many connections at once"),
    [LIMIT_SESSIONS_PER_CLIENT] =
        ROW(QUOTA_SESSIONS, PER_CLIENT, sessions_per_client, "too many connections of this client at once"),
    [LIMIT_HANDSHAKES_PER_CLIENT] = ROW(QUOTA_HANDSHAKES, PER_CLIENT, handshakes_per_client,
                                        "too many connections of this client without a request"),
    [LIMIT_SESSIONS_PER_USER] =
        ROW(QUOTA_SESSIONS, PER_USER, sessions_per_user, "too many connections of this user at once"),
    [LIMIT_ASSOCIATIONS] = ROW(QUOTA_ASSOCIATIONS, IN_ALL, associations, "too many associations at once"),
    [LIMIT_ASSOCIATIONS_PER_CLIENT] =
        ROW(QUOTA_ASSOCIATIONS, PER_CLIENT, associations_per_client, "too many associations of this client at once"),
    [LIMIT_ASSOCIATIONS_PER_USER] =
        ROW(QUOTA_ASSOCIATIONS, PER_USER, associations_per_user, "too many associations of this user at once"),
};

static_assert(LIMIT_COUNT <= 8 * sizeof(((struct charges *)0)->taken), "a bit for each limit");

/* Those of a request are given back when it is refused. */
#define BIT(limit)      (1U << (limit))
#define REQUEST_CHARGES (BIT(LIMIT_COUNT) - BIT(LIMIT_SESSIONS_PER_USER))
#define ALL_CHARGES     (BIT(LIMIT_COUNT) - 1)

static struct quota_account *limit_account(const struct charges *charges, const struct env *env, enum limit limit)
{
    switch (limits[limit].scope) {
    case PER_CLIENT:
        return charges->client;
    case PER_USER:
        return charges->user;
    case IN_ALL:
        break;
    }
    return quota_of_all(env->quota);
}

/* What is reached when no more are allowed (`most` is 0: any number). A user's own entry goes before what holds for
 * every user. */
static struct shortage limit_reached(const struct env *env, enum limit limit, const char *user)
{
    const struct config_user *entry = limits[limit].scope == PER_USER ? users_find(&env->snapshot->users, user) : NULL;
    if (entry && limit == LIMIT_SESSIONS_PER_USER && entry->sessions)
        return (struct shortage){.kind = SHORTAGE_LIMIT, .option = "users[].sessions", .most = entry->sessions};
    if (entry && limit == LIMIT_ASSOCIATIONS_PER_USER && entry->associations)
        return (struct shortage){.kind = SHORTAGE_LIMIT, .option = "users[].associations", .most = entry->associations};
    const void *configured = (const char *)env->config + limits[limit].configured;
    return (struct shortage){
        .kind = SHORTAGE_LIMIT, .option = limits[limit].name, .most = *(const uint32_t *)configured};
}

/* On this thread: ends an idle association that holds what is short. A connection without a request may be anybody's,
 * so it takes nothing from sessions that have asked for something, only from other connections without a request. */
static bool limit_make_room(struct env *env, enum limit limit, const struct quota_account *account,
                            const struct shortage *shortage)
{
    switch (limit) {
    case LIMIT_SESSIONS:
        return shed_handshake(env, shortage);
    case LIMIT_HANDSHAKES_PER_CLIENT:
        return false;
    case LIMIT_ASSOCIATIONS:
        return shed_idle(env, shortage);
    default:
        return shed_idle_of(env, account, shortage);
    }
}

static void limit_log(struct env *env, enum limit limit, const union netaddr *client, const char *user)
{
    /* Limits of the whole server matter to the operator, and one client's lines must not suppress theirs. */
    bool in_all = limits[limit].scope == IN_ALL;
    enum log_level level = in_all ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->limits_log[in_all], env_now(env), level, "%s: client=%s user=%s", env->refusal,
                netaddr_format_host(client, host), user ? user : "-");
}

/* Charges one, if need be after others have made room. */
static bool limit_take(struct charges *charges, struct env *env, enum limit limit, const union netaddr *client,
                       const char *user)
{
    struct quota_account *account = limit_account(charges, env, limit);
    if (!account) /* no user */
        return true;
    assert(!(charges->taken & BIT(limit)));
    const struct shortage shortage = limit_reached(env, limit, user);
    for (int turns = 0; !quota_take(account, limits[limit].kind, shortage.most); turns++) {
        if (turns < MAKE_ROOM_MAX && limit_make_room(env, limit, account, &shortage))
            continue;
        metrics_add((atomic_uint_fast64_t *)(void *)((char *)&env->metrics + limits[limit].refused), 1);
        snprintf(env->refusal, sizeof(env->refusal), "%s: %s (%" PRIu32 ")", limits[limit].why, shortage.option,
                 shortage.most);
        limit_log(env, limit, client, user);
        return false;
    }
    charges->taken |= (uint16_t)BIT(limit);
    return true;
}

static void charges_give_back(struct charges *charges, const struct env *env, unsigned which)
{
    which &= charges->taken;
    for (unsigned limit = 0; limit < LIMIT_COUNT; limit++)
        if (which & BIT(limit))
            quota_give_back(limit_account(charges, env, limit), limits[limit].kind);
    charges->taken &= (uint16_t)~which;
}

/* Says it in the refusal. */
static bool admission_is_short_of_memory(struct env *env)
{
    if (env->memory == MEMORY_AMPLE)
        return false;
    metrics_add(&env->metrics.limited_memory_total, 1);
    snprintf(env->refusal, sizeof(env->refusal), "memory is short (limits.memory)");
    return true;
}

static bool charges_take_client(struct charges *charges, struct env *env, const union netaddr *client)
{
    assert(!charges->client);
    charges->client = quota_of_client(env->quota, client);
    if (!charges->client)
        snprintf(env->refusal, sizeof(env->refusal), "out of memory");
    return charges->client && limit_take(charges, env, LIMIT_HANDSHAKES_PER_CLIENT, client, NULL) &&
           limit_take(charges, env, LIMIT_SESSIONS_PER_CLIENT, client, NULL);
}

bool admit_connection(struct charges *charges, struct env *env, const union netaddr *client)
{
    *charges = (struct charges){0};
    if (admission_is_short_of_memory(env))
        return false;
    /* The client's own limits first: a connection that is refused anyway must end no other. */
    if (charges_take_client(charges, env, client) && limit_take(charges, env, LIMIT_SESSIONS, client, NULL))
        return true;
    admission_end(charges, env);
    return false;
}

bool admit_balancer(struct charges *charges, struct env *env, const union netaddr *balancer)
{
    *charges = (struct charges){0};
    return !admission_is_short_of_memory(env) && limit_take(charges, env, LIMIT_SESSIONS, balancer, NULL);
}

bool admit_client(struct charges *charges, struct env *env, const union netaddr *client)
{
    return !admission_is_short_of_memory(env) && charges_take_client(charges, env, client);
}

const char *admit_request(struct charges *charges, struct env *env, const union netaddr *client,
                          struct session_user *user)
{
    charges_give_back(charges, env, BIT(LIMIT_HANDSHAKES_PER_CLIENT));
    if (admission_is_short_of_memory(env))
        return env->refusal;
    assert(!charges->user && !(charges->taken & BIT(LIMIT_HANDSHAKES_PER_CLIENT)));
    if (!user)
        return NULL;
    charges->user = quota_of_user(env->quota, user->name);
    if (!charges->user)
        return "out of memory";
    if (!limit_take(charges, env, LIMIT_SESSIONS_PER_USER, client, user->name))
        return env->refusal;
    return session_user_enter(user, env, client);
}

const char *admit_association(struct charges *charges, struct env *env, const union netaddr *client, const char *user)
{
    static const enum limit narrowest_first[] = {LIMIT_ASSOCIATIONS_PER_USER, LIMIT_ASSOCIATIONS_PER_CLIENT,
                                                 LIMIT_ASSOCIATIONS};
    for (size_t i = 0; i < ARRAY_LEN(narrowest_first); i++)
        if (!limit_take(charges, env, narrowest_first[i], client, user))
            return env->refusal;
    return NULL;
}

void admission_refused(struct charges *charges, const struct env *env)
{
    charges_give_back(charges, env, REQUEST_CHARGES);
}

void admission_end(struct charges *charges, const struct env *env)
{
    charges_give_back(charges, env, ALL_CHARGES);
    assert(charges->taken == 0);
    quota_close(charges->client);
    quota_close(charges->user);
    *charges = (struct charges){0};
}
