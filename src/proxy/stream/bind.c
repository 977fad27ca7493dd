#include "proxy/stream/bind.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "bind"
#include "base/log.h"
#include "net/acceptor.h"
#include "net/reserve.h"
#include "net/sock.h"
#include "policy/terms.h"
#include "proxy/address.h"
#include "proxy/client_terms.h"
#include "proxy/egress.h"
#include "proxy/env.h"
#include "proxy/permit.h"
#include "proxy/session/advertised.h"

struct bind {
    struct env *env;
    struct subject *subject;
    const struct proxy_client *client;
    union netaddr from;     /* as asked for */
    union netaddr expected; /* canonical; AF_UNSPEC: any peer that policy allows */
    union netaddr told;
    int listener;
    struct port_lease port;
    struct event acceptable, expired;
    bind_done *done;
    void *arg;
};

/* ---- the peer ---- */

static void bind_log_stranger(struct bind *bind, const union netaddr *peer)
{
    char client[NETADDR_TEXT_MAX], from[NETADDR_TEXT_MAX], expected[NETADDR_TEXT_MAX];
    struct env *env = bind->env;
    netaddr_format_host(&bind->subject->client, client);
    if (env->config->log.destinations)
        LOG_LIMITED(&env->strangers_log, env_now(env), LOG_LEVEL_INFO,
                    "client=%s: %s connected to its BIND port, closed: the client expects %s only", client,
                    netaddr_format(peer, from), netaddr_format_host(&bind->expected, expected));
    else
        LOG_LIMITED(&env->strangers_log, env_now(env), LOG_LEVEL_INFO,
                    "client=%s: another peer than expected connected to its BIND port, closed", client);
}

static bool bind_is_welcome(struct bind *bind, const union netaddr *peer)
{
    const union netaddr canonical = netaddr_canonical(peer);
    if (bind->expected.sa.sa_family == AF_UNSPEC || netaddr_equal_host(&canonical, &bind->expected))
        return permit_renew(bind->env, bind->subject, bind->client) &&
               permit(bind->env, bind->subject, NULL, peer, 1, NULL);
    bind_log_stranger(bind, peer);
    return false;
}

static void bind_on_acceptable(evutil_socket_t listener, short what, void *arg)
{
    (void)what;
    struct bind *bind = arg;
    union netaddr peer;
    int fd = reserve_keep(bind->env->host->reserve, sock_accept(listener, &peer));
    if (fd < 0 && acceptor_is_short(-fd)) { /* what waits would wake us again and again */
        metrics_add(&bind->env->metrics.accept_failed_total, 1);
        bind->done(bind->arg, fd, NULL, SOCKS5_REPLY_GENERAL_FAILURE);
    } else if (fd >= 0 && bind_is_welcome(bind, &peer)) {
        bind->done(bind->arg, fd, &peer, SOCKS5_REPLY_SUCCEEDED);
    } else if (fd >= 0) {
        metrics_add(&bind->env->metrics.bind_strangers_total, 1);
        sock_abort(fd);
    }
}

static void bind_on_expired(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct bind *bind = arg;
    bind->done(bind->arg, -ETIMEDOUT, NULL, SOCKS5_REPLY_TTL_EXPIRED);
}

/* ---- the port ---- */

/* Where the peer finds us: where our own connections to it would come from. `from` is the peer's address, or one of
 * ours that the client has got to know, or none. */
static union netaddr bind_local_address(const struct env *env, const struct terms *terms, const union netaddr *from)
{
    const union netaddr canonical = netaddr_canonical(from);
    const union netaddr *wanted = from->sa.sa_family == AF_INET ? &terms->address_v4 : &terms->address_v6;
    if (wanted->sa.sa_family != AF_UNSPEC)
        return *wanted;
    if (own_hosts_contain(env->policy.own_hosts, &canonical))
        return *from;
    if (netaddr_is_any(from) || policy_is_own(&env->policy, &canonical))
        return sock_default_source(from->sa.sa_family);
    return sock_source_for(from, NULL);
}

/* It does not rest: TCP keeps strangers' old segments apart by itself. */
static void bind_close_port(struct bind *bind, int fd)
{
    const struct port_range range = env_bind_ports(bind->env);
    close(fd);
    ports_release(&range, &bind->port, 0, env_now(bind->env));
}

static enum socks5_reply bind_listen(struct bind *bind, const struct terms *terms, int *error)
{
    struct port_range range = env_bind_ports(bind->env);
    range.from_network = terms->from_network;
    union netaddr local = bind_local_address(bind->env, terms, &bind->from);
    if (local.sa.sa_family == AF_UNSPEC)
        return address_reply_of(errno);
    int fd = sock_listen_within(bind->env->host->reserve, &local, &range, env_now(bind->env), &bind->port);
    const struct sock_egress egress = egress_of(terms);
    int failed = fd < 0 ? fd : sock_set_egress(fd, local.sa.sa_family, &egress);
    if (fd == -EADDRINUSE)
        metrics_add(&bind->env->metrics.binds_without_port_total, 1);
    if (failed) {
        if (fd >= 0)
            bind_close_port(bind, fd);
        *error = -failed;
        return SOCKS5_REPLY_GENERAL_FAILURE;
    }
    bind->listener = fd; /* what it accepts leaves the same way */
    bind->told = advertised_address(&bind->env->policy, &local);
    return SOCKS5_REPLY_SUCCEEDED;
}

/* Whether to ask for a connection at all; the one that comes is judged by itself, with the port that it comes from.
 * `rule` is what its terms come from. */
static bool bind_may_listen(const struct bind *bind, uint32_t *rule)
{
    if (bind->expected.sa.sa_family != AF_UNSPEC)
        return permit_any_port(bind->env, bind->subject, &bind->from, rule);
    return permit_any(bind->env, bind->subject, false);
}

static enum socks5_reply bind_open_port(struct bind *bind, int *error)
{
    const union netaddr canonical = netaddr_canonical(&bind->from);
    if (!netaddr_is_any(&canonical) && !policy_is_own(&bind->env->policy, &canonical))
        bind->expected = canonical;
    uint32_t rule = rules_find_everywhere(bind->subject);
    if (!bind_may_listen(bind, &rule))
        return SOCKS5_REPLY_NOT_ALLOWED;
    const struct terms terms = client_terms(bind->env, bind->subject, rule, bind->client);
    if (terms.upstream)
        return SOCKS5_REPLY_COMMAND_NOT_SUPPORTED; /* what is to leave elsewhere does not leave here */
    return bind_listen(bind, &terms, error);
}

enum socks5_reply bind_new(struct bind **made, struct env *env, struct subject *subject,
                           const struct proxy_client *client, const union netaddr *from, bind_done *done, void *arg,
                           int *error)
{
    assert(subject->command == CONFIG_COMMAND_BIND);
    struct bind *bind = calloc(1, sizeof(*bind));
    if (!bind)
        return SOCKS5_REPLY_GENERAL_FAILURE;
    *bind = (struct bind){.env = env, .subject = subject, .client = client, .from = *from, .done = done, .arg = arg};
    enum socks5_reply code = bind_open_port(bind, error);
    if (code != SOCKS5_REPLY_SUCCEEDED) {
        free(bind);
        return code;
    }
    const struct timeval timeout = timeval_from_ms(env->config->bind.timeout_ms);
    event_assign(&bind->acceptable, env->base, bind->listener, EV_READ | EV_PERSIST, bind_on_acceptable, bind);
    event_assign(&bind->expired, env->base, -1, 0, bind_on_expired, bind);
    event_add(&bind->acceptable, NULL);
    event_add(&bind->expired, &timeout);
    *made = bind;
    return SOCKS5_REPLY_SUCCEEDED;
}

void bind_free(struct bind *bind)
{
    if (!bind)
        return;
    assert(bind->listener >= 0);
    event_del(&bind->acceptable);
    event_del(&bind->expired);
    bind_close_port(bind, bind->listener);
    free(bind);
}

bool bind_review(struct bind *bind)
{
    return bind_may_listen(bind, NULL);
}

union netaddr bind_told(const struct bind *bind)
{
    return bind->told;
}
