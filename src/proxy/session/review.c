#include "proxy/session/review.h"

#include <assert.h>
#include <event2/event.h>

#include "net/sock.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/stream/stream.h"

/* At most so many sessions are reviewed before the loop looks after its sockets: a fraction of a millisecond's work. */
#define REVIEW_SLICE 64

#define NO_LONGER "no longer allowed by the configuration: "

/* Whether the listener serves the session's client without a login. A balancer that has named no client is none. */
static bool review_trusts(const struct session *session, const struct config_listener *listener,
                          const union netaddr *peer)
{
    const bool is_balancer =
        listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED && netaddr_equal(&session->peer, peer);
    return !is_balancer && config_listener_trusts(listener, &session->peer);
}

/* Checks what the listener requires of every connection. A listener that has been removed requires nothing. */
static const char *review_listener(const struct session *session, const struct proxy_client *client)
{
    const struct negotiation *negotiation = session->negotiation;
    const union netaddr peer = sock_peer(session->fd);
    const struct config_listener *listener = client_listener(session->env, client);
    if (!listener)
        return NULL;
    const struct handshake *handshake = negotiation ? &negotiation->handshake : NULL;
    const bool logs_in = session->user || (handshake && handshake->need_password && !handshake->trusted);
    if (!logs_in && listener->need_password && !review_trusts(session, listener, &peer))
        return NO_LONGER "this listener asks for a login";
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED && !proxy_header_is_balancer(listener, &peer))
        return NO_LONGER "this listener serves its balancers only (listen[].proxy_from)";
    return NULL;
}

static const char *review_assoc(const struct session *session, const struct proxy_client *client)
{
    const struct config *config = session->env->config;
    if (!config->udp.enabled)
        return NO_LONGER "UDP is off (udp.enabled)";
    if (assoc_is_over_tcp(session->assoc) && !config->udp.over_tcp)
        return NO_LONGER "UDP over TCP is off (udp.over_tcp)";
    return assoc_review(session->assoc, client) ? NULL : NO_LONGER "the rules leave this association no destination";
}

static const char *review_stream(const struct session *session, const struct proxy_client *client)
{
    if (stream_command(session->stream) == CONFIG_COMMAND_BIND && !session->env->config->bind.enabled)
        return NO_LONGER "BIND is off (bind.enabled)";
    return stream_review(session->stream, client) ? NULL : NO_LONGER "its destination is denied";
}

/* NULL: it may continue, under the active configuration from here on. Else why it has to end, as a literal. */
static const char *review_against(const struct session *session, const struct snapshot *before)
{
    const struct proxy_client client = session_client(session);
    const char *why = review_listener(session, &client);
    if (why)
        return why;
    if (session->user && !users_agree(&before->users, &session->env->snapshot->users, session->user->name))
        return NO_LONGER "its user is gone, or has another password";
    if (session->assoc)
        return review_assoc(session, &client);
    return session->stream ? review_stream(session, &client) : NULL;
}

/* Each session is reviewed once: with some rules that takes milliseconds. */
static const char *review_session(struct session *session)
{
    const struct env *env = session->env;
    if (session->state == SESSION_LINGERING)
        return NULL;
    if (session->is_refused)
        return session->why_refused;
    if (session->generation == env->generation)
        return NULL;
    assert(session->generation < env->generation && env->review.before);
    const char *why = review_against(session, env->review.before);
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
    /* The callback ends the session. Here that is too early: the session's own association is running. */
    event_active(&session->readable, EV_READ, 0);
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

/* ---- all of a worker's ---- */

static void review_some(struct env *env, size_t most)
{
    struct session_review *review = &env->review;
    assert(review->before || !review->next);
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

static void review_on_slice(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct env *env = arg;
    review_some(env, REVIEW_SLICE);
    if (env->review.next) /* a timer, so that the loop looks at sockets first */
        event_add(&env->review.slice, &(struct timeval){0});
}

void review_prepare(struct env *env, struct snapshot *before)
{
    assert(before && !env->review.before && !env->review.next);
    env->review.before = before;
}

void review_sessions(struct env *env, void (*done)(void *arg), void *arg)
{
    assert(env->review.before && !env->review.next);
    env->review.next = TAILQ_FIRST(&env->sessions);
    env->review.done = done;
    env->review.arg = arg;
    event_assign(&env->review.slice, env->base, -1, 0, review_on_slice, env);
    review_on_slice(-1, 0, env);
}

void review_stop(struct env *env)
{
    assert(TAILQ_EMPTY(&env->sessions) && !env->review.next);
    if (env->review.before)
        event_del(&env->review.slice);
    review_some(env, 0);
}
