#include "proxy/session/session.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "base/util.h"
#include "net/reserve.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/admission.h"
#include "proxy/session/advertised.h"
#include "proxy/session/login.h"
#include "proxy/session/payer.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_log.h"
#include "proxy/session/shed.h"
#include "proxy/stream/stream.h"

/* After a refusal the client has this long to read it: closing with its bytes unread would reset the reply away. */
#define LINGER_MS       1000
#define CLIENT_VANISHED "the client vanished: it has acknowledged nothing for two minutes"

/* ---- states ---- */

enum session_deadline { DEADLINE_NONE, DEADLINE_HEADER, DEADLINE_HANDSHAKE, DEADLINE_LINGER };

struct session_row {
    const char *name;
    /* Something has arrived, or the connection has ended. NULL: the connection is not watched. */
    void (*on_input)(struct session *session);
    enum session_deadline deadline;
    void (*on_sweep)(struct session *session, uint64_t now_ms, bool asks); /* NULL: nothing to do */
    unsigned may_follow;                                                   /* a bit for each state */
};

static void session_negotiate(struct session *session);
static void session_watch_checking(struct session *session);
static void session_watch_awaiting(struct session *session);
static void session_ignore_input(struct session *session);
static void session_sweep_pending(struct session *session, uint64_t now_ms, bool asks);
static void session_sweep_stream(struct session *session, uint64_t now_ms, bool asks);
static void session_sweep_assoc(struct session *session, uint64_t now_ms, bool asks);

#define BIT(name) (1U << SESSION_##name)
static const struct session_row rows[] = {
    [SESSION_NEW] = {.name = "new", .may_follow = BIT(AT_HEADER) | BIT(NEGOTIATING)},
    [SESSION_AT_HEADER] = {.name = "at the PROXY protocol header",
                           .on_input = proxy_header_hear,
                           .deadline = DEADLINE_HEADER,
                           .may_follow = BIT(NEGOTIATING) | BIT(ENDED)},
    [SESSION_NEGOTIATING] = {.name = "negotiating",
                             .on_input = session_negotiate,
                             .deadline = DEADLINE_HANDSHAKE,
                             .may_follow = BIT(CHECKING) | BIT(REACHING) | BIT(AWAITING) | BIT(ASSOCIATED) |
                                           BIT(FRAMED) | BIT(LINGERING) | BIT(ENDED)},
    [SESSION_CHECKING] = {.name = "checking the password",
                          .on_input = session_watch_checking,
                          .deadline = DEADLINE_HANDSHAKE,
                          .may_follow = BIT(NEGOTIATING) | BIT(LINGERING) | BIT(ENDED)},
    /* Early data stays in the socket for the stream. */
    [SESSION_REACHING] = {.name = "reaching the destination",
                          .on_sweep = session_sweep_pending,
                          .may_follow = BIT(AWAITING) | BIT(STREAMING) | BIT(LINGERING) | BIT(ENDED)},
    [SESSION_AWAITING] = {.name = "awaiting its peer or upstream",
                          .on_input = session_watch_awaiting,
                          .on_sweep = session_sweep_pending,
                          .may_follow = BIT(STREAMING) | BIT(ASSOCIATED) | BIT(FRAMED) | BIT(LINGERING) | BIT(ENDED)},
    [SESSION_STREAMING] = {.name = "streaming", .on_sweep = session_sweep_stream, .may_follow = BIT(ENDED)},
    [SESSION_ASSOCIATED] = {.name = "associated",
                            .on_input = session_ignore_input,
                            .on_sweep = session_sweep_assoc,
                            .may_follow = BIT(ENDED)},
    [SESSION_FRAMED] = {.name = "associated over TCP", .on_sweep = session_sweep_assoc, .may_follow = BIT(ENDED)},
    [SESSION_LINGERING] = {.name = "refused",
                           .on_input = session_ignore_input,
                           .deadline = DEADLINE_LINGER,
                           .may_follow = BIT(ENDED)},
    [SESSION_ENDED] = {.name = "ended"},
};
static_assert(ARRAY_LEN(rows) == SESSION_STATE_COUNT, "a row for each state");
static_assert(SESSION_STATE_COUNT <= 32, "a bit for each state");

/* What a session owns in a state. */
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
        return session->granted && stream && !assoc && !negotiation;
    case SESSION_ASSOCIATED:
    case SESSION_FRAMED:
        return session->granted && assoc && !stream && !negotiation &&
               assoc_is_over_tcp(session->assoc) == (session->state == SESSION_FRAMED);
    case SESSION_LINGERING:
        return !session->granted && !stream && !assoc && !negotiation;
    default:
        return true;
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
    if (state != SESSION_ENDED)
        payer_update(session);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct session *session = arg;
    assert(session->state != SESSION_ENDED);
    if (!session_enforce(session))
        return;
    assert(rows[session->state].on_input);
    rows[session->state].on_input(session);
}

/* ---- about once a second ---- */

static uint64_t session_deadline_ms(const struct session *session, enum session_deadline deadline)
{
    return deadline == DEADLINE_LINGER ? LINGER_MS : session->env->config->timeouts.handshake_ms;
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
    assert(now_ms >= session->started_ms);
    if (row->deadline && now_ms - session->started_ms >= session_deadline_ms(session, row->deadline))
        session_expire(session, row->deadline);
    else if (row->on_sweep)
        row->on_sweep(session, now_ms, asks);
}

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

/* ---- the end ---- */

static void log_end(const struct session *session, const char *why)
{
    struct env *env = session->env;
    uint64_t now = env_now(env);
    uint32_t suppressed = 0;
    bool stranger = !session->user && session->reply == SOCKS5_REPLY_NOT_ALLOWED;
    bool asked = (session->stream || session->assoc) && !stranger;
    /* Whoever did not get as far as a request, or has none granted without a login, may be anybody, as often as he
     * likes. */
    if (!log_enabled(LOG_LEVEL_INFO) || (!asked && !log_limit_pass(&env->strangers_log, now, &suppressed)))
        return;
    const struct session_log record = {
        .id = session->id,
        .client = &session->peer,
        .user = session->user,
        .assoc = session->assoc,
        .stream = session->stream,
        .hides_destinations = !env->config->log.destinations,
        .reply = session->reply,
        .lasted_ms = now - session->started_ms,
        .why = why,
        .suppressed = suppressed,
    };
    session_log_write(&record);
    if (session->assoc && session->granted)
        advertised_review(env, &session->peer, assoc_flow(session->assoc));
}

static void stop_waiting(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation->waits)
        return;
    TAILQ_REMOVE(&session->env->waiting, negotiation, link);
    negotiation->waits = false;
}

static void drop_negotiation(struct session *session)
{
    if (!session->negotiation)
        return;
    stop_waiting(session);
    payer_end_dial(session);
    if (session->negotiation->login)
        login_cancel(session->negotiation->login);
    explicit_bzero(session->negotiation->in, session->negotiation->size); /* a password may have been on its way */
    free(session->negotiation);
    session->negotiation = NULL;
}

/* Frees all that the session owns but its connection. Nothing is left then that could call the session back, or judge
 * by rules that are gone. The user's name stays for those who look at the session until it is reaped. */
static void release(struct session *session)
{
    drop_negotiation(session);
    stream_free(session->stream);
    assoc_free(session->assoc);
    session->stream = NULL;
    session->assoc = NULL;
}

void session_end(struct session *session, const char *why, bool abort)
{
    struct env *env = session->env;
    if (session->state == SESSION_ENDED)
        return;
    if (why && session->state != SESSION_LINGERING) /* which was logged when it was refused */
        log_end(session, why);
    metrics_add(&env->metrics.sessions_ended_total, 1);
    if (!session->granted)
        metrics_add(&env->metrics.handshakes_failed_total, 1);
    session_enter(session, SESSION_ENDED);
    release(session);
    if (abort)
        sock_abort(session->fd);
    else
        close(session->fd);
    payer_leave(session);
    admission_end(&session->charges, env);
    if (env->review.next == session)
        env->review.next = TAILQ_NEXT(session, link);
    TAILQ_REMOVE(&env->sessions, session, link);
    env->open.sessions--;
    TAILQ_INSERT_TAIL(&env->ended, session, link);
    event_active(&env->reaper, EV_TIMEOUT, 0);
}

void session_cut(struct session *session, const char *why)
{
    session_end(session, why, session->stream || (session->assoc && assoc_is_over_tcp(session->assoc)));
}

/* It is a few bytes on a fresh socket: they fit, or the client is gone. */
bool session_send(struct session *session)
{
    struct handshake *handshake = &session->negotiation->handshake;
    if (handshake->out_len == 0)
        return true;
    ssize_t n = send(session->fd, handshake->out, handshake->out_len, MSG_NOSIGNAL);
    bool sent = n == handshake->out_len;
    handshake->out_len = 0;
    if (!sent)
        session_end(session, "client does not take the answer", true);
    return sent;
}

/* Sends what there is and closes once the client has had the time to read it. */
static void refuse(struct session *session, const char *why)
{
    if (!session_send(session))
        return;
    log_end(session, why);
    release(session);
    admission_refused(&session->charges, session->env);
    shutdown(session->fd, SHUT_WR);
    session->started_ms = env_now(session->env);
    session_enter(session, SESSION_LINGERING);
}

void session_refuse(struct session *session, enum socks5_reply code, const char *why)
{
    assert(session->negotiation);
    session->reply = code;
    metrics_add(&session->env->metrics.requests_refused_total, 1);
    handshake_reply(&session->negotiation->handshake, (uint8_t)code, NULL);
    refuse(session, why);
}

bool session_grant(struct session *session, const union netaddr *bound)
{
    struct socks5_addr wire = address_to_wire(bound);
    handshake_reply(&session->negotiation->handshake, SOCKS5_REPLY_SUCCEEDED, &wire);
    session->granted = true;
    if (!session_send(session))
        return false;
    drop_negotiation(session);
    return true;
}

/* ---- login ---- */

static void finish_login(struct session *session, enum login_outcome outcome)
{
    static const char *const refusals[] = {
        [LOGIN_WRONG] = "wrong user name or password",
        [LOGIN_THROTTLED] = "password not looked at: too many wrong ones from this address (limits.failed_logins)",
        [LOGIN_BUSY] = "password not looked at: too many are being checked",
    };
    struct handshake *handshake = &session->negotiation->handshake;
    /* A password that was not looked at gets no status: it may be right, and "wrong" makes programs forget it. */
    if (outcome == LOGIN_RIGHT || outcome == LOGIN_WRONG)
        handshake_password_checked(handshake, outcome == LOGIN_RIGHT);
    if (outcome != LOGIN_RIGHT)
        refuse(session, refusals[outcome]);
    else if (session_send(session))
        session_enter(session, SESSION_NEGOTIATING);
}

static void on_login_checked(void *arg, enum login_outcome outcome)
{
    struct session *session = arg;
    session->negotiation->login = NULL;
    finish_login(session, outcome);
}

static void check_password(struct session *session, const struct socks5_password *given)
{
    struct negotiation *negotiation = session->negotiation;
    assert(!session->user && !negotiation->login);
    session_enter(session, SESSION_CHECKING);
    session->user = strndup((const char *)given->user, given->user_len);
    enum login_outcome outcome = LOGIN_BUSY;
    if (session->user)
        outcome = login_begin(&negotiation->login, session->env, &session->peer, given, on_login_checked, session);
    explicit_bzero(negotiation->in, negotiation->size);
    if (outcome != LOGIN_PENDING)
        finish_login(session, outcome);
    else
        session_send(session);
}

/* ---- input ---- */

static void session_negotiate(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    struct handshake *handshake = &negotiation->handshake;
    size_t len = negotiation_peek(session), used;
    if (len == 0)
        return;
    enum handshake_step step = handshake_advance(handshake, negotiation->in, len, &used);
    negotiation_take(session, step == HANDSHAKE_MORE ? len : used);
    switch (step) {
    case HANDSHAKE_MORE:
        negotiation->len = len - used;
        memmove(negotiation->in, negotiation->in + used, negotiation->len);
        session_send(session);
        break;
    case HANDSHAKE_PASSWORD:
        check_password(session, &handshake->login);
        break;
    case HANDSHAKE_REQUEST:
        stop_waiting(session);
        session_take_request(session, &handshake->request);
        break;
    case HANDSHAKE_FAILED:
        refuse(session, handshake->failure);
        break;
    }
}

/* The client has nothing more to say that we need; only the end counts. */
static void session_ignore_input(struct session *session)
{
    char scrap[4096];
    ssize_t n = recv(session->fd, scrap, sizeof(scrap), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    session_end(session, n == 0 ? "client closed" : "client gone", false);
}

/* Whoever leaves while we wait for something need not be waited for. What is there already may be followed by a
 * half-close, so then the answer decides. */
static void session_watch(struct session *session, const char *why_gone)
{
    char next;
    ssize_t n = recv(session->fd, &next, 1, MSG_PEEK);
    if (n > 0)
        event_del(&session->readable);
    else if (n == 0 || errno != EAGAIN)
        session_end(session, why_gone, false);
}

static void session_watch_checking(struct session *session)
{
    session_watch(session, "client gone while its password was checked");
}

static void session_watch_awaiting(struct session *session)
{
    session_watch(session, "client gone before its peer or the upstream's answer came");
}

static void say_outside_private_listener(struct env *env, const union netaddr *peer)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->untrusted_log, env_now(env), LOG_LEVEL_WARNING,
                "connection from %s closed: its address is public, and this listener is private and has no login; add "
                "users, or say auth: none and open: true (listen[]) to serve anybody",
                netaddr_format_host(peer, host));
}

/* Somebody from outside, led here by a router. */
static bool is_outside_private_listener(struct env *env, const union netaddr *peer,
                                        const struct config_listener *listener)
{
    if (!listener->private_only || reach_for(CONFIG_REACH_AUTO, peer) != CONFIG_REACH_PUBLIC)
        return false;
    metrics_add(&env->metrics.public_clients_refused_total, 1);
    say_outside_private_listener(env, peer);
    return true;
}

static bool admit(struct charges *charges, struct env *env, const union netaddr *peer,
                  const struct config_listener *listener)
{
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_OFF)
        return !is_outside_private_listener(env, peer, listener) && admit_connection(charges, env, peer);
    return proxy_header_trusts(env, listener, peer) && admit_balancer(charges, env, peer);
}

/* For the session that is to be; false: somebody else's would have to go, and none does. */
static bool find_descriptors(struct charges *charges, struct env *env, int *fd)
{
    if (shed_for_newcomer(env, charges->client) && (*fd = reserve_move(*fd)) >= 0)
        return true;
    metrics_add(&env->metrics.limited_descriptors_total, 1);
    admission_end(charges, env);
    return false;
}

/* One order for all workers' sessions: see session_list.h. */
static uint64_t session_next_id(struct host *host)
{
    return atomic_fetch_add_explicit(&host->last_session_id, 1, memory_order_relaxed) + 1;
}

void session_new(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener)
{
    struct charges charges;
    if (!admit(&charges, env, peer, listener) ||
        !find_descriptors(&charges, env, &fd)) { /* before anything is spent on it */
        if (fd >= 0)
            close(fd);
        return;
    }
    struct session *session = calloc(1, sizeof(*session));
    struct negotiation *negotiation = negotiation_new(listener);
    if (!session || !negotiation) {
        admission_end(&charges, env);
        free(session);
        free(negotiation);
        close(fd);
        return;
    }
    session->charges = charges;
    session->env = env;
    session->generation = env->generation;
    session->id = session_next_id(env->host);
    session->fd = fd;
    session->peer = *peer;
    session->started_ms = env_now(env);
    session->negotiation = negotiation;
    negotiation->session = session;
    negotiation->waits = true;
    TAILQ_INSERT_TAIL(&env->waiting, negotiation, link);
    event_assign(&session->readable, env->base, fd, EV_READ | EV_PERSIST, on_readable, session);
    TAILQ_INSERT_TAIL(&env->sessions, session, link);
    payer_join(session);
    session_enter(session, negotiation->origin == ORIGIN_BALANCER ? SESSION_AT_HEADER : SESSION_NEGOTIATING);
    env->open.sessions++;
    metrics_add(&env->metrics.sessions_total, 1);
}
