#include "proxy/session/accept.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "host/host.h"
#include "net/reserve.h"
#include "policy/reach.h"
#include "proxy/session/admission.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/payer.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/shed.h"

static void log_outside_private_listener(struct env *env, const union netaddr *peer)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->untrusted_log, env_now(env), LOG_LEVEL_WARNING,
                "connection from %s closed: its address is public, and this listener is private and has no login; add "
                "users, or set auth: none and open: true (listen[]) to serve everybody",
                netaddr_format_host(peer, host));
}

/* A router may forward connections from the internet to a private listener. */
static bool is_outside_private_listener(struct env *env, const union netaddr *peer,
                                        const struct config_listener *listener)
{
    if (!listener->private_only || reach_for(CONFIG_REACH_AUTO, peer) != CONFIG_REACH_PUBLIC)
        return false;
    metrics_add(&env->metrics.public_clients_refused_total, 1);
    log_outside_private_listener(env, peer);
    return true;
}

static bool accept_admits(struct charges *charges, struct env *env, const union netaddr *peer,
                          const struct config_listener *listener)
{
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_OFF)
        return !is_outside_private_listener(env, peer, listener) && admit_connection(charges, env, peer);
    return proxy_header_trusts(env, listener, peer) && admit_balancer(charges, env, peer);
}

/* Makes room for the new session's descriptors. false: no other session can be ended for it. */
static bool accept_has_descriptors(const struct charges *charges, struct env *env, int *fd)
{
    if (shed_for_newcomer(env, charges->client) && (*fd = reserve_move(env->host->reserve, *fd)) >= 0)
        return true;
    metrics_add(&env->metrics.limited_descriptors_total, 1);
    return false;
}

/* One order for all workers' sessions: see session_list.h. */
static uint64_t session_next_id(struct host *host)
{
    return atomic_fetch_add_explicit(&host->last_session_id, 1, memory_order_relaxed) + 1;
}

/* Takes over `fd` and what it has been charged for. false: no memory, and both stay the caller's. */
static bool session_new(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener,
                        const struct charges *charges)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return false;
    session->env = env;
    session->peer = *peer;
    session->negotiation = negotiation_new(session, listener);
    if (!session->negotiation) {
        free(session);
        return false;
    }
    assert(fd >= 0 && charges->taken);
    session->charges = *charges;
    session->generation = env->generation;
    session->id = session_next_id(env->host);
    session->fd = fd;
    session->started_ms = env_now(env);
    /* EV_CLOSED: as the stream will watch it, so that epoll need not be told again. */
    event_assign(&session->readable, env->base, fd, EV_READ | EV_CLOSED | EV_PERSIST, session_on_readable, session);
    TAILQ_INSERT_TAIL(&env->sessions, session, link);
    payer_join(session);
    session_enter(session, session->negotiation->origin == ORIGIN_BALANCER ? SESSION_AT_HEADER : SESSION_NEGOTIATING);
    env->open.sessions++;
    metrics_add(&env->metrics.sessions_total, 1);
    return true;
}

void accept_session(struct env *env, int fd, const union netaddr *peer, const struct config_listener *listener)
{
    struct charges charges = {0};
    /* In this order: a connection that is refused costs least. */
    if (accept_admits(&charges, env, peer, listener) && accept_has_descriptors(&charges, env, &fd) &&
        session_new(env, fd, peer, listener, &charges))
        return;
    admission_end(&charges, env);
    if (fd >= 0)
        close(fd);
}
