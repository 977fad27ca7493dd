#include "proxy/session.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "proxy/address.h"
#include "proxy/advertised.h"
#include "proxy/announced.h"
#include "proxy/assoc.h"
#include "proxy/login.h"
#include "proxy/record.h"
#include "proxy/session_impl.h"
#include "proxy/stream.h"

/* ---- the end ---- */

static void log_end(const struct session *session, const char *why)
{
    struct env *env = session->env;
    uint64_t now = env_now(env);
    uint32_t held_back = 0;
    bool stranger = !session->user && session->reply == SOCKS5_REPLY_NOT_ALLOWED;
    bool asked = (session->stream || session->assoc) && !stranger;
    /* Whoever did not get as far as a request, or has none granted without a login, may be anybody, as often as he
     * likes. */
    if (!log_enabled(LOG_LEVEL_INFO) || (!asked && !log_limit_pass(&env->strangers_log, now, &held_back)))
        return;
    const struct record record = {
        .client = &session->peer,
        .user = session->user,
        .assoc = session->assoc,
        .stream = session->stream,
        .reply = session->reply,
        .lasted_ms = now - session->started_ms,
        .why = why,
        .held_back = held_back,
    };
    record_log(&record);
    if (session->assoc)
        advertised_review(env, &session->peer, assoc_flow(session->assoc));
}

static void stop_waiting(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation->session)
        return;
    TAILQ_REMOVE(&session->env->waiting, negotiation, link);
    negotiation->session = NULL;
}

static void drop_negotiation(struct session *session)
{
    if (!session->negotiation)
        return;
    stop_waiting(session);
    if (session->negotiation->login)
        login_cancel(session->negotiation->login);
    explicit_bzero(session->negotiation->in, session->negotiation->size); /* a password may have been on its way */
    free(session->negotiation);
    session->negotiation = NULL;
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
    session->state = SESSION_ENDED;
    event_del(&session->readable);
    drop_negotiation(session);
    stream_free(session->stream);
    assoc_free(session->assoc);
    session->stream = NULL;
    session->assoc = NULL;
    if (abort)
        sock_abort(session->fd);
    else
        close(session->fd);
    admission_end(&session->admission, env);
    TAILQ_REMOVE(&env->sessions, session, link);
    TAILQ_INSERT_TAIL(&env->ended, session, link);
    event_active(&env->reaper, EV_TIMEOUT, 0);
}

/* What was queued in the handshake goes out now. It is a few bytes on a fresh socket: they fit, or the client is gone.
 */
static bool send_output(struct session *session)
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
    if (!send_output(session))
        return;
    log_end(session, why);
    drop_negotiation(session);
    admission_refused(&session->admission, session->env);
    stream_free(session->stream);
    session->stream = NULL;
    shutdown(session->fd, SHUT_WR);
    session->state = SESSION_LINGERING;
    session->started_ms = env_now(session->env);
    event_add(&session->readable, NULL);
}

void session_refuse(struct session *session, enum socks5_reply code, const char *why)
{
    session->reply = code;
    metrics_add(&session->env->metrics.requests_refused_total, 1);
    handshake_reply(&session->negotiation->handshake, (uint8_t)code, NULL);
    refuse(session, why);
}

/* Answers "succeeded"; from here on the session is what it was asked to be. */
static bool grant(struct session *session, const union netaddr *bound)
{
    struct socks5_addr wire = address_to_wire(bound);
    handshake_reply(&session->negotiation->handshake, SOCKS5_REPLY_SUCCEEDED, &wire);
    session->granted = true;
    if (!send_output(session))
        return false;
    drop_negotiation(session);
    return true;
}

/* ---- requests ---- */

/* Some clients read ten bytes whatever is said: over IPv4 an address is IPv4, or only a port. */
static union netaddr readable(const struct session *session, const union netaddr *bound)
{
    if (session->peer.sa.sa_family != AF_INET || bound->sa.sa_family == AF_INET)
        return *bound;
    union netaddr port_only = netaddr_any(AF_INET);
    netaddr_set_port(&port_only, netaddr_port(bound));
    return port_only;
}

/* BIND's first answer. Until the second only the client's end counts; what it says meanwhile is for its peer. */
static void on_stream_listening(void *arg, const union netaddr *told)
{
    struct session *session = arg;
    struct socks5_addr wire = address_to_wire(told);
    handshake_listening(&session->negotiation->handshake, &wire);
    if (send_output(session))
        event_add(&session->readable, NULL);
}

static void on_stream_reached(void *arg, enum socks5_reply code)
{
    struct session *session = arg;
    struct metrics *metrics = &session->env->metrics;
    bool bind = stream_command(session->stream) == CONFIG_COMMAND_BIND;
    event_del(&session->readable);
    if (code != SOCKS5_REPLY_SUCCEEDED) {
        session_refuse(session, code, record_refusal(session->stream, code));
        return;
    }
    union netaddr local = stream_local(session->stream), remote = stream_remote(session->stream);
    const union netaddr told = bind ? remote : readable(session, &local);
    if (!grant(session, &told))
        return;
    metrics_add(bind ? &metrics->binds_total : &metrics->connects_total, 1);
    session->state = SESSION_STREAMING;
    stream_relay(session->stream, session->fd);
}

static void on_stream_ended(void *arg, const char *why, bool broken)
{
    session_end(arg, why, broken);
}

static void begin_stream(struct session *session, enum config_command command, const struct socks5_addr *destination)
{
    const struct stream_hooks hooks = {on_stream_listening, on_stream_reached, on_stream_ended, session};
    if (command == CONFIG_COMMAND_BIND && !session->env->config->bind.enabled) {
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, "BIND is off (bind.enabled)");
        return;
    }
    event_del(&session->readable);
    session->stream = stream_new(session->env, command, &session->peer, session->user, destination, &hooks);
    if (session->stream)
        session->state = SESSION_REACHING;
    else
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, "out of memory");
}

/* Ports are what associations alone hold; any connection has a descriptor. */
static bool make_room_for_assoc(struct env *env, int error)
{
    bool descriptors = error == -EMFILE || error == -ENFILE;
    if (descriptors && sessions_shed_handshake(env))
        return true;
    return (descriptors || error == -EADDRINUSE) && sessions_shed(env, NULL);
}

/* Which of this host's addresses the client sends its datagrams to. */
static union netaddr relay_host(const struct session *session)
{
    bool announced = session->negotiation->origin == ORIGIN_ANNOUNCED;
    return announced ? announced_relay(session->env, &session->peer) : sock_local(session->fd);
}

static void grant_assoc(struct session *session)
{
    const union netaddr *relay = &assoc_flow(session->assoc)->relay;
    const bool over_tcp = assoc_is_over_tcp(session->assoc);
    const union netaddr told = over_tcp ? *relay : advertised_relay(session->env, &session->peer, relay);
    if (!grant(session, &told))
        return;
    session->state = SESSION_ASSOCIATED;
    if (over_tcp)
        event_del(&session->readable);
}

static void on_upstream_answered(void *arg, enum socks5_reply code)
{
    struct session *session = arg;
    if (code == SOCKS5_REPLY_SUCCEEDED) {
        event_add(&session->readable, NULL);
        grant_assoc(session);
        return;
    }
    assoc_free(session->assoc);
    session->assoc = NULL;
    session_refuse(session, code, "no association: the upstream does not grant one, or has failed");
}

static void on_assoc_ended(void *arg, const char *why)
{
    session_end(arg, why, false);
}

static int open_assoc(struct session *session, const struct socks5_request *request, const union netaddr *local)
{
    if (request->command != SOCKS5_COMMAND_UDP_IN_TCP)
        return assoc_new(&session->assoc, session->env, &session->peer, session->user, local, &request->destination);
    const struct assoc_hooks hooks = {on_assoc_ended, session};
    return assoc_new_over_tcp(&session->assoc, session->env, &session->peer, session->user, local, session->fd, &hooks);
}

static void begin_assoc(struct session *session, const struct socks5_request *request)
{
    struct env *env = session->env;
    const bool over_tcp = request->command == SOCKS5_COMMAND_UDP_IN_TCP;
    if (!env->config->udp.enabled || (over_tcp && !env->config->udp.over_tcp)) {
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED,
                       env->config->udp.enabled ? "UDP over TCP is off (udp.over_tcp)" : "UDP is off (udp.enabled)");
        return;
    }
    const char *short_of = admit_association(&session->admission, env, &session->peer, session->user);
    if (short_of) {
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, short_of);
        return;
    }
    const union netaddr local = over_tcp ? sock_local(session->fd) : relay_host(session);
    if (local.sa.sa_family == AF_UNSPEC) {
        session_refuse(session, SOCKS5_REPLY_NETWORK_UNREACHABLE,
                       "no association: no route leads from here to the client, whom a balancer announced");
        return;
    }
    int error;
    do
        error = open_assoc(session, request, &local);
    while (make_room_for_assoc(env, error));
    if (error == -EACCES) {
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, "the rules leave this client no destination");
        return;
    }
    if (error) {
        char why[128];
        bool no_port = error == -EADDRINUSE;
        snprintf(why, sizeof(why), "no association: %s",
                 no_port           ? "no port is free (udp.ports, udp.external_ports, udp.port_rest)"
                 : error == -EBUSY ? "another program has the port (udp.ports)"
                                   : strerror(-error));
        metrics_add(&env->metrics.associations_without_port_total, no_port);
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, why);
        return;
    }
    const struct assoc_outlet_hooks hooks = {on_upstream_answered, on_assoc_ended, session};
    if (assoc_awaits_upstream(session->assoc, &hooks))
        session->state = SESSION_REACHING;
    else
        grant_assoc(session);
}

static void take_request(struct session *session, const struct socks5_request *request)
{
    stop_waiting(session);
    const char *short_of = admit_request(&session->admission, session->env, &session->peer, session->user);
    if (short_of) {
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, short_of);
        return;
    }
    switch (request->command) {
    case SOCKS5_COMMAND_CONNECT:
        begin_stream(session, CONFIG_COMMAND_CONNECT, &request->destination);
        break;
    case SOCKS5_COMMAND_BIND:
        begin_stream(session, CONFIG_COMMAND_BIND, &request->destination);
        break;
    case SOCKS5_COMMAND_UDP_ASSOCIATE:
    case SOCKS5_COMMAND_UDP_IN_TCP:
        begin_assoc(session, request);
        break;
    default:
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, "command not supported");
    }
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
    if (outcome != LOGIN_RIGHT) {
        refuse(session, refusals[outcome]);
    } else if (send_output(session)) {
        session->state = SESSION_NEGOTIATING;
        event_add(&session->readable, NULL);
    }
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
    session->user = strndup((const char *)given->user, given->user_len);
    enum login_outcome outcome = LOGIN_BUSY;
    if (session->user)
        outcome = login_begin(&negotiation->login, session->env, &session->peer, given, on_login_checked, session);
    explicit_bzero(negotiation->in, negotiation->size);
    if (outcome != LOGIN_PENDING) {
        finish_login(session, outcome);
        return;
    }
    session->state = SESSION_CHECKING;
    send_output(session);
}

/* ---- input ---- */

static void negotiate(struct session *session)
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
        send_output(session);
        break;
    case HANDSHAKE_PASSWORD:
        check_password(session, &handshake->login);
        break;
    case HANDSHAKE_REQUEST:
        take_request(session, &handshake->request);
        break;
    case HANDSHAKE_FAILED:
        refuse(session, handshake->failure);
        break;
    }
}

/* The client has nothing more to say that we need; only the end counts. */
static void ignore_input(struct session *session)
{
    char scrap[4096];
    ssize_t n = recv(session->fd, scrap, sizeof(scrap), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    session_end(session, n == 0 ? "client closed" : "client gone", false);
}

/* Whoever leaves while we wait for something need not be waited for. What is there already may be followed by a
 * half-close, so then the answer decides. */
static void watch(struct session *session, const char *why_gone)
{
    char next;
    ssize_t n = recv(session->fd, &next, 1, MSG_PEEK);
    if (n > 0)
        event_del(&session->readable);
    else if (n == 0 || errno != EAGAIN)
        session_end(session, why_gone, false);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct session *session = arg;
    if (session->state == SESSION_ANNOUNCING)
        announced_hear(session);
    else if (session->state == SESSION_NEGOTIATING)
        negotiate(session);
    else if (session->state == SESSION_CHECKING)
        watch(session, "client gone while its password was checked");
    else if (session->state == SESSION_REACHING)
        watch(session, "client gone before its peer or the upstream's answer came");
    else
        ignore_input(session);
}

static void say_not_at_home(struct env *env, const union netaddr *peer)
{
    char host[NETADDR_TEXT_MAX], more[64] = "";
    uint32_t held_back;
    if (!log_enabled(LOG_LEVEL_WARNING) || !log_limit_pass(&env->untrusted_log, env_now(env), &held_back))
        return;
    if (held_back)
        snprintf(more, sizeof(more), " (%" PRIu32 " similar lines held back)", held_back);
    log_warning("connection from %s closed: its address is public, and this listener is private and has no login; add "
                "users, or say auth: none and open: true (listen[]) to serve anybody%s",
                netaddr_format_host(peer, host), more);
}

/* Somebody from outside, led here by a router. */
static bool is_not_at_home(struct env *env, const union netaddr *peer, const struct config_listener *listener)
{
    if (!listener->private_only || reach_for(CONFIG_REACH_AUTO, peer) != CONFIG_REACH_PUBLIC)
        return false;
    metrics_add(&env->metrics.public_clients_refused_total, 1);
    say_not_at_home(env, peer);
    return true;
}

static bool admit(struct admission *admission, struct env *env, const union netaddr *peer,
                  const struct config_listener *listener)
{
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_OFF)
        return !is_not_at_home(env, peer, listener) && admit_connection(admission, env, peer);
    return announced_trusts(env, listener, peer) && admit_balancer(admission, env, peer);
}

void session_new(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener)
{
    struct admission admission;
    if (!admit(&admission, env, peer, listener)) { /* before anything is spent on it */
        close(fd);
        return;
    }
    struct session *session = calloc(1, sizeof(*session));
    struct negotiation *negotiation = negotiation_new(listener);
    if (!session || !negotiation) {
        admission_end(&admission, env);
        free(session);
        free(negotiation);
        close(fd);
        return;
    }
    session->admission = admission;
    session->env = env;
    session->fd = fd;
    session->state = negotiation->origin == ORIGIN_BALANCER ? SESSION_ANNOUNCING : SESSION_NEGOTIATING;
    session->peer = *peer;
    session->started_ms = env_now(env);
    session->negotiation = negotiation;
    negotiation->session = session;
    TAILQ_INSERT_TAIL(&env->waiting, negotiation, link);
    event_assign(&session->readable, env->base, fd, EV_READ | EV_PERSIST, on_readable, session);
    event_add(&session->readable, NULL);
    TAILQ_INSERT_TAIL(&env->sessions, session, link);
    metrics_add(&env->metrics.sessions_total, 1);
}
