#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <unistd.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "base/util.h"
#include "net/pump.h"
#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/admission.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/payer.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_log.h"
#include "proxy/session/user_counts.h"
#include "proxy/stream/stream.h"

/* After a refusal the client has this long to read it: closing with its bytes unread would reset the reply away. */
#define LINGER_MS       1000
#define CLIENT_VANISHED "the client vanished: it has acknowledged nothing for two minutes"

/* ---- input, where it is not the negotiation's ---- */

/* Nothing that the client still sends is needed; only the end of the connection matters. */
static void session_ignore_input(struct session *session)
{
    ssize_t n = pump_pool_discard(session->env->pumps, session->fd);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        session_end(session, n == 0 ? "client closed" : "client gone", false);
}

/* Ends the session when its client leaves while we wait. Once the client has sent something, its end cannot be seen
 * behind these bytes, and it may be a half-close: watching stops until the next state. */
static void session_watch(struct session *session)
{
    char next;
    ssize_t n = negotiation_early(session->negotiation).len ? 1 : recv(session->fd, &next, 1, MSG_PEEK);
    if (n > 0)
        event_del(&session->readable);
    else if (n == 0 || errno != EAGAIN)
        session_end(session,
                    session->state == SESSION_CHECKING ? "client gone while its password was checked"
                                                       : "client gone before its peer or the upstream's answer came",
                    false);
}

/* Early data, or the client's end, stays in the socket for the stream. Most clients send neither: so the event is
 * deleted when something has come, and not each time. */
static void session_leave_input(struct session *session)
{
    event_del(&session->readable);
}

/* ---- about once a second ---- */

static void session_sweep_pending(struct session *session, uint64_t now_ms, bool asks)
{
    (void)now_ms;
    if (sock_is_lost(session->fd))
        session_end(session, "client gone before the destination was reached", true);
    else if (asks && sock_has_vanished(session->fd))
        session_end(session, CLIENT_VANISHED, true);
}

static void session_sweep_stream(struct session *session, uint64_t now_ms, bool asks)
{
    stream_sweep(session->stream, now_ms, asks);
}

static void session_sweep_assoc(struct session *session, uint64_t now_ms, bool asks)
{
    if (assoc_sweep(session->assoc, now_ms))
        session_cut(session, "idle (udp.idle)");
    else if (asks && sock_has_vanished(session->fd))
        session_end(session, CLIENT_VANISHED, true);
}

/* ---- states ---- */

/* The attempts of REACHING and AWAITING have timers of their own (dial.c, upstream.c, bind.c). */
enum session_deadline { DEADLINE_NONE, DEADLINE_HEADER, DEADLINE_HANDSHAKE, DEADLINE_LINGER };

struct session_row {
    const char *name;
    void (*on_input)(struct session *session); /* something has arrived, or the end; NULL: `fd` is not watched */
    enum session_deadline deadline;
    void (*on_sweep)(struct session *session, uint64_t now_ms, bool asks); /* NULL: nothing to do */
    unsigned may_follow;                                                   /* a bit for each state */
};

#define BIT(name) (1U << SESSION_##name)
#define OVER      (BIT(LINGERING) | BIT(ENDED))
#define GRANTED   (BIT(STREAMING) | BIT(ASSOCIATED) | BIT(FRAMED))
static const struct session_row rows[] = {
    [SESSION_NEW] = {"new", NULL, DEADLINE_NONE, NULL, BIT(AT_HEADER) | BIT(NEGOTIATING)},
    [SESSION_AT_HEADER] = {"at the PROXY protocol header", proxy_header_on_input, DEADLINE_HEADER, NULL,
                           BIT(NEGOTIATING) | BIT(ENDED)},
    [SESSION_NEGOTIATING] = {"negotiating", negotiation_on_input, DEADLINE_HANDSHAKE, NULL,
                             BIT(CHECKING) | BIT(REACHING) | BIT(AWAITING) | GRANTED | OVER},
    [SESSION_CHECKING] = {"checking the password", session_watch, DEADLINE_HANDSHAKE, NULL, BIT(NEGOTIATING) | OVER},
    [SESSION_REACHING] = {"reaching the destination", session_leave_input, DEADLINE_NONE, session_sweep_pending,
                          BIT(AWAITING) | BIT(STREAMING) | OVER},
    [SESSION_AWAITING] = {"awaiting its peer or upstream", session_watch, DEADLINE_NONE, session_sweep_pending,
                          GRANTED | OVER},
    /* The stream or the association reads the control connection. */
    [SESSION_STREAMING] = {"streaming", NULL, DEADLINE_NONE, session_sweep_stream, BIT(ENDED)},
    [SESSION_ASSOCIATED] = {"associated", session_ignore_input, DEADLINE_NONE, session_sweep_assoc, BIT(ENDED)},
    [SESSION_FRAMED] = {"associated over TCP", NULL, DEADLINE_NONE, session_sweep_assoc, BIT(ENDED)},
    [SESSION_LINGERING] = {"refused", session_ignore_input, DEADLINE_LINGER, NULL, BIT(ENDED)},
    [SESSION_ENDED] = {"ended", NULL, DEADLINE_NONE, NULL, 0},
};
static_assert(ARRAY_LEN(rows) == SESSION_STATE_COUNT, "a row for each state");
static_assert(SESSION_STATE_COUNT <= 32, "a bit for each state");
static_assert(sizeof(struct session) <= 296, "memory for each connection");

static bool session_owns_what_it_needs(const struct session *session)
{
    const bool stream = session->stream, assoc = session->assoc, negotiation = session->negotiation;
    switch (session->state) {
    case SESSION_AT_HEADER:
    case SESSION_NEGOTIATING:
    case SESSION_CHECKING:
        return negotiation && !stream && !assoc;
    case SESSION_REACHING:
        return negotiation && stream && !assoc;
    case SESSION_AWAITING:
        return negotiation && stream != assoc;
    case SESSION_STREAMING:
        return session->granted && !negotiation && stream && !assoc;
    case SESSION_ASSOCIATED:
    case SESSION_FRAMED:
        return session->granted && !negotiation && !stream && assoc &&
               assoc_is_over_tcp(session->assoc) == (session->state == SESSION_FRAMED);
    default:
        return !negotiation && !stream && !assoc;
    }
}

void session_enter(struct session *session, enum session_state state)
{
    const struct session_row *from = &rows[session->state], *to = &rows[state];
    if (!(from->may_follow & (1U << state)))
        log_error("session %" PRIu64 ": \"%s\" cannot follow \"%s\"", session->id, to->name, from->name);
    assert(from->may_follow & (1U << state));
    session->state = state;
    assert(session_owns_what_it_needs(session));
    if (to->on_input)
        event_add(&session->readable, NULL);
    else
        event_del(&session->readable);
    payer_update(session);
}

void session_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct session *session = arg;
    assert(session->state != SESSION_ENDED);
    if (!session_enforce(session))
        return;
    assert(rows[session->state].on_input);
    rows[session->state].on_input(session);
}

static void session_expire(struct session *session, enum session_deadline deadline)
{
    static const char *const whys[] = {
        [DEADLINE_HEADER] = "PROXY protocol header took too long (timeouts.handshake)",
        [DEADLINE_HANDSHAKE] = "handshake took too long (timeouts.handshake)",
        [DEADLINE_LINGER] = "refused",
    };
    if (deadline == DEADLINE_HEADER)
        metrics_add(&session->env->metrics.proxy_protocol_refused_total, 1);
    session_end(session, whys[deadline], false);
}

void session_sweep(struct session *session, uint64_t now_ms, bool asks)
{
    const struct session_row *row = &rows[session->state];
    const uint64_t most_ms = row->deadline == DEADLINE_LINGER ? LINGER_MS : session->env->config->timeouts.handshake_ms;
    assert(session->state != SESSION_ENDED && now_ms >= session->started_ms);
    if (row->deadline && now_ms - session->started_ms >= most_ms)
        session_expire(session, row->deadline);
    else if (row->on_sweep)
        row->on_sweep(session, now_ms, asks);
}

/* ---- the end ---- */

/* Frees what it does for its client. Nothing is left then that could call the session back, or judge by rules that are
 * gone. */
static void session_release_work(struct session *session)
{
    payer_end_dial(session);
    negotiation_free(session);
    user_count_session(session);
    stream_free(session->stream);
    assoc_free(session->assoc);
    session->stream = NULL;
    session->assoc = NULL;
}

/* Frees all that it owns. The user's name stays for those who look at the session until it is reaped. */
static void session_release(struct session *session, bool abort)
{
    struct env *env = session->env;
    assert(session->fd >= 0 && env->open.sessions > 0);
    session_release_work(session);
    payer_leave(session);
    admission_end(&session->charges, env);
    session_enter(session, SESSION_ENDED);
    if (abort)
        sock_abort(session->fd);
    else
        close(session->fd);
    session->fd = -1;
    if (env->review.next == session)
        env->review.next = TAILQ_NEXT(session, link);
    env->open.sessions--;
    TAILQ_REMOVE(&env->sessions, session, link);
    TAILQ_INSERT_TAIL(&env->ended, session, link);
    event_active(&env->reaper, EV_TIMEOUT, 0);
}

void session_end(struct session *session, const char *why, bool abort)
{
    if (session->state == SESSION_ENDED)
        return;
    if (session->assoc)
        assoc_leave_kernel(session->assoc);
    if (why && session->state != SESSION_LINGERING) /* which was logged when it was refused */
        session_log_end(session, why);
    metrics_add(&session->env->metrics.sessions_ended_total, 1);
    if (!session->granted)
        metrics_add(&session->env->metrics.handshakes_failed_total, 1);
    session_release(session, abort);
}

void session_cut(struct session *session, const char *why)
{
    session_end(session, why, session->stream || (session->assoc && assoc_is_over_tcp(session->assoc)));
}

/* ---- answers ---- */

/* These few bytes fit into the socket of a new connection, or the client is gone. */
bool session_send(struct session *session)
{
    struct handshake *handshake = &session->negotiation->handshake;
    if (handshake->out_len == 0)
        return true;
    const bool sent = send(session->fd, handshake->out, handshake->out_len, MSG_NOSIGNAL) == handshake->out_len;
    handshake->out_len = 0;
    if (!sent)
        session_end(session, "client does not accept the reply", true);
    return sent;
}

bool session_grant(struct session *session, const union netaddr *bound)
{
    struct socks5_addr wire = address_to_wire(bound);
    assert(!session->granted && (session->stream || session->assoc));
    handshake_reply(&session->negotiation->handshake, SOCKS5_REPLY_SUCCEEDED, &wire);
    session->granted = true;
    if (!session_send(session))
        return false;
    payer_end_dial(session);
    negotiation_free(session);
    return true;
}

void session_refuse_handshake(struct session *session, const char *why)
{
    assert(session->negotiation && !session->granted);
    if (!session_send(session))
        return;
    session_log_end(session, why);
    session_release_work(session);
    admission_refused(&session->charges, session->env);
    shutdown(session->fd, SHUT_WR);
    session->started_ms = env_now(session->env);
    session_enter(session, SESSION_LINGERING);
}

void session_refuse(struct session *session, enum socks5_reply code, const char *why)
{
    assert(session->negotiation && code != SOCKS5_REPLY_SUCCEEDED);
    session->reply = code;
    metrics_add(&session->env->metrics.requests_refused_total, 1);
    handshake_reply(&session->negotiation->handshake, (uint8_t)code, NULL);
    session_refuse_handshake(session, why);
}
