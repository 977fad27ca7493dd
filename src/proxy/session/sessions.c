#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>

#include "proxy/assoc/assoc.h"
#include "proxy/session/payer.h"
#include "proxy/session/review.h"
#include "proxy/session/session.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/shed.h"
#include "proxy/stream/stream.h"

/* The kernel is asked about a connection in one of so many sweeps: each question is a system call. */
#define ASKED_EVERY 8
/* At most so many sessions are reviewed before the loop looks after its sockets: a fraction of a millisecond's work. */
#define REVIEW_SLICE 64

void sessions_sweep(struct env *env)
{
    uint64_t now = env_now(env);
    env->sweeps++;
    for (struct session *session = TAILQ_FIRST(&env->sessions), *next; session; session = next) {
        next = TAILQ_NEXT(session, link);
        session_sweep(session, now, (session->id + env->sweeps) % ASKED_EVERY == 0);
        if (session->state != SESSION_ENDED)
            payer_update(session);
    }
    shed_sweep(env);
}

void sessions_visit(struct env *env, void (*visit)(void *arg, struct stream *stream, struct assoc *assoc), void *arg)
{
    for (struct session *session = TAILQ_FIRST(&env->sessions), *next; session; session = next) {
        next = TAILQ_NEXT(session, link);
        visit(arg, session->stream, session->assoc);
    }
}

/* ---- after a reload ---- */

/* NULL: it may go on. Each session is reviewed once: with some rules that takes milliseconds. */
static const char *review_session(struct session *session)
{
    const struct env *env = session->env;
    const struct negotiation *negotiation = session->negotiation;
    const struct reviewed reviewed = {
        .user = session->user,
        .logs_in = negotiation && negotiation->handshake.need_password,
        .fd = session->fd,
        .stream = session->stream,
        .assoc = session->assoc,
    };
    if (session->state == SESSION_LINGERING)
        return NULL;
    if (session->is_refused)
        return session->why_refused;
    if (session->generation == env->generation)
        return NULL;
    const char *why = review(session->env, env->review.before, &reviewed);
    session->is_refused = why != NULL;
    if (why)
        session->why_refused = why;
    else
        session->generation = env->generation;
    return why;
}

bool session_may_go_on(void *arg)
{
    struct session *session = arg;
    if (!review_session(session))
        return true;
    event_active(&session->readable, EV_READ, 0); /* which enforces it: here is the session's own association */
    return false;
}

bool session_enforce(struct session *session)
{
    const char *why = review_session(session);
    if (why && session_is_pending(session))
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, why);
    else if (why)
        session_cut(session, why);
    return why == NULL;
}

static void review_some(struct env *env, size_t most)
{
    struct session_review *review = &env->review;
    const uint64_t begun = env_now(env);
    for (struct session *session; most > 0 && (session = review->next); most--) {
        review->next = TAILQ_NEXT(session, link);
        (void)session_enforce(session);
        if (env_now(env) != begun) /* with some rules it takes longer */
            break;
    }
    if (review->next || !review->before)
        return;
    snapshot_release(review->before);
    review->before = NULL;
    review->done(review->arg);
}

static void on_slice(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct env *env = arg;
    review_some(env, REVIEW_SLICE);
    if (env->review.next) /* a timer, so that the loop looks at sockets first */
        event_add(&env->review.slice, &(struct timeval){0});
}

void sessions_review(struct env *env, struct snapshot *before, void (*done)(void *arg), void *arg)
{
    assert(!env->review.before);
    env->review.before = before;
    env->review.next = TAILQ_FIRST(&env->sessions);
    env->review.done = done;
    env->review.arg = arg;
    event_assign(&env->review.slice, env->base, -1, 0, on_slice, env);
    on_slice(-1, 0, env);
}

void sessions_end(struct env *env, const char *why)
{
    for (struct session *session; (session = TAILQ_FIRST(&env->sessions));)
        session_cut(session, why);
    if (env->review.before)
        event_del(&env->review.slice);
    review_some(env, 1); /* a review under way has nothing left to look at */
}

void sessions_reap(struct env *env)
{
    for (struct session *session; (session = TAILQ_FIRST(&env->ended));) {
        TAILQ_REMOVE(&env->ended, session, link);
        free(session->user);
        free(session);
    }
}
