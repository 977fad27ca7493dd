#include "proxy/permit.h"

#include <assert.h>
#include <stdio.h>

#define LOG_MODULE "policy"
#include "base/log.h"
#include "conf/words.h"
#include "policy/destinations.h"
#include "proxy/client_terms.h"
#include "proxy/env.h"

static void permit_count_refusal(struct metrics *metrics, enum verdict_code code, uint32_t count)
{
    atomic_uint_fast64_t *const counters[VERDICT_COUNT] = {
        [VERDICT_RULE] = &metrics->refused_by_rule_total, [VERDICT_REACH] = &metrics->refused_by_reach_total,
        [VERDICT_OWN] = &metrics->refused_own_total,      [VERDICT_LOOP] = &metrics->refused_loop_total,
        [VERDICT_NEVER] = &metrics->refused_never_total,
    };
    assert(code < VERDICT_COUNT && counters[code]);
    metrics_add(counters[code], count);
}

/* A flood of refused datagrams must cost no more than its counting: nothing is written before this says so. */
static bool permit_log_is_due(struct env *env, uint32_t *suppressed)
{
    return log_enabled(LOG_LEVEL_INFO) && log_limit_pass(&env->refusals_log, env_now(env), suppressed);
}

static void permit_log_refusal(const struct subject *subject, const char *to, const char *why, uint32_t suppressed)
{
    char client[NETADDR_TEXT_MAX];
    log_limited_line(LOG_LEVEL_INFO, LOG_MODULE, suppressed, "client=%s command=%s to=%s %s",
                     netaddr_format_host(&subject->client, client), config_command_word(subject->command), to, why);
}

static bool permit_pass(struct env *env, const struct subject *subject, const struct verdict *verdict, const char *name,
                        const union netaddr *to, uint32_t count)
{
    uint32_t suppressed;
    if (verdict->code == VERDICT_ALLOWED)
        return true;
    permit_count_refusal(&env->metrics, verdict->code, count);
    if (permit_log_is_due(env, &suppressed)) {
        const bool told = env->config->log.destinations;
        char address[NETADDR_TEXT_MAX], asked[NETADDR_TEXT_MAX + 260] = "-", why[VERDICT_TEXT_MAX];
        if (told)
            snprintf(asked, sizeof(asked), "%s%s%s", netaddr_format(to, address), name ? " name=" : "",
                     name ? name : "");
        permit_log_refusal(subject, asked, verdict_explain(verdict, told ? to : NULL, why), suppressed);
    }
    return false;
}

bool permit_renew(struct env *env, struct subject *subject, const struct proxy_client *client)
{
    return subject->rules == env->rules || subject_renew(subject, env->rules, client_listener_name(env, client));
}

bool permit(struct env *env, const struct subject *subject, const char *name, const union netaddr *to, uint32_t count,
            uint32_t *rule)
{
    if (subject->rules != env->rules)
        return false;
    const struct verdict verdict = verdict_find(&env->policy, subject, name, to);
    if (rule)
        *rule = verdict.rule;
    return permit_pass(env, subject, &verdict, name, to, count);
}

bool permit_any_port(struct env *env, const struct subject *subject, const union netaddr *address, uint32_t *rule)
{
    const struct verdict verdict = destinations_find_at(&env->policy, subject, address);
    if (rule)
        *rule = verdict.rule;
    return permit_pass(env, subject, &verdict, NULL, address, 1);
}

bool permit_any(struct env *env, const struct subject *subject, bool names_leave)
{
    uint32_t suppressed;
    if (destinations_exist(&env->policy, subject, names_leave))
        return true;
    permit_count_refusal(&env->metrics, VERDICT_RULE, 1);
    if (permit_log_is_due(env, &suppressed))
        permit_log_refusal(subject, "-",
                           "denied: the rules deny every destination; to allow one, put an allow rule above",
                           suppressed);
    return false;
}

/* `rule` is the one that denies it, or RULES_NO_MATCH. */
static bool permit_pass_name(struct env *env, const struct subject *subject, const char *name, uint16_t port,
                             uint32_t count, uint32_t rule)
{
    const struct verdict verdict = {.code = VERDICT_RULE, .rule = rule};
    uint32_t suppressed;
    if (rule == RULES_NO_MATCH)
        return true;
    permit_count_refusal(&env->metrics, verdict.code, count);
    if (permit_log_is_due(env, &suppressed)) {
        char asked[272] = "-", why[VERDICT_TEXT_MAX];
        if (env->config->log.destinations)
            snprintf(asked, sizeof(asked), "%s:%u", name, port);
        permit_log_refusal(subject, asked, verdict_explain(&verdict, NULL, why), suppressed);
    }
    return false;
}

bool permit_name(struct env *env, const struct subject *subject, const char *name, uint16_t port, uint32_t count)
{
    return subject->rules == env->rules &&
           permit_pass_name(env, subject, name, port, count, rules_deny_name(subject, name, port));
}

bool permit_unresolved(struct env *env, const struct subject *subject, const char *name, uint16_t port, uint32_t count)
{
    if (subject->rules != env->rules)
        return false;
    uint32_t rule = rules_find_name(subject, name, port);
    bool denies = rule != RULES_NO_MATCH && env->config->rules[rule].action == CONFIG_ACTION_DENY;
    return permit_pass_name(env, subject, name, port, count, denies ? rule : RULES_NO_MATCH);
}
