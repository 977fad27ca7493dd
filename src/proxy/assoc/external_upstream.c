/*
 * Every datagram has its destination in front on the way up, and its origin on the way down, as between a client and
 * us: the mapping that the internet sees, and who may send to it, are the upstream's.
 */
#include "proxy/assoc/external_upstream.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "upstream"
#include "base/log.h"
#include "base/util.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/external_direct.h"
#include "proxy/assoc/hooks.h"
#include "proxy/assoc/udp_header.h"
#include "proxy/upstream/upstream.h"

struct external_upstream {
    struct external external;
    struct assoc_upstream_hooks hooks;
    struct upstream *request; /* NULL: answered */
    int control;              /* -1: not granted */
    struct event control_readable;
    union netaddr relay; /* where the upstream takes datagrams */
    char name[];         /* the upstream's */
};

static const struct external_ops external_upstream_ops;

/* ---- the control connection ---- */

/* Nothing is said on it any more; only its end counts. */
static void external_upstream_on_control(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct external_upstream *upstream = arg;
    char scrap[256];
    ssize_t n = recv(fd, scrap, sizeof(scrap), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    event_del(&upstream->control_readable);
    upstream->hooks.ended(upstream->hooks.arg, "upstream closed its association");
}

/* Whether what an upstream has bound can be its relay as we see it. Upstreams behind a NAT, in a container or a cloud
 * give the address that they have there, or loopback, or none. */
static bool is_relay_host(const union netaddr *bound, const union netaddr *server)
{
    const union netaddr relay = netaddr_canonical(bound), upstream = netaddr_canonical(server);
    const enum reach_place there = reach_place_of(&relay), here = reach_place_of(&upstream);
    switch (there) {
    case REACH_PUBLIC:
    case REACH_RESERVED:
        return true;
    case REACH_PRIVATE:
        return here == REACH_PRIVATE || here == REACH_LOOPBACK || here == REACH_LINK_LOCAL;
    default:
        return there == here && !reach_never(there);
    }
}

/* Where the upstream's relay is: at the upstream's own address, unless what it has bound can be reached from here. */
static bool external_upstream_find_relay(struct external_upstream *upstream, const struct upstream_answer *answer)
{
    const uint16_t port = netaddr_port(&answer->bound);
    upstream->relay = is_relay_host(&answer->bound, &answer->server) ? answer->bound : answer->server;
    netaddr_set_port(&upstream->relay, port);
    return port != 0;
}

static void external_upstream_on_relay(evutil_socket_t fd, short what, void *arg);

/* From the address that the control connection has, for that is who the upstream listens to. */
static int external_upstream_open_socket(struct external_upstream *upstream)
{
    struct external *external = &upstream->external;
    const int family = upstream->relay.sa.sa_family;
    union netaddr local = sock_local(upstream->control);
    if (local.sa.sa_family == family) {
        netaddr_set_port(&local, 0);
        external->assoc->flow.external[family_index(family)] = local;
    }
    int error = external_direct_open_socket(external, family, external_upstream_on_relay);
    if (error)
        return error;
    error = sock_udp_connect(external->socket.fd, &upstream->relay);
    if (error)
        external_direct_close_socket(external, family);
    return error;
}

static enum socks5_reply external_upstream_take_answer(struct external_upstream *upstream,
                                                       const struct upstream_answer *answer)
{
    struct env *env = upstream->external.assoc->env;
    char relay[NETADDR_TEXT_MAX];
    if (answer->code != SOCKS5_REPLY_SUCCEEDED)
        return answer->code;
    assert(answer->fd >= 0 && upstream->control < 0);
    upstream->control = answer->fd;
    int error =
        external_upstream_find_relay(upstream, answer) ? external_upstream_open_socket(upstream) : -EADDRNOTAVAIL;
    if (error) {
        metrics_add(&env->metrics.upstream_failed_total, 1);
        LOG_LIMITED(&env->upstreams_log, env_now(env), LOG_LEVEL_WARNING,
                    "upstream=%s: its relay at %s cannot be sent to: %s", upstream->name,
                    netaddr_format(&answer->bound, relay), strerror(-error));
        return SOCKS5_REPLY_GENERAL_FAILURE;
    }
    sock_keepalive(upstream->control);
    event_assign(&upstream->control_readable, env->base, upstream->control, EV_READ | EV_PERSIST,
                 external_upstream_on_control, upstream);
    event_add(&upstream->control_readable, NULL);
    return SOCKS5_REPLY_SUCCEEDED;
}

static void external_upstream_on_answer(void *arg, const struct upstream_answer *answer)
{
    struct external_upstream *upstream = arg;
    upstream->request = NULL;
    upstream->hooks.answered(upstream->hooks.arg, external_upstream_take_answer(upstream, answer));
}

/* ---- up ---- */

static void external_upstream_send(struct external *external, struct dgram_batch *batch, struct dgram_tally *tally)
{
    static const union netaddr connected_peer;
    udp_header_put(batch, &connected_peer, tally);
    if (batch->count)
        dgram_io_send(external->assoc->env->dgrams, &external->socket, batch, tally);
}

/* Each is copied behind its header: a run's own has no room for a name. */
static void external_upstream_send_named(struct external *external, const char *name, uint16_t port,
                                         const struct dgram_run *payloads, struct dgram_tally *tally)
{
    struct env *env = external->assoc->env;
    struct dgram_batch *batch = &env->to_external[FAMILY_V4];
    uint8_t datagram[DGRAM_PAYLOAD_MAX];
    const struct socks5_addr to = {
        .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)strlen(name), .host = (const uint8_t *)name, .port = port};
    const struct socks5_udp_header header = {.destination = to};
    const size_t header_len = socks5_udp_header_encode(datagram, sizeof(datagram), &header);
    const uint64_t sent_before = tally->datagrams;
    assert(header_len > 0 && batch->count == 0);
    for (size_t i = 0; i < payloads->count; i++) {
        const size_t len = dgram_run_len(payloads, i);
        const uint16_t whole = (uint16_t)(header_len + len);
        if (header_len + len > sizeof(datagram)) {
            tally->lost[DGRAM_LOST_OVERSIZE]++;
            continue;
        }
        memcpy(datagram + header_len, dgram_run_at(payloads, i), len);
        batch->runs[batch->count++] =
            (struct dgram_run){.data = datagram, .count = 1, .seg = whole, .last = whole, .tos = payloads->tos};
        dgram_io_send(env->dgrams, &external->socket, batch, tally);
    }
    tally->bytes -= (tally->datagrams - sent_before) * header_len;
}

/* ---- down ---- */

/* Takes the `first` datagram of a run, and those after it that have the same origin. Returns how many. */
static uint16_t external_upstream_take(struct assoc *assoc, const struct dgram_run *run, size_t first)
{
    struct socks5_udp_header header;
    struct dgram_run payloads;
    enum drop_reason reason;
    char name[NAME_TEXT_MAX];
    uint16_t same = udp_header_cut(run, first, &header, &payloads, &reason);
    if (payloads.count == 0) {
        assoc_drop(assoc, reason, same);
        return same;
    }
    switch (address_read(&header.destination, &payloads.peer, name)) {
    case ADDRESS_IP:
        assoc_take_down(assoc, &payloads);
        break;
    case ADDRESS_NAME:
        assoc_take_down_named(assoc, &payloads, (uint16_t)(payloads.data - dgram_run_at(run, first)));
        break;
    case ADDRESS_BAD:
        assoc_drop(assoc, DROP_BAD_HEADER, same);
        break;
    }
    return same;
}

static void external_upstream_on_relay(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct external_upstream *upstream = arg;
    struct assoc *assoc = upstream->external.assoc;
    const size_t count = assoc_receive_external(&upstream->external);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &assoc->env->received[i];
        if (!netaddr_equal(&run->peer, &upstream->relay)) { /* came before the socket was connected */
            assoc_drop(assoc, DROP_FILTERED, run->count);
            continue;
        }
        for (size_t first = 0; first < run->count;)
            first += external_upstream_take(assoc, run, first);
    }
    assoc_flush_down(assoc);
}

/* ---- life ---- */

static struct external_upstream *external_upstream_of(const struct assoc *assoc)
{
    struct external *external = assoc->external[FAMILY_V4];
    if (!external || external->ops != &external_upstream_ops)
        return NULL;
    return container_of(external, struct external_upstream, external);
}

int external_upstream_ask(struct assoc *assoc, const struct terms *terms)
{
    static const uint8_t zero[4];
    /* Where our datagrams will come from is not known before the upstream has said where they go. */
    const struct socks5_addr anywhere = {.atyp = SOCKS5_ATYP_IPV4, .host_len = sizeof(zero), .host = zero};
    const size_t len = strlen(terms->upstream->name) + 1;
    struct external_upstream *upstream = calloc(1, sizeof(*upstream) + len);
    if (!upstream)
        return -ENOMEM;
    upstream->external = (struct external){.ops = &external_upstream_ops, .assoc = assoc, .socket = {.fd = -1}};
    upstream->control = -1;
    memcpy(upstream->name, terms->upstream->name, len);
    upstream->request = upstream_ask(assoc->env, &assoc->subject.client, assoc->subject.user, terms,
                                     SOCKS5_COMMAND_UDP_ASSOCIATE, &anywhere, external_upstream_on_answer, upstream);
    if (!upstream->request) {
        free(upstream);
        return -ENOMEM;
    }
    assoc->external_ops = &external_upstream_ops;
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assoc->external[slot] = &upstream->external;
    return 0;
}

bool external_upstream_set_hooks(struct assoc *assoc, const struct assoc_upstream_hooks *hooks)
{
    struct external_upstream *upstream = external_upstream_of(assoc);
    if (upstream)
        upstream->hooks = *hooks;
    return upstream != NULL;
}

const char *external_upstream_name(const struct assoc *assoc)
{
    const struct external_upstream *upstream = external_upstream_of(assoc);
    return upstream ? upstream->name : NULL;
}

static size_t external_upstream_memory(const struct external *external)
{
    const struct external_upstream *upstream = container_of(external, struct external_upstream, external);
    return sizeof(*upstream) + (upstream->control >= 0 ? sock_memory(upstream->control) : 0) +
           (external->socket.fd >= 0 ? sock_memory(external->socket.fd) : 0);
}

/* The control connection, and the socket once it is open. */
static size_t external_upstream_descriptors(const struct external *external)
{
    return external->socket.fd >= 0 ? 2 : 1;
}

static void external_upstream_close(struct external *external)
{
    struct external_upstream *upstream = container_of(external, struct external_upstream, external);
    if (external->socket.fd >= 0)
        external_direct_close_socket(external, upstream->relay.sa.sa_family);
    upstream_cancel(upstream->request);
    if (event_initialized(&upstream->control_readable))
        event_del(&upstream->control_readable);
    if (upstream->control >= 0)
        close(upstream->control);
    free(upstream);
}

static const struct external_ops external_upstream_ops = {
    .send = external_upstream_send,
    .send_named = external_upstream_send_named,
    .memory = external_upstream_memory,
    .descriptors = external_upstream_descriptors,
    .close = external_upstream_close,
};
