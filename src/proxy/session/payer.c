#include "proxy/session/payer.h"

#include <assert.h>
#include <stdlib.h>

#include "base/util.h"
#include "policy/quota.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/stream/stream.h"

/* Payers whose loans are called at once; the next call is not far. */
#define CALL_LOANS_MAX 16

/* ---- accounts ---- */

struct payer *payer_find(const struct env *env, const struct quota_account *account)
{
    struct payer *payer;
    HASH_FIND_PTR(env->payers, &account, payer);
    return payer;
}

static struct payer *payer_new(struct env *env, struct quota_account *account, struct usage_account *usage)
{
    struct payer *payer = calloc(1, sizeof(*payer));
    if (!payer)
        return NULL;
    payer->account = account;
    payer->usage = usage;
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
    const struct charges *charges = &session->charges;
    struct quota_account *account = charges->user ? charges->user : charges->client;
    if (session->payer && session->payer->account == account)
        return;
    payer_leave(session);
    struct payer *payer = account ? payer_find(session->env, account) : NULL;
    if (account && !payer)
        payer = payer_new(session->env, account, charges->user ? session->user->account : NULL);
    if (!payer)
        return;
    session->payer = payer;
    TAILQ_INSERT_TAIL(&payer->sessions, session, of_payer);
    payer_update(session);
}

const struct quota_account *payer_account(const struct session *session)
{
    assert(!session->payer || session->payer->account == session->charges.user ||
           session->payer->account == session->charges.client);
    return session->payer ? session->payer->account : NULL;
}

static void payer_begin_dial(struct session *session)
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
    assert(session->payer); /* which it cannot leave before */
    negotiation->dials = false;
    TAILQ_REMOVE(&session->payer->dials, negotiation, dial);
    TAILQ_REMOVE(&session->env->dials, negotiation, dial_of_all);
}

static void payer_charge(struct session *session, uint32_t descriptors)
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
    assert(session->state != SESSION_ENDED || !session->payer);
    if (!session->payer)
        return;
    size_t descriptors = 1;
    descriptors += session->stream ? stream_descriptors(session->stream) : 0;
    descriptors += session->assoc ? assoc_descriptors(session->assoc) : 0;
    if (session_is_pending(session) && descriptors == 1)
        descriptors++; /* its first attempt is about to begin */
    payer_charge(session, (uint32_t)descriptors);
    if (session_is_pending(session))
        payer_begin_dial(session);
    else
        payer_end_dial(session);
    if (session->assoc)
        assoc_borrow(session->assoc, &session->payer->loan);
}

void payer_set_rate(struct payer *payer, struct usage_bytes rate)
{
    const struct usage_bytes change = {rate.up - payer->rate.up, rate.down - payer->rate.down};
    payer->rate = rate;
    usage_change_rate(payer->usage, change);
}

void payer_leave(struct session *session)
{
    struct payer *payer = session->payer;
    if (!payer)
        return;
    assert(!session->assoc); /* it has given back what it borrowed here */
    payer_end_dial(session);
    payer_charge(session, 0);
    TAILQ_REMOVE(&payer->sessions, session, of_payer);
    session->payer = NULL;
    if (!TAILQ_EMPTY(&payer->sessions))
        return;
    assert(TAILQ_EMPTY(&payer->dials) && payer->loan.bytes == 0);
    if (payer->usage)
        payer_set_rate(payer, (struct usage_bytes){0});
    HASH_DEL(session->env->payers, payer);
    free(payer);
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
static struct payer *payer_find_largest_loan(const struct env *env)
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
    for (int i = 0; i < CALL_LOANS_MAX && env->loans.lent > bytes && (largest = payer_find_largest_loan(env)); i++) {
        struct session *session;
        largest->called = env->loans.calls;
        TAILQ_FOREACH(session, &largest->sessions, of_payer)
        {
            if (session->assoc)
                assoc_call_loans(session->assoc);
        }
    }
}
