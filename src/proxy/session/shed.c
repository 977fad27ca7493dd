#include "proxy/session/shed.h"

#include <assert.h>
#include <inttypes.h>

#define LOG_MODULE "limits"
#include "base/log.h"
#include "net/pump.h"
#include "net/reserve.h"
#include "policy/quota.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/payer.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/shortage.h"

/* A payer stands out when it holds more than this part of all. */
#define STANDS_OUT_FROM 8
/* For a newcomer that holds less than this part, the latest session of the payer that stands out ends. */
#define MUCH_LESS 2
#define SWEEP_MAX 64
/* By then a host on the far side of the world has answered. */
#define DIAL_AFTER_MS      2000
#define HANDSHAKE_AFTER_MS 2000
/* No association idle for less is given up for another (RFC 4787 REQ-5). */
#define IDLE_AFTER_MS (120 * 1000)
/* It can happen many times a second, for hours. */
#define SAID_AGAIN_MS (60 * 1000)

static const struct shortage of_descriptors = {.kind = SHORTAGE_DESCRIPTORS};

/* ---- what has only begun ---- */

/* A request that is not answered yet is refused: its client learns why. */
static void shed_end_session(struct session *session, const char *why)
{
    if (session_is_pending(session))
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, why);
    session_cut(session, why);
}

/* NULL: there is none. */
static bool shed_dial(struct env *env, const struct negotiation *negotiation, const struct shortage *shortage)
{
    char why[SHORTAGE_TEXT_MAX];
    if (!negotiation)
        return false;
    assert(negotiation->dials && session_is_pending(negotiation->session));
    shed_end_session(negotiation->session, shortage_format(shortage, "not connected yet, ended to make room", why));
    metrics_add(&env->metrics.shed_dials_total, 1);
    return true;
}

static bool shed_old_dial(struct env *env, const struct shortage *shortage)
{
    const struct negotiation *first = TAILQ_FIRST(&env->dials);
    if (!first || env_now(env) - first->session->started_ms < DIAL_AFTER_MS)
        return false;
    return shed_dial(env, first, shortage);
}

/* However short it has waited. */
static void shed_first_handshake(struct env *env, const struct shortage *shortage)
{
    char why[SHORTAGE_TEXT_MAX];
    const struct negotiation *first = TAILQ_FIRST(&env->waiting);
    assert(first && first->waits);
    session_end(first->session, shortage_format(shortage, "longest without a request, ended to make room", why), false);
    metrics_add(&env->metrics.shed_handshakes_total, 1);
}

bool shed_handshake(struct env *env, const struct shortage *shortage)
{
    const struct negotiation *first = TAILQ_FIRST(&env->waiting);
    if (!first || env_now(env) - first->session->started_ms < HANDSHAKE_AFTER_MS)
        return false;
    shed_first_handshake(env, shortage);
    return true;
}

/* ---- idle associations ---- */

/* Finds the association that has been idle longest. */
struct idlest {
    uint64_t now, longest_of_all, longest;
    struct session *session;
};

static void idlest_consider(struct idlest *idlest, struct session *session, bool may_go)
{
    if (!session_is_associated(session))
        return;
    uint64_t idle = assoc_idle_ms(session->assoc, idlest->now);
    if (idle > idlest->longest_of_all)
        idlest->longest_of_all = idle;
    if (idle < IDLE_AFTER_MS || idle < idlest->longest || !may_go)
        return;
    idlest->longest = idle;
    idlest->session = session;
}

/* Ends it for what is short. false: there is none, and will be none before the time that is noted. */
static bool idlest_end(const struct idlest *idlest, struct env *env, const struct shortage *shortage,
                       uint64_t *none_idle_before_ms)
{
    char why[SHORTAGE_TEXT_MAX];
    if (idlest->longest_of_all < IDLE_AFTER_MS)
        *none_idle_before_ms = idlest->now + IDLE_AFTER_MS - idlest->longest_of_all;
    if (!idlest->session)
        return false;
    session_cut(idlest->session, shortage_format(shortage, "idle longest, ended to make room", why));
    metrics_add(&env->metrics.shed_associations_total, 1);
    return true;
}

/* Whether its end gives back what is short: any association has descriptors and counts, but ports are of a place. */
static bool shed_would_help(const struct session *session, const struct shortage *shortage)
{
    return !shortage->place || (session->assoc && assoc_holds_port(session->assoc, shortage->place));
}

/* Whether its end leaves more room in that account. */
static bool shed_would_relieve(const struct session *session, const struct quota_account *account)
{
    return !account || account == session->charges.user || account == session->charges.client ||
           account == quota_of_all(session->env->quota);
}

bool shed_idle_of(struct env *env, const struct quota_account *account, const struct shortage *shortage)
{
    struct idlest idlest = {.now = env_now(env)};
    struct session *session;
    if (idlest.now < env->none_idle_before_ms) /* else refusals would cost a look at all sessions, each */
        return false;
    TAILQ_FOREACH(session, &env->sessions, link)
    {
        idlest_consider(&idlest, session, shed_would_relieve(session, account) && shed_would_help(session, shortage));
    }
    return idlest_end(&idlest, env, shortage, &env->none_idle_before_ms);
}

static bool shed_idle_of_payer(struct env *env, struct payer *payer, const struct shortage *shortage)
{
    struct idlest idlest = {.now = env_now(env)};
    struct session *session;
    if (idlest.now < payer->none_idle_before_ms)
        return false;
    TAILQ_FOREACH(session, &payer->sessions, of_payer)
    {
        idlest_consider(&idlest, session, true);
    }
    return idlest_end(&idlest, env, shortage, &payer->none_idle_before_ms);
}

/* ---- whose ---- */

static void shed_latest(struct env *env, struct payer *payer, const struct shortage *shortage)
{
    char why[SHORTAGE_TEXT_MAX];
    const struct negotiation *first = TAILQ_FIRST(&env->waiting);
    if (first && first->session->payer == payer) {
        shed_first_handshake(env, shortage);
        return;
    }
    shed_end_session(
        TAILQ_LAST(&payer->sessions, session_queue),
        shortage_format(shortage, "newest session of the client or user that holds most, ended to make room", why));
    metrics_add(&env->metrics.shed_latest_total, 1);
}

static bool heaviest_stands_out(const struct quota_heaviest *heaviest)
{
    return heaviest->account && heaviest->held > heaviest->of_all / STANDS_OUT_FROM;
}

static bool account_holds_much_less(const struct quota_account *account, const struct quota_heaviest *heaviest)
{
    return account != heaviest->account && quota_held(account, QUOTA_DESCRIPTORS) < heaviest->held / MUCH_LESS;
}

/* It has caused the shortage, alone or with a few others: no association of somebody else ends for it. */
static bool account_stands_out(const struct quota_account *account, const struct quota_heaviest *heaviest)
{
    return quota_held(account, QUOTA_DESCRIPTORS) > heaviest->of_all / STANDS_OUT_FROM;
}

/* NULL: nobody stands out, or has no session here. */
static struct payer *shed_payer_of(const struct env *env, const struct quota_heaviest *heaviest)
{
    return heaviest_stands_out(heaviest) ? payer_find(env, heaviest->account) : NULL;
}

static void heaviest_find(struct env *env, struct quota_heaviest *heaviest)
{
    quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), heaviest);
}

static bool shed_begun_of(struct env *env, const struct quota_heaviest *heaviest, const struct shortage *shortage)
{
    struct payer *payer = shed_payer_of(env, heaviest);
    if (payer && shed_dial(env, TAILQ_FIRST(&payer->dials), shortage))
        return true;
    return shed_handshake(env, shortage) || (!heaviest_stands_out(heaviest) && shed_old_dial(env, shortage));
}

/* The payer that holds most is found by what is short: it would not help to end sessions of another. */
static enum quota_kind shed_measure(const struct shortage *shortage)
{
    const bool of_associations = shortage->kind == SHORTAGE_PORTS || shortage->kind == SHORTAGE_LIMIT;
    return of_associations ? QUOTA_ASSOCIATIONS : QUOTA_DESCRIPTORS;
}

/* Not when the whole host's table is full: another program may have filled it, so the payer is not to blame. */
static bool shed_may_end_active(const struct shortage *shortage)
{
    return shortage->kind != SHORTAGE_FILES;
}

static bool shed_session_of(struct env *env, const struct quota_heaviest *heaviest, const struct quota_account *account,
                            const struct shortage *shortage)
{
    struct payer *payer = shed_payer_of(env, heaviest);
    if (shed_begun_of(env, heaviest, shortage) || (payer && shed_idle_of_payer(env, payer, shortage)))
        return true;
    if (!account || !shed_may_end_active(shortage))
        return shed_idle_of(env, NULL, shortage);
    if (payer && account_holds_much_less(account, heaviest)) {
        shed_latest(env, payer, shortage);
        return true;
    }
    return !account_stands_out(account, heaviest) && shed_idle_of(env, NULL, shortage);
}

bool shed_session(struct env *env, const struct quota_account *account, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    heaviest_find(env, &heaviest);
    return shed_session_of(env, &heaviest, account, shortage);
}

bool shed_begun(struct env *env, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    heaviest_find(env, &heaviest);
    return shed_begun_of(env, &heaviest, shortage);
}

bool shed_idle(struct env *env, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    quota_find_heaviest(env->quota, shed_measure(shortage), env_now(env), &heaviest);
    return (heaviest_stands_out(&heaviest) && shed_idle_of(env, heaviest.account, shortage)) ||
           shed_idle_of(env, NULL, shortage);
}

struct payer *shed_find_heaviest(struct env *env)
{
    struct quota_heaviest heaviest;
    heaviest_find(env, &heaviest);
    return shed_payer_of(env, &heaviest);
}

/* ---- descriptors ---- */

static bool shed_has_descriptors(const struct env *env)
{
    return reserve_has_room(env->host->reserve, quota_held(quota_of_all(env->quota), QUOTA_DESCRIPTORS));
}

static void shed_log_shortage(struct env *env, const struct quota_heaviest *heaviest)
{
    uint64_t now = env_now(env);
    reserve_note_shortage(env->host->reserve, now);
    if (env->short_said_ms && now - env->short_said_ms < SAID_AGAIN_MS)
        return;
    env->short_said_ms = now;
    log_warning("descriptors are short: sessions hold nearly all of %u; %s holds most (%" PRIu32 " of %" PRIu32
                ") and loses sessions first. Raise the limit (ulimit -n, or LimitNOFILE= in the systemd unit), "
                "or set limits.sessions_per_client",
                reserve_limit(env->host->reserve), heaviest->account ? heaviest->name : "nobody", heaviest->held,
                heaviest->of_all);
}

bool shed_for_newcomer(struct env *env, const struct quota_account *account)
{
    struct quota_heaviest heaviest;
    for (int i = 0; i < MAKE_ROOM_MAX; i++) {
        if (shed_has_descriptors(env))
            return true;
        heaviest_find(env, &heaviest);
        shed_log_shortage(env, &heaviest);
        pump_pool_trim(env->pumps);
        if (!shed_session_of(env, &heaviest, account, &of_descriptors))
            return false;
    }
    return shed_has_descriptors(env);
}

void shed_sweep(struct env *env)
{
    struct quota_heaviest heaviest;
    for (int i = 0; i < SWEEP_MAX && !shed_has_descriptors(env); i++) {
        heaviest_find(env, &heaviest);
        struct payer *payer = shed_payer_of(env, &heaviest);
        if (!payer || !shed_dial(env, TAILQ_FIRST(&payer->dials), &of_descriptors))
            return;
    }
}
