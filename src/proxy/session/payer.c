#include "proxy/session/payer.h"

#include <inttypes.h>
#include <stdlib.h>

#define LOG_MODULE "limits"
#include "base/hash.h"
#include "base/log.h"
#include "base/util.h"
#include "net/pump.h"
#include "net/reserve.h"
#include "policy/quota.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/session.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/shortage.h"
#include "proxy/stream/stream.h"

/* A payer stands out when it holds more than this part of all. */
#define STANDS_OUT_FROM 8
/* For a newcomer that holds less than this part, the latest session of the payer that stands out ends. */
#define MUCH_LESS 2
#define SWEEP_MAX 64
/* Payers whose loans are called at once; the next call is not far. */
#define CALL_LOANS_MAX 16
/* By then a host on the far side of the world has answered. */
#define SHED_DIAL_AFTER_MS 2000
/* It can happen many times a second, for hours. */
#define SAID_AGAIN_MS (60 * 1000)

static const struct shortage of_descriptors = {.kind = SHORTAGE_DESCRIPTORS};

struct payer {
    struct quota_account *account;
    struct session_queue sessions; /* the latest last */
    struct negotiation_list dials; /* those on their way to a destination, the longest first */
    uint64_t none_idle_before_ms;  /* as in struct env */
    struct loan loan;
    uint64_t called; /* when its loan was, as env->loans.calls */
    UT_hash_handle hh;
};

/* ---- accounts ---- */

static struct payer *find_payer(const struct env *env, const struct quota_account *account)
{
    struct payer *payer;
    HASH_FIND_PTR(env->payers, &account, payer);
    return payer;
}

static struct payer *make_payer(struct env *env, struct quota_account *account)
{
    struct payer *payer = calloc(1, sizeof(*payer));
    if (!payer)
        return NULL;
    payer->account = account;
    payer->loan.all = &env->loans;
    TAILQ_INIT(&payer->sessions);
    TAILQ_INIT(&payer->dials);
    HASH_ADD_PTR(env->payers, account, payer);
    if (payer->hh.tbl)
        return payer;
    free(payer);
    return NULL;
}

void payer_join(struct session *session)
{
    const struct admission *admission = &session->admission;
    struct quota_account *account = admission->user ? admission->user : admission->client;
    if (session->payer && session->payer->account == account)
        return;
    payer_leave(session);
    struct payer *payer = account ? find_payer(session->env, account) : NULL;
    if (account && !payer)
        payer = make_payer(session->env, account);
    if (!payer)
        return;
    session->payer = payer;
    TAILQ_INSERT_TAIL(&payer->sessions, session, of_payer);
    payer_update(session);
}

const struct quota_account *payer_account(const struct session *session)
{
    return session->payer ? session->payer->account : NULL;
}

static void begin_dial(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation || negotiation->dials)
        return;
    negotiation->dials = true;
    TAILQ_INSERT_TAIL(&session->payer->dials, negotiation, dial);
    TAILQ_INSERT_TAIL(&session->env->dials, negotiation, dial_of_all);
}

void payer_end_dial(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation || !negotiation->dials)
        return;
    negotiation->dials = false;
    TAILQ_REMOVE(&session->payer->dials, negotiation, dial);
    TAILQ_REMOVE(&session->env->dials, negotiation, dial_of_all);
}

static void charge(struct session *session, uint32_t descriptors)
{
    struct quota_account *const accounts[] = {session->payer->account, quota_of_all(session->env->quota)};
    for (size_t i = 0; i < ARRAY_LEN(accounts); i++) {
        if (descriptors > session->descriptors)
            quota_add(accounts[i], QUOTA_DESCRIPTORS, descriptors - session->descriptors);
        else if (descriptors < session->descriptors)
            quota_subtract(accounts[i], QUOTA_DESCRIPTORS, session->descriptors - descriptors);
    }
    session->descriptors = descriptors;
}

void payer_update(struct session *session)
{
    if (!session->payer)
        return;
    size_t descriptors = 1;
    descriptors += session->stream ? stream_descriptors(session->stream) : 0;
    descriptors += session->assoc ? assoc_descriptors(session->assoc) : 0;
    if (session_is_pending(session) && descriptors == 1)
        descriptors++; /* its first attempt is about to begin */
    charge(session, (uint32_t)descriptors);
    if (session_is_pending(session))
        begin_dial(session);
    else
        payer_end_dial(session);
    if (session->assoc)
        assoc_borrow(session->assoc, &session->payer->loan);
}

void payer_leave(struct session *session)
{
    struct payer *payer = session->payer;
    if (!payer)
        return;
    charge(session, 0);
    payer_end_dial(session);
    TAILQ_REMOVE(&payer->sessions, session, of_payer);
    session->payer = NULL;
    if (!TAILQ_EMPTY(&payer->sessions))
        return;
    HASH_DEL(session->env->payers, payer);
    free(payer);
}

/* ---- who goes ---- */

/* A request that is not answered yet is refused: its client learns why. */
static void end_session(struct session *session, const char *why)
{
    if (session_is_pending(session))
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, why);
    session_cut(session, why);
}

static bool shed_dial(struct env *env, const struct negotiation *negotiation, const struct shortage *shortage)
{
    char why[SHORTAGE_TEXT_MAX];
    if (!negotiation)
        return false;
    end_session(negotiation->session, shortage_format(shortage, "not connected yet, ended to make room", why));
    metrics_add(&env->metrics.shed_dials_total, 1);
    return true;
}

static bool shed_old_dial(struct env *env, const struct shortage *shortage)
{
    const struct negotiation *first = TAILQ_FIRST(&env->dials);
    if (!first || env_now(env) - first->session->started_ms < SHED_DIAL_AFTER_MS)
        return false;
    return shed_dial(env, first, shortage);
}

static void shed_latest(struct env *env, struct payer *payer, const struct shortage *shortage)
{
    char why[SHORTAGE_TEXT_MAX];
    const struct negotiation *first = TAILQ_FIRST(&env->waiting);
    if (first && first->session->payer == payer) { /* however short it has waited */
        sessions_end_handshake(env, shortage);
        return;
    }
    end_session(TAILQ_LAST(&payer->sessions, session_queue),
                shortage_format(shortage, "latest of the client or user that holds most, ended to make room", why));
    metrics_add(&env->metrics.shed_latest_total, 1);
}

static bool shed_idle(struct env *env, struct payer *payer, const struct shortage *shortage)
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

static bool stands_out(const struct quota_heaviest *heaviest)
{
    return heaviest->account && heaviest->held > heaviest->of_all / STANDS_OUT_FROM;
}

static bool holds_much_less(const struct quota_account *account, const struct quota_heaviest *heaviest)
{
    return account != heaviest->account && quota_held(account, QUOTA_DESCRIPTORS) < heaviest->held / MUCH_LESS;
}

/* NULL: nobody stands out, or has no session here. */
static struct payer *payer_of(const struct env *env, const struct quota_heaviest *heaviest)
{
    return stands_out(heaviest) ? find_payer(env, heaviest->account) : NULL;
}

static bool shed_begun(struct env *env, const struct quota_heaviest *heaviest, const struct shortage *shortage)
{
    struct payer *payer = payer_of(env, heaviest);
    if (payer && shed_dial(env, TAILQ_FIRST(&payer->dials), shortage))
        return true;
    return sessions_shed_handshake(env, shortage) || (!stands_out(heaviest) && shed_old_dial(env, shortage));
}

/* Who holds most by any other measure than that of what is short is as good as anybody. */
static enum quota_kind measure_of(const struct shortage *shortage)
{
    const bool of_associations = shortage->kind == SHORTAGE_PORTS || shortage->kind == SHORTAGE_LIMIT;
    return of_associations ? QUOTA_ASSOCIATIONS : QUOTA_DESCRIPTORS;
}

/* What is full is the whole host's table: that others here have much less says nothing about who has filled it. */
static bool may_end_active(const struct shortage *shortage)
{
    return shortage->kind != SHORTAGE_FILES;
}

static bool shed(struct env *env, const struct quota_heaviest *heaviest, const struct quota_account *account,
                 const struct shortage *shortage)
{
    struct payer *payer = payer_of(env, heaviest);
    if (shed_begun(env, heaviest, shortage) || (payer && shed_idle(env, payer, shortage)))
        return true;
    if (!payer || !account || !holds_much_less(account, heaviest) || !may_end_active(shortage))
        return sessions_shed(env, NULL, shortage);
    shed_latest(env, payer, shortage);
    return true;
}

bool payers_shed(struct env *env, const struct quota_account *account, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), &heaviest);
    return shed(env, &heaviest, account, shortage);
}

bool payers_shed_begun(struct env *env, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), &heaviest);
    return shed_begun(env, &heaviest, shortage);
}

bool payers_shed_quiet(struct env *env, const struct shortage *shortage)
{
    struct quota_heaviest heaviest;
    quota_find_heaviest(env->quota, measure_of(shortage), env_now(env), &heaviest);
    return (stands_out(&heaviest) && sessions_shed(env, heaviest.account, shortage)) ||
           sessions_shed(env, NULL, shortage);
}

static bool has_room(const struct env *env)
{
    return reserve_has_room(quota_held(quota_of_all(env->quota), QUOTA_DESCRIPTORS));
}

static void say_short(struct env *env, const struct quota_heaviest *heaviest)
{
    uint64_t now = env_now(env);
    reserve_note_shortage(now);
    if (env->short_said_ms && now - env->short_said_ms < SAID_AGAIN_MS)
        return;
    env->short_said_ms = now;
    log_warning("descriptors are short: sessions hold nearly all of %u; %s holds most (%" PRIu32 " of %" PRIu32
                ") and gives way first. Raise the limit (ulimit -n, or LimitNOFILE= in the systemd unit), "
                "or set limits.sessions_per_client",
                reserve_limit(), heaviest->account ? heaviest->name : "nobody", heaviest->held, heaviest->of_all);
}

bool payers_make_room(struct env *env, const struct quota_account *account)
{
    struct quota_heaviest heaviest;
    for (int i = 0; i < MAKE_ROOM_MAX; i++) {
        if (has_room(env))
            return true;
        quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), &heaviest);
        say_short(env, &heaviest);
        pump_pool_trim(env->pumps);
        if (!shed(env, &heaviest, account, &of_descriptors))
            return false;
    }
    return has_room(env);
}

void payers_sweep(struct env *env)
{
    struct quota_heaviest heaviest;
    for (int i = 0; i < SWEEP_MAX && !has_room(env); i++) {
        quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), &heaviest);
        struct payer *payer = payer_of(env, &heaviest);
        if (!payer || !shed_dial(env, TAILQ_FIRST(&payer->dials), &of_descriptors))
            return;
    }
}

struct payer *payers_find_heaviest(struct env *env)
{
    struct quota_heaviest heaviest;
    quota_find_heaviest(env->quota, QUOTA_DESCRIPTORS, env_now(env), &heaviest);
    return payer_of(env, &heaviest);
}

void payer_visit(struct payer *payer, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg)
{
    struct session *session;
    TAILQ_FOREACH(session, &payer->sessions, of_payer)
    {
        visit(arg, session->stream, session->assoc);
    }
}

/* ---- loans ---- */

/* Of those that were not called yet; NULL: nobody else has a loan. */
static struct payer *largest_loan(const struct env *env)
{
    struct payer *largest = NULL, *payer, *next;
    HASH_ITER(hh, env->payers, payer, next)
    if (payer->called != env->loans.calls && payer->loan.bytes > (largest ? largest->loan.bytes : 0))
        largest = payer;
    return largest;
}

void payers_call_loans(struct env *env, size_t bytes)
{
    struct payer *largest;
    env->loans.calls++;
    for (int i = 0; i < CALL_LOANS_MAX && env->loans.lent > bytes && (largest = largest_loan(env)); i++) {
        struct session *session;
        largest->called = env->loans.calls;
        TAILQ_FOREACH(session, &largest->sessions, of_payer)
        {
            if (session->assoc)
                assoc_call_loans(session->assoc);
        }
    }
}
