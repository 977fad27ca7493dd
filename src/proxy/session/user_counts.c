#include "proxy/session/user_counts.h"

#define LOG_MODULE "limits"
#include "base/calendar.h"
#include "base/log.h"
#include "host/host.h"
#include "proxy/assoc/assoc.h"
#include "proxy/env.h"
#include "proxy/session/payer.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/stream/stream.h"

static struct usage_bytes session_relayed(const struct session *session)
{
    if (session->stream)
        return (struct usage_bytes){stream_up_bytes(session->stream), stream_down_bytes(session->stream)};
    if (!session->assoc)
        return (struct usage_bytes){0};
    const struct assoc_flow *flow = assoc_flow(session->assoc);
    return (struct usage_bytes){flow->up_bytes, flow->down_bytes};
}

void user_count_session(struct session *session)
{
    struct session_user *user = session->user;
    if (!user || !user->account || (!session->stream && !session->assoc))
        return;
    const struct usage_bytes relayed = session_relayed(session);
    const struct usage_bytes more = {relayed.up - user->counted.up, relayed.down - user->counted.down};
    user->counted = relayed;
    usage_add(user->account, more);
    if (!session->payer)
        return;
    session->payer->recent.up += more.up;
    session->payer->recent.down += more.down;
}

/* ---- once a second ---- */

/* Over the time since the last sweep. */
static void user_note_rate(struct payer *payer, uint64_t elapsed_ms)
{
    const struct usage_bytes recent = payer->recent;
    payer->recent = (struct usage_bytes){0};
    payer_set_rate(payer, (struct usage_bytes){recent.up * 1000 / elapsed_ms, recent.down * 1000 / elapsed_ms});
}

/* The last session that ends frees the payer. */
static void user_end_sessions(struct payer *payer, const char *why, atomic_uint_fast64_t *counter)
{
    struct session *session, *next;
    for (session = TAILQ_FIRST(&payer->sessions); session; session = next) {
        next = TAILQ_NEXT(session, of_payer);
        if (session->state == SESSION_LINGERING)
            continue;
        metrics_add(counter, 1);
        if (session_is_pending(session))
            session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, why);
        else
            session_cut(session, why);
    }
}

static void user_sweep(struct env *env, struct payer *payer)
{
    const struct session_user *user = TAILQ_FIRST(&payer->sessions)->user;
    atomic_uint_fast64_t *counter;
    const char *why = session_user_bar(env, user, &counter);
    if (!why)
        return;
    if (usage_first_told(payer->usage))
        log_warning("ending the sessions of user %s: %s", user->name, why);
    user_end_sessions(payer, why, counter);
}

void users_sweep(struct env *env, uint64_t now_ms)
{
    struct payer *payer, *next;
    const uint64_t elapsed_ms = now_ms > env->swept_ms ? now_ms - env->swept_ms : 1;
    env->swept_ms = now_ms;
    usage_set_month(env->host->usage, calendar_month_of(env->today()));
    HASH_ITER(hh, env->payers, payer, next)
    {
        if (!payer->usage)
            continue;
        user_note_rate(payer, elapsed_ms);
        user_sweep(env, payer);
    }
}
