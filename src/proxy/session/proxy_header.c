#include "proxy/session/proxy_header.h"

#include <assert.h>
#include <stdio.h>

#define LOG_MODULE "proxy_header"
#include "base/log.h"
#include "net/sock.h"
#include "proxy/session/admission.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/payer.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "wire/proxyproto.h"

static void proxy_header_count(struct env *env)
{
    metrics_add(&env->metrics.proxy_protocol_refused_total, 1);
}

/* ---- before a byte ---- */

static void proxy_header_log_untrusted(struct env *env, const union netaddr *peer)
{
    char host[NETADDR_TEXT_MAX];
    LOG_LIMITED(&env->untrusted_log, env_now(env), LOG_LEVEL_INFO,
                "connection from %s closed: only the balancers in listen[].proxy_from may connect here",
                netaddr_format_host(peer, host));
}

bool proxy_header_is_balancer(const struct config_listener *listener, const union netaddr *peer)
{
    for (size_t i = 0; i < listener->proxy_from_count; i++)
        if (config_network_contains(&listener->proxy_from[i], peer))
            return true;
    return false;
}

bool proxy_header_trusts(struct env *env, const struct config_listener *listener, const union netaddr *peer)
{
    if (proxy_header_is_balancer(listener, peer))
        return true;
    proxy_header_count(env);
    proxy_header_log_untrusted(env, peer);
    return false;
}

/* ---- the header ---- */

static const char *proxy_header_failure(int error)
{
    switch (error) {
    case PROXYPROTO_E_SIGNATURE:
        return "no PROXY protocol header: does the balancer send one (listen[].proxy_protocol)?";
    case PROXYPROTO_E_LONG:
        return "PROXY protocol header too long";
    default:
        return "malformed PROXY protocol header";
    }
}

static int proxy_header_read(const uint8_t *in, size_t len, union netaddr *client)
{
    struct proxyproto header;
    int used = proxyproto_decode(in, len, &header);
    *client = (union netaddr){0};
    if (used > 0 && header.announced) {
        *client = netaddr_from_bytes(header.source.host, header.source.host_len, header.source.port);
        netaddr_unmap(client);
    }
    return used;
}

static void proxy_header_refuse(struct session *session, const char *why)
{
    proxy_header_count(session->env);
    session_end(session, why, false);
}

/* A header can only make a client trusted; where it names none, the balancer speaks for anybody. */
static bool proxy_header_is_trusted(const struct session *session)
{
    const struct proxy_client client = session_client(session);
    const struct config_listener *listener = client_listener(session->env, &client);
    return listener && config_listener_trusts(listener, &session->peer);
}

/* From here on limits and rules are applied to the client, no longer to the balancer. false: its session has ended. */
static bool proxy_header_use_client(struct session *session, const union netaddr *client)
{
    assert(session->negotiation->origin == ORIGIN_BALANCER && !session->charges.client);
    payer_leave(session);
    /* In version 1 a balancer can only say that it speaks for itself by naming its own address and port. */
    if (client->sa.sa_family != AF_UNSPEC && !netaddr_equal(client, &session->peer)) {
        session->peer = *client;
        session->negotiation->origin = ORIGIN_HEADER;
        session->negotiation->handshake.trusted = proxy_header_is_trusted(session);
    }
    session_enter(session, SESSION_NEGOTIATING);
    if (!admit_client(&session->charges, session->env, &session->peer)) {
        session_end(session, session->env->refusal, false);
        return false;
    }
    payer_join(session);
    return true;
}

void proxy_header_on_input(struct session *session)
{
    struct negotiation *negotiation = session->negotiation;
    if (!negotiation_read(session))
        return;
    union netaddr client;
    int used = proxy_header_read(negotiation->in, negotiation->len, &client);
    if (used < 0) {
        proxy_header_refuse(session, proxy_header_failure(used));
        return;
    }
    negotiation_drop(negotiation, (size_t)used);
    if (used && proxy_header_use_client(session, &client) && negotiation->len)
        negotiation_advance(session);
}

/* ---- datagrams ---- */

union netaddr proxy_header_relay(const struct env *env, const union netaddr *client)
{
    const struct policy *policy = &env->policy;
    union netaddr relay = *policy_advertised(policy, client);
    /* The advertised address may be a router's, which forwards datagrams to us; they arrive where our answers leave. */
    if (relay.sa.sa_family == AF_UNSPEC || !own_hosts_contain(policy->own_hosts, &relay))
        relay = sock_source_for(client, NULL);
    netaddr_set_port(&relay, 0);
    return relay;
}

/* ---- the client ---- */

struct proxy_client session_client(const struct session *session)
{
    return (struct proxy_client){session->peer, sock_local(session->fd), sock_interface(session->fd),
                                 session_user_name(session->user)};
}
