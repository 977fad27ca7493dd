#include "proxy/session/review.h"

#include "net/sock.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/proxy_header.h"
#include "proxy/stream/stream.h"

#define NO_LONGER "no longer allowed by the configuration: "

/* How closely a listener fits the address that a connection came to; 0: not at all. "::" takes IPv4 as well. */
static int fits(const union netaddr *listener, const union netaddr *local)
{
    if (netaddr_equal(listener, local))
        return 3;
    if (!netaddr_is_any(listener) || netaddr_port(listener) != netaddr_port(local))
        return 0;
    return listener->sa.sa_family == local->sa.sa_family ? 2 : listener->sa.sa_family == AF_INET6;
}

/* Which listener takes what comes to `local`; NULL: it is gone. */
static const struct config_listener *find_listener(const struct config *config, const union netaddr *local)
{
    int closest = 0;
    const struct config_listener *found = NULL;
    for (size_t i = 0; i < config->listen_count; i++) {
        int fit = fits(&config->listen[i].address, local);
        if (fit <= closest)
            continue;
        closest = fit;
        found = &config->listen[i];
    }
    return found;
}

/* What the listener asks of every connection. One that is gone asks for nothing. */
static const char *review_listener(const struct config *config, const struct reviewed *session)
{
    const union netaddr local = sock_local(session->fd), peer = sock_peer(session->fd);
    const struct config_listener *listener = find_listener(config, &local);
    if (!listener)
        return NULL;
    if (!session->user && !session->logs_in && listener->need_password)
        return NO_LONGER "this listener asks for a login";
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED && !proxy_header_is_balancer(listener, &peer))
        return NO_LONGER "this listener serves its balancers only (listen[].proxy_from)";
    return NULL;
}

const char *review(struct env *env, const struct snapshot *before, const struct reviewed *session)
{
    const char *why = review_listener(env->config, session);
    if (why)
        return why;
    if (session->user && !users_agree(&before->users, &env->snapshot->users, session->user))
        return NO_LONGER "its user is gone, or has another password";
    if (session->assoc && !env->config->udp.enabled)
        return NO_LONGER "UDP is off (udp.enabled)";
    if (session->assoc && assoc_is_over_tcp(session->assoc) && !env->config->udp.over_tcp)
        return NO_LONGER "UDP over TCP is off (udp.over_tcp)";
    if (session->assoc && !assoc_review(session->assoc))
        return NO_LONGER "the rules leave this association no destination";
    if (session->stream && stream_command(session->stream) == CONFIG_COMMAND_BIND && !env->config->bind.enabled)
        return NO_LONGER "BIND is off (bind.enabled)";
    if (session->stream && !stream_review(session->stream, session->user))
        return NO_LONGER "its destination is denied";
    return NULL;
}
