/* What a client asks for, from its request to the answer: a stream or an association. */
#include <errno.h>

#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/admission.h"
#include "proxy/session/advertised.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/payer.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/refusal.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"
#include "proxy/stream/stream.h"

/* ---- streams ---- */

/* BIND's first reply. Until the second only the end of the connection matters; what the client sends is for its peer.
 */
static void request_on_stream_listening(void *arg, const union netaddr *told)
{
    struct session *session = arg;
    struct socks5_addr wire = address_to_wire(told);
    handshake_listening(&session->negotiation->handshake, &wire);
    if (session_send(session))
        session_enter(session, SESSION_AWAITING);
}

static void request_on_stream_reached(void *arg, enum socks5_reply code, const union netaddr *bound)
{
    struct session *session = arg;
    struct metrics *metrics = &session->env->metrics;
    bool bind = stream_command(session->stream) == CONFIG_COMMAND_BIND;
    if (code != SOCKS5_REPLY_SUCCEEDED) {
        session_refuse(session, code, refusal_of_stream(session->stream, code));
        return;
    }
    const union netaddr told = bind ? *bound : address_readable_by(&session->peer, bound);
    if (!session_grant(session, &told))
        return;
    metrics_add(bind ? &metrics->binds_total : &metrics->connects_total, 1);
    stream_relay(session->stream, session->fd); /* first, so that epoll keeps watching `fd` */
    session_enter(session, SESSION_STREAMING);
}

static void request_on_stream_ended(void *arg, const char *why, bool broken)
{
    session_end(arg, why, broken);
}

static void request_begin_stream(struct session *session, enum config_command command,
                                 const struct socks5_addr *destination)
{
    const struct stream_hooks hooks = {request_on_stream_listening, request_on_stream_reached, request_on_stream_ended,
                                       session};
    if (command == CONFIG_COMMAND_BIND && !session->env->config->bind.enabled) {
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, "BIND is off (bind.enabled)");
        return;
    }
    const struct proxy_client client = session_client(session);
    session->stream = stream_new(session->env, command, &client, destination, &hooks);
    const struct negotiation_early early = negotiation_early(session->negotiation);
    if (!session->stream || (early.len && !stream_keep_early(session->stream, early.bytes, early.len))) {
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, "out of memory");
        return;
    }
    session_enter(session, SESSION_REACHING);
}

/* ---- associations ---- */

static struct shortage shortage_of_ports(const struct env *env)
{
    const struct port_place *place = &env->full_ports;
    return (struct shortage){.kind = SHORTAGE_PORTS, .option = place->range.option, .place = place};
}

/* Only associations hold ports; any session holds descriptors. */
static bool request_make_room(const struct session *session, int error)
{
    struct env *env = session->env;
    const struct shortage of_ports = shortage_of_ports(env), of_descriptors = shortage_of_error(-error);
    if (error == -EMFILE || error == -ENFILE)
        return shed_session(env, payer_account(session), &of_descriptors);
    return error == -EADDRINUSE && shed_idle(env, &of_ports);
}

/* Which of this host's addresses the client sends its datagrams to. */
static union netaddr request_relay_host(const struct session *session)
{
    bool has_header = session->negotiation->origin == ORIGIN_HEADER;
    return has_header ? proxy_header_relay(session->env, &session->peer) : sock_local(session->fd);
}

static void request_grant_assoc(struct session *session)
{
    const union netaddr *relay = &assoc_flow(session->assoc)->relay;
    const bool over_tcp = assoc_is_over_tcp(session->assoc);
    const union netaddr told = over_tcp ? *relay : advertised_relay(session->env, &session->peer, relay);
    if (!session_grant(session, &told))
        return;
    session_enter(session, over_tcp ? SESSION_FRAMED : SESSION_ASSOCIATED);
    assoc_start(session->assoc);
}

static void request_on_upstream_answered(void *arg, enum socks5_reply code)
{
    struct session *session = arg;
    if (code == SOCKS5_REPLY_SUCCEEDED)
        request_grant_assoc(session);
    else
        session_refuse(session, code, "no association: the upstream does not grant one, or has failed");
}

static void request_on_assoc_ended(void *arg, const char *why)
{
    session_end(arg, why, false);
}

static void request_on_assoc_lost_upstream(void *arg, const char *why)
{
    session_cut(arg, why);
}

static int request_open_assoc(struct session *session, const struct socks5_request *request, const union netaddr *local)
{
    const struct proxy_client client = session_client(session);
    if (request->command != SOCKS5_COMMAND_UDP_IN_TCP)
        return assoc_new(&session->assoc, session->env, &client, local, &request->destination);
    const struct negotiation_early early = negotiation_early(session->negotiation);
    const struct assoc_hooks hooks = {request_on_assoc_ended, session};
    return assoc_new_over_tcp(&session->assoc, session->env, &client, session->fd, early.bytes, early.len, &hooks);
}

static void request_refuse_assoc(struct session *session, int error)
{
    char why[SHORTAGE_TEXT_MAX];
    const struct shortage of_ports = shortage_of_ports(session->env);
    if (error == EADDRINUSE)
        metrics_add(&session->env->metrics.associations_without_port_total, 1);
    session_refuse(session, error == EACCES ? SOCKS5_REPLY_NOT_ALLOWED : SOCKS5_REPLY_GENERAL_FAILURE,
                   refusal_of_assoc(error, &of_ports, why));
}

static void request_begin_assoc(struct session *session, const struct socks5_request *request)
{
    struct env *env = session->env;
    const bool over_tcp = request->command == SOCKS5_COMMAND_UDP_IN_TCP;
    if (!env->config->udp.enabled || (over_tcp && !env->config->udp.over_tcp)) {
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED,
                       env->config->udp.enabled ? "UDP over TCP is off (udp.over_tcp)" : "UDP is off (udp.enabled)");
        return;
    }
    const char *short_of = admit_association(&session->charges, env, &session->peer, session_user_name(session->user));
    if (short_of) {
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, short_of);
        return;
    }
    const union netaddr local = over_tcp ? sock_local(session->fd) : request_relay_host(session);
    if (local.sa.sa_family == AF_UNSPEC) {
        session_refuse(session, SOCKS5_REPLY_NETWORK_UNREACHABLE,
                       "no association: this host has no route to the client that the PROXY protocol header names");
        return;
    }
    int error = request_open_assoc(session, request, &local);
    for (int i = 0; i < MAKE_ROOM_MAX && request_make_room(session, error); i++)
        error = request_open_assoc(session, request, &local);
    if (error) {
        request_refuse_assoc(session, -error);
        return;
    }
    assoc_set_review(session->assoc, session_may_go_on, session);
    const struct assoc_upstream_hooks hooks = {request_on_upstream_answered, request_on_assoc_lost_upstream, session};
    if (!assoc_expect_upstream(session->assoc, &hooks)) {
        request_grant_assoc(session);
        return;
    }
    session_enter(session, SESSION_AWAITING);
}

/* ---- the request ---- */

void session_take_request(struct session *session, const struct socks5_request *request)
{
    const char *short_of = admit_request(&session->charges, session->env, &session->peer, session->user);
    if (short_of) {
        session_refuse(session, SOCKS5_REPLY_NOT_ALLOWED, short_of);
        return;
    }
    payer_join(session); /* from here on its user pays */
    if (!shed_for_newcomer(session->env, payer_account(session))) {
        metrics_add(&session->env->metrics.limited_descriptors_total, 1);
        session_refuse(session, SOCKS5_REPLY_GENERAL_FAILURE, "descriptors are short (ulimit -n)");
        return;
    }
    switch (request->command) {
    case SOCKS5_COMMAND_CONNECT:
        request_begin_stream(session, CONFIG_COMMAND_CONNECT, &request->destination);
        break;
    case SOCKS5_COMMAND_BIND:
        request_begin_stream(session, CONFIG_COMMAND_BIND, &request->destination);
        break;
    case SOCKS5_COMMAND_UDP_ASSOCIATE:
    case SOCKS5_COMMAND_UDP_IN_TCP:
        request_begin_assoc(session, request);
        break;
    default:
        session_refuse(session, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, "command not supported");
    }
}
