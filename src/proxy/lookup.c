#include "proxy/lookup.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "limits"
#include "base/log.h"
#include "net/resolver.h"
#include "policy/quota.h"
#include "proxy/env.h"

#define RESOLUTION_DELAY_MS 50 /* RFC 8305 section 3 */

/* One family's question. */
struct lookup_question {
    struct lookup *lookup;
    struct resolver_query *query; /* NULL: answered, or not asked */
};

struct lookup {
    struct env *env;
    struct lookup_hooks hooks;
    int first; /* the family whose addresses come first: an index of `questions` */
    struct lookup_question questions[FAMILY_COUNT];
    struct event delay; /* has the second family's addresses wait for the first's */
    size_t waiting_count;
    union netaddr waiting[RESOLVER_ADDRESSES_MAX];
    bool any_found, timed_out;
    bool *gone; /* set when it is cancelled; NULL: no hook is running */
};

/* ---- what it costs ---- */

static void lookup_log_limit(struct env *env, const union netaddr *client, const char *user)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->limits_log[0], env_now(env), LOG_LEVEL_INFO,
                "too many names being resolved for this user at once: limits.lookups_per_user (%" PRIu32
                "): client=%s user=%s",
                env->config->limits.lookups_per_user, netaddr_format_host(client, host), user);
}

static struct quota_account *lookup_charge(struct env *env, const union netaddr *client, const char *user)
{
    const uint32_t names = env->config->limits.lookups_per_user;
    struct quota_account *account = quota_of_user(env->quota, user);
    if (account && quota_take(account, QUOTA_LOOKUPS, 2 * names)) /* a name is asked for in both families */
        return account;
    quota_close(account);
    metrics_add(&env->metrics.limited_lookups_per_user_total, 1);
    lookup_log_limit(env, client, user);
    return NULL;
}

void lookup_release(void *charge)
{
    struct quota_account *account = charge;
    quota_give_back(account, QUOTA_LOOKUPS);
    quota_close(account);
}

struct resolver_options lookup_resolver_options(const struct config *config)
{
    return (struct resolver_options){
        .servers = config->dns.servers,
        .server_count = config->dns.server_count,
        .timeout_ms = config->dns.timeout_ms,
        .per_client = 2 * config->limits.lookups_per_client, /* a name is asked for in both families */
        .release = lookup_release,
    };
}

static struct resolver_query *lookup_ask(struct env *env, const union netaddr *client, const char *user,
                                         const char *name, int family, resolver_done *done, void *arg)
{
    struct quota_account *account = user ? lookup_charge(env, client, user) : NULL;
    if (user && !account)
        return NULL;
    struct resolver_query *query = resolver_lookup(env->resolver, client, name, family, done, arg);
    if (query && account)
        resolver_charge(query, account);
    else if (account)
        lookup_release(account);
    return query;
}

/* ---- answers ---- */

static bool lookup_is_pending(const struct lookup *lookup)
{
    return lookup->questions[FAMILY_V4].query || lookup->questions[FAMILY_V6].query;
}

static void lookup_free(struct lookup *lookup)
{
    if (lookup->gone)
        *lookup->gone = true;
    event_del(&lookup->delay);
    free(lookup);
}

void lookup_cancel(struct lookup *lookup)
{
    if (!lookup)
        return;
    for (int i = 0; i < FAMILY_COUNT; i++)
        if (lookup->questions[i].query)
            resolver_cancel(lookup->questions[i].query);
    lookup_free(lookup);
}

/* false: the lookup has been cancelled meanwhile. */
static bool lookup_report_found(struct lookup *lookup, const union netaddr *addresses, size_t count)
{
    bool gone = false;
    if (count == 0)
        return true;
    assert(!lookup->gone);
    lookup->any_found = true;
    lookup->gone = &gone;
    lookup->hooks.found(lookup->hooks.arg, addresses, count);
    if (!gone)
        lookup->gone = NULL;
    return !gone;
}

static bool lookup_report_waiting(struct lookup *lookup)
{
    const size_t count = lookup->waiting_count;
    lookup->waiting_count = 0;
    return lookup_report_found(lookup, lookup->waiting, count);
}

static void lookup_end(struct lookup *lookup)
{
    const struct lookup_hooks hooks = lookup->hooks;
    const bool timed_out = lookup->timed_out;
    assert(!lookup_is_pending(lookup) && !lookup->gone);
    if (!lookup->any_found)
        metrics_add(&lookup->env->metrics.lookups_failed_total, 1);
    lookup_free(lookup);
    hooks.ended(hooks.arg, timed_out);
}

static void lookup_on_delay(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    (void)lookup_report_waiting(arg);
}

/* An AAAA record may hold an IPv4-mapped address: no IPv6 socket of ours can send to it. */
static size_t lookup_unmap(const struct lookup *lookup, const union netaddr *addresses, size_t count,
                           union netaddr *unmapped)
{
    const bool ipv6_only = lookup->env->config->outbound.prefer == CONFIG_PREFER_IPV6_ONLY;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        unmapped[kept] = addresses[i];
        netaddr_unmap(&unmapped[kept]);
        if (!ipv6_only || unmapped[kept].sa.sa_family == AF_INET6)
            kept++;
    }
    return kept;
}

static void lookup_on_answer(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    static const struct timeval delay = {.tv_usec = RESOLUTION_DELAY_MS * 1000};
    struct lookup_question *question = arg;
    assert(question->query);
    struct lookup *lookup = question->lookup;
    const struct lookup_question *first = &lookup->questions[lookup->first];
    union netaddr found[RESOLVER_ADDRESSES_MAX];
    question->query = NULL;
    lookup->timed_out |= status == RESOLVER_TIMED_OUT;
    count = status == RESOLVER_FOUND ? lookup_unmap(lookup, addresses, count, found) : 0;
    if (first->query) {
        assert(lookup->waiting_count == 0 && count <= RESOLVER_ADDRESSES_MAX);
        memcpy(lookup->waiting, found, count * sizeof(found[0]));
        lookup->waiting_count = count;
        if (count > 0)
            event_add(&lookup->delay, &delay);
        return;
    }
    if (lookup_report_found(lookup, found, count) && lookup_report_waiting(lookup) && !lookup_is_pending(lookup))
        lookup_end(lookup);
}

/* ---- questions ---- */

struct lookup *lookup_begin(struct env *env, const union netaddr *client, const char *user, const char *name,
                            int first_family, const struct lookup_hooks *hooks)
{
    static const int families[FAMILY_COUNT] = {[FAMILY_V4] = AF_INET, [FAMILY_V6] = AF_INET6};
    const enum config_prefer prefer = env->config->outbound.prefer;
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return NULL;
    lookup->env = env;
    lookup->hooks = *hooks;
    lookup->first = family_index(first_family);
    event_assign(&lookup->delay, env->base, -1, 0, lookup_on_delay, lookup);
    for (int i = 0; i < FAMILY_COUNT; i++) {
        struct lookup_question *question = &lookup->questions[i];
        question->lookup = lookup;
        if ((prefer == CONFIG_PREFER_IPV4_ONLY && i == FAMILY_V6) ||
            (prefer == CONFIG_PREFER_IPV6_ONLY && i == FAMILY_V4))
            continue;
        question->query = lookup_ask(env, client, user, name, families[i], lookup_on_answer, question);
    }
    metrics_add(&env->metrics.lookups_total, 1);
    if (lookup_is_pending(lookup))
        return lookup;
    lookup_free(lookup);
    return NULL;
}
