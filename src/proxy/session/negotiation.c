#include "proxy/session/negotiation.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/session/login.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "wire/proxyproto.h"

static_assert(PROXYPROTO_MAX >= HANDSHAKE_INPUT_MAX, "the handshake follows the header in the same buffer");

struct negotiation *negotiation_new(struct session *session, const struct config_listener *listener)
{
    const bool header = listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED;
    const size_t size = header ? PROXYPROTO_MAX : HANDSHAKE_INPUT_MAX;
    struct negotiation *negotiation = calloc(1, sizeof(*negotiation) + size);
    if (!negotiation)
        return NULL;
    negotiation->session = session;
    negotiation->size = size;
    negotiation->origin = header ? ORIGIN_BALANCER : ORIGIN_CLIENT;
    negotiation->waits = true;
    TAILQ_INSERT_TAIL(&session->env->waiting, negotiation, link);
    handshake_init(&negotiation->handshake, listener->need_password);
    /* A balancer is not the client: proxy_header.c decides when that is known. */
    negotiation->handshake.trusted = !header && config_listener_trusts(listener, &session->peer);
    return negotiation;
}

static void negotiation_stop_waiting(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation->waits)
        return;
    TAILQ_REMOVE(&session->env->waiting, negotiation, link);
    negotiation->waits = false;
}

void negotiation_free(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation)
        return;
    assert(negotiation->session == session && !negotiation->dials);
    negotiation_stop_waiting(session);
    if (negotiation->login)
        login_cancel(negotiation->login);
    explicit_bzero(negotiation->in, negotiation->size); /* a password may have been on its way */
    free(negotiation);
    session->negotiation = NULL;
}

/* ---- bytes ---- */

/* Balancers connect and leave again to see whether we are alive, every few seconds. */
static bool negotiation_is_health_check(const struct negotiation *negotiation)
{
    return negotiation->origin == ORIGIN_BALANCER && negotiation->handshake.state == HANDSHAKE_AT_GREETING &&
           negotiation->len == 0;
}

bool negotiation_read(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    assert(negotiation->len < negotiation->size);
    ssize_t n = recv(session->fd, negotiation->in + negotiation->len, negotiation->size - negotiation->len, 0);
    if (n > 0) {
        negotiation->len += (size_t)n;
        return true;
    }
    if (n == 0 || errno != EAGAIN) {
        const char *why = n == 0 ? "client closed during the handshake" : "client gone";
        session_end(session, negotiation_is_health_check(negotiation) ? NULL : why, false);
    }
    return false;
}

void negotiation_drop(struct negotiation *negotiation, size_t count)
{
    assert(count <= negotiation->len);
    negotiation->len -= count;
    memmove(negotiation->in, negotiation->in + count, negotiation->len);
    explicit_bzero(negotiation->in + negotiation->len, count);
}

/* ---- login ---- */

static void negotiation_finish_login(struct session *session, enum login_outcome outcome)
{
    static const char *const refusals[] = {
        [LOGIN_WRONG] = "wrong user name or password",
        [LOGIN_EXPIRED] = "the password is right, but the user's access has expired (users[].expires)",
        [LOGIN_THROTTLED] = "password not checked: too many wrong ones from this address (limits.failed_logins)",
        [LOGIN_BUSY] = "password not checked: too many are waiting",
    };
    struct handshake *handshake = &session->negotiation->handshake;
    assert(session->state == SESSION_CHECKING && outcome != LOGIN_PENDING);
    if (outcome == LOGIN_RIGHT && session_user_has_expired(session->env, session->user)) {
        metrics_add(&session->env->metrics.auth_expired_total, 1);
        outcome = LOGIN_EXPIRED;
    }
    /* A password that was not checked gets no status: it may be right, and "wrong" makes programs forget it. */
    if (outcome == LOGIN_RIGHT || outcome == LOGIN_WRONG || outcome == LOGIN_EXPIRED)
        handshake_password_checked(handshake, outcome == LOGIN_RIGHT);
    if (outcome != LOGIN_RIGHT)
        session_refuse_handshake(session, refusals[outcome]);
    else if (session_send(session)) {
        session_enter(session, SESSION_NEGOTIATING);
        if (session->negotiation->len) /* the request may be here already */
            negotiation_advance(session);
    }
}

static void negotiation_on_login_checked(void *arg, enum login_outcome outcome)
{
    struct session *session = arg;
    assert(session->negotiation->login);
    session->negotiation->login = NULL;
    negotiation_finish_login(session, outcome);
}

/* `used`: where it ends in `in`. */
static void negotiation_check_password(struct session *session, const struct socks5_password *given, size_t used)
{
    struct negotiation *negotiation = session->negotiation;
    assert(!session->user && !negotiation->login);
    session_enter(session, SESSION_CHECKING);
    session->user = session_user_new(given->user, given->user_len);
    enum login_outcome outcome = LOGIN_BUSY;
    if (session->user)
        outcome = login_begin(&negotiation->login, session->env, &session->peer, given, negotiation_on_login_checked,
                              session);
    negotiation_drop(negotiation, used);
    if (outcome != LOGIN_PENDING)
        negotiation_finish_login(session, outcome);
    else
        session_send(session);
}

/* ---- the handshake ---- */

void negotiation_advance(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    struct handshake *handshake = &negotiation->handshake;
    size_t used;
    enum handshake_step step = handshake_advance(handshake, negotiation->in, negotiation->len, &used);
    assert(used <= negotiation->len);
    switch (step) {
    case HANDSHAKE_MORE:
        negotiation_drop(negotiation, used);
        session_send(session);
        break;
    case HANDSHAKE_PASSWORD:
        negotiation_check_password(session, &handshake->login, used);
        break;
    case HANDSHAKE_REQUEST:
        negotiation_stop_waiting(session);
        negotiation->early_at = used; /* the request still points into `in` */
        session_take_request(session, &handshake->request);
        break;
    case HANDSHAKE_FAILED:
        session_refuse_handshake(session, handshake->failure);
        break;
    }
}

void negotiation_on_input(struct session *session)
{
    if (negotiation_read(session))
        negotiation_advance(session);
}
