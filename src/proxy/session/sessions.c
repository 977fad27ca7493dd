#include "proxy/session/sessions.h"

#include <assert.h>
#include <stdlib.h>

#include "proxy/session/payer.h"
#include "proxy/session/review.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/session/shed.h"
#include "proxy/session/user_counts.h"

/* The kernel is asked about a connection in one of so many sweeps: each question is a system call. */
#define ASKED_EVERY 8

void sessions_sweep(struct env *env)
{
    uint64_t now = env_now(env);
    env->sweeps++;
    for (struct session *session = TAILQ_FIRST(&env->sessions), *next; session; session = next) {
        next = TAILQ_NEXT(session, link);
        session_sweep(session, now, (session->id + env->sweeps) % ASKED_EVERY == 0);
        if (session->state == SESSION_ENDED)
            continue;
        user_count_session(session);
        payer_update(session);
    }
    users_sweep(env, now);
    shed_sweep(env);
}

void sessions_visit(struct env *env, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg)
{
    for (struct session *session = TAILQ_FIRST(&env->sessions), *next; session; session = next) {
        next = TAILQ_NEXT(session, link);
        visit(arg, session->stream, session->assoc);
    }
}

void sessions_end(struct env *env, const char *why)
{
    for (struct session *session; (session = TAILQ_FIRST(&env->sessions));)
        session_cut(session, why);
    assert(env->open.sessions == 0 && env->open.streams == 0);
    assert(!env->payers && TAILQ_EMPTY(&env->waiting) && TAILQ_EMPTY(&env->dials));
    review_stop(env);
}

void sessions_reap(struct env *env)
{
    for (struct session *session; (session = TAILQ_FIRST(&env->ended));) {
        assert(session->state == SESSION_ENDED && !session->payer && !session->negotiation);
        TAILQ_REMOVE(&env->ended, session, link);
        session_user_free(session->user, &session->peer);
        free(session);
    }
}
