#include "proxy/upstream/upstream.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "upstream"
#include "base/log.h"
#include "net/dial.h"
#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/egress.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "wire/client_handshake.h"

struct upstream {
    struct env *env;
    struct snapshot *snapshot; /* what `settings` is a part of; NULL: that lives long enough */
    const struct config_upstream *settings;
    struct sock_way ways[FAMILY_COUNT];
    struct lookup *lookup; /* of its name; NULL: not under way */
    struct dial *dial;
    bool is_own; /* an address of it is a listener of ours */
    int fd;      /* -1: not connected yet */
    struct event readable, deadline;
    struct client_handshake handshake;
    struct upstream_answer answer;
    uint8_t host[UINT8_MAX]; /* the destination's */
    upstream_done *done;
    void *arg;
};

/* ---- the end ---- */

void upstream_cancel(struct upstream *upstream)
{
    if (!upstream)
        return;
    lookup_cancel(upstream->lookup);
    if (upstream->dial)
        dial_cancel(upstream->dial);
    event_del(&upstream->deadline);
    if (upstream->fd >= 0) {
        event_del(&upstream->readable);
        close(upstream->fd);
    }
    snapshot_release(upstream->snapshot);
    explicit_bzero(upstream, sizeof(*upstream)); /* the password was on its way */
    free(upstream);
}

static void upstream_finish(struct upstream *upstream)
{
    const struct upstream_answer answer = upstream->answer;
    assert((answer.fd >= 0) == (answer.code == SOCKS5_REPLY_SUCCEEDED)); /* handed over with that answer alone */
    upstream_done *done = upstream->done;
    void *arg = upstream->arg;
    if (answer.fd >= 0) {
        event_del(&upstream->readable);
        upstream->fd = -1; /* the callee's */
    }
    upstream_cancel(upstream);
    done(arg, &answer);
}

static void upstream_fail(struct upstream *upstream, const char *why)
{
    struct env *env = upstream->env;
    char address[NETADDR_TEXT_MAX];
    metrics_add(&env->metrics.upstream_failed_total, 1);
    LOG_LIMITED(&env->upstreams_log, env_now(env), LOG_LEVEL_WARNING, "upstream=%s address=%s: %s",
                upstream->settings->name, netaddr_format(&upstream->answer.server, address), why);
    upstream->answer.code = SOCKS5_REPLY_GENERAL_FAILURE;
    upstream_finish(upstream);
}

static void upstream_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct upstream *upstream = arg;
    if (upstream->handshake.state == CLIENT_AT_REPLY && upstream->handshake.command == SOCKS5_COMMAND_CONNECT) {
        upstream->answer.code = SOCKS5_REPLY_TTL_EXPIRED; /* it waits for the destination itself */
        upstream_finish(upstream);
        return;
    }
    upstream_fail(upstream, upstream->fd >= 0 ? "accepted the connection and did not answer in time (timeouts.connect)"
                                              : "could not be reached in time (timeouts.connect)");
}

/* ---- asking ---- */

/* These few bytes fit into the socket of a new connection, or the upstream is gone. */
static bool upstream_send(struct upstream *upstream)
{
    struct client_handshake *handshake = &upstream->handshake;
    ssize_t n = send(upstream->fd, handshake->out, handshake->out_len, MSG_NOSIGNAL);
    bool sent = n == handshake->out_len;
    handshake->out_len = 0;
    return sent;
}

static union netaddr upstream_bound(const struct socks5_addr *wire)
{
    union netaddr bound;
    char name[NAME_TEXT_MAX];
    if (address_read(wire, &bound, name) == ADDRESS_IP)
        return bound;
    bound = netaddr_any(AF_INET);
    netaddr_set_port(&bound, wire->port);
    return bound;
}

static void upstream_take_step(struct upstream *upstream, enum client_step step)
{
    const struct client_handshake *handshake = &upstream->handshake;
    switch (step) {
    case CLIENT_MORE:
        if (!upstream_send(upstream))
            upstream_fail(upstream, "closed the connection");
        break;
    case CLIENT_GRANTED:
        upstream->answer.code = SOCKS5_REPLY_SUCCEEDED;
        upstream->answer.bound = upstream_bound(&handshake->bound);
        upstream->answer.fd = upstream->fd;
        upstream_finish(upstream);
        break;
    case CLIENT_REFUSED: /* its code is about the destination: the client gets it */
        upstream->answer.code = handshake->code <= SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED
                                    ? (enum socks5_reply)handshake->code
                                    : SOCKS5_REPLY_GENERAL_FAILURE;
        upstream_finish(upstream);
        break;
    case CLIENT_FAILED:
        upstream_fail(upstream, handshake->failure);
        break;
    }
}

static void upstream_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct upstream *upstream = arg;
    uint8_t bytes[SOCKS5_REQUEST_MAX];
    ssize_t n = recv(fd, bytes, client_handshake_wants(&upstream->handshake), 0);
    if (n > 0)
        upstream_take_step(upstream, client_handshake_advance(&upstream->handshake, bytes, (size_t)n));
    else if (n == 0)
        upstream_fail(upstream, "closed the connection without an answer");
    else if (errno != EAGAIN)
        upstream_fail(upstream, strerror(errno));
}

/* ---- getting there ---- */

static void upstream_watch(void *arg, int fd)
{
    struct upstream *upstream = arg;
    event_assign(&upstream->readable, upstream->env->base, fd, EV_READ | EV_PERSIST, upstream_on_readable, upstream);
    event_add(&upstream->readable, NULL);
}

static void upstream_on_dialed(void *arg, const struct dial_outcome *outcome)
{
    struct upstream *upstream = arg;
    assert(upstream->fd < 0);
    upstream->dial = NULL;
    lookup_cancel(upstream->lookup); /* the other family's answer has nothing to add to */
    upstream->lookup = NULL;
    if (outcome->fd < 0) {
        char why[128];
        snprintf(why, sizeof(why), "cannot be reached: %s",
                 upstream->is_own      ? "it is this proxy itself, so requests would loop"
                 : outcome->error == 0 ? "its name has no address"
                                       : strerror(outcome->error));
        upstream_fail(upstream, why);
        return;
    }
    upstream->fd = outcome->fd;
    upstream->answer.server = outcome->to;
    upstream_take_step(upstream, CLIENT_MORE);
}

static void upstream_dial(struct upstream *upstream, const union netaddr *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        union netaddr to = addresses[i];
        netaddr_unmap(&to);
        netaddr_set_port(&to, (uint16_t)upstream->settings->port);
        upstream->answer.server = to; /* for the log, as long as none has been reached */
        if (policy_is_listener(&upstream->env->policy, &to))
            upstream->is_own = true;
        else
            dial_add(upstream->dial, to.sa.sa_family, &to, 1, &upstream->ways[family_index(to.sa.sa_family)]);
    }
}

static void upstream_on_addresses(void *arg, const union netaddr *addresses, size_t count)
{
    upstream_dial(arg, addresses, count);
}

static void upstream_on_lookup_end(void *arg, bool timed_out)
{
    (void)timed_out;
    struct upstream *upstream = arg;
    upstream->lookup = NULL;
    dial_all_added(upstream->dial);
}

static void upstream_find(struct upstream *upstream, const union netaddr *client, const char *user)
{
    const struct lookup_hooks hooks = {upstream_on_addresses, upstream_on_lookup_end, upstream};
    const struct config_host *host = &upstream->settings->host;
    if (host->name)
        upstream->lookup =
            lookup_begin(upstream->env, client, user, host->name, env_first_family(upstream->env), &hooks);
    else
        upstream_dial(upstream, &host->address, 1);
    if (!upstream->lookup)
        dial_all_added(upstream->dial);
}

static bool upstream_set_request(struct upstream *upstream, enum socks5_command command,
                                 const struct socks5_addr *destination)
{
    const struct config_upstream *settings = upstream->settings;
    const char *user = settings->user ? settings->user : "", *password = settings->password ? settings->password : "";
    const struct socks5_password login = {
        .user = (const uint8_t *)user,
        .password = (const uint8_t *)password,
        .user_len = (uint8_t)strlen(user),
        .password_len = (uint8_t)strlen(password),
    };
    struct socks5_addr copy = *destination;
    static_assert(sizeof(upstream->host) == UINT8_MAX, "the longest that host_len can say");
    memcpy(upstream->host, destination->host, destination->host_len);
    copy.host = upstream->host;
    return client_handshake_init(&upstream->handshake, (uint8_t)command, &copy, settings->user ? &login : NULL);
}

struct upstream *upstream_ask(struct env *env, const union netaddr *client, const char *user, const struct terms *terms,
                              enum socks5_command command, const struct socks5_addr *destination, upstream_done *done,
                              void *arg)
{
    const uint64_t ms = env->config->timeouts.connect_ms;
    const struct timeval timeout = timeval_from_ms(ms);
    const struct dial_options options = {
        .timeout_ms = 2 * ms, /* the deadline is for all together, and ours */
        .reserve = env->host->reserve,
        .ipv4_first = env_first_family(env) == AF_INET,
        .watch = upstream_watch,
    };
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    if (!upstream)
        return NULL;
    assert(terms->upstream);
    upstream->env = env;
    upstream->settings = terms->upstream;
    upstream->snapshot = env->snapshot ? snapshot_hold(env->snapshot) : NULL;
    upstream->fd = upstream->answer.fd = -1;
    upstream->done = done;
    upstream->arg = arg;
    upstream->ways[FAMILY_V4] = (struct sock_way){.from = terms->address_v4, .egress = egress_of(terms)};
    upstream->ways[FAMILY_V6] = (struct sock_way){.from = terms->address_v6, .egress = egress_of(terms)};
    event_assign(&upstream->deadline, env->base, -1, 0, upstream_on_deadline, upstream);
    event_add(&upstream->deadline, &timeout);
    bool able = upstream_set_request(upstream, command, destination);
    upstream->dial = able ? dial_new(env->base, &options, upstream_on_dialed, upstream) : NULL;
    if (!upstream->dial) {
        upstream_cancel(upstream);
        return NULL;
    }
    metrics_add(&env->metrics.upstream_requests_total, 1);
    upstream_find(upstream, client, user);
    return upstream;
}

size_t upstream_descriptors(const struct upstream *upstream)
{
    return (upstream->fd >= 0 ? 1 : 0) + (upstream->dial ? dial_descriptors(upstream->dial) : 0);
}
