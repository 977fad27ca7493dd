/*
 * Between us and the upstream each datagram has a SOCKS5 header, as between a client and us. Mapping and filtering are
 * the upstream's.
 */
#include "proxy/assoc/external_upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/sock.h"
#include "policy/terms.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/udp_header.h"
#include "proxy/upstream/upstream_assoc.h"

struct external_upstream {
    struct external external;
    struct upstream_assoc upstream; /* the association there */
    union netaddr relay;            /* where the upstream takes datagrams */
    char name[];                    /* the upstream's */
};

static const struct external_ops external_upstream_ops;

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

/* The socket is bound to the control connection's own address: an upstream takes datagrams from there only. */
static int external_upstream_open(struct upstream_assoc *granted, const union netaddr *relay,
                                  const union netaddr *local)
{
    struct external_upstream *upstream = container_of(granted, struct external_upstream, upstream);
    struct external *external = &upstream->external;
    assert(netaddr_port(relay) != 0 && external->assoc->state != ASSOC_ENDING);
    const int family = relay->sa.sa_family;
    if (local->sa.sa_family == family) {
        union netaddr *from = &external->assoc->flow.external[family_index(family)];
        *from = *local;
        netaddr_set_port(from, 0);
    }
    upstream->relay = *relay;
    int error = external_socket_open(external, family, external_upstream_on_relay);
    if (error)
        return error;
    error = sock_udp_connect(external->socket.fd, relay);
    if (error)
        external_socket_close(external, family);
    return error;
}

int external_upstream_ask(struct assoc *assoc, const struct terms *terms)
{
    const size_t len = strlen(terms->upstream->name) + 1;
    struct external_upstream *upstream = calloc(1, sizeof(*upstream) + len);
    if (!upstream)
        return -ENOMEM;
    upstream->external = (struct external){.ops = &external_upstream_ops, .assoc = assoc, .socket = {.fd = -1}};
    memcpy(upstream->name, terms->upstream->name, len);
    int error = upstream_assoc_ask(&upstream->upstream, assoc->env, terms, &assoc->subject.client, assoc->subject.user,
                                   upstream->name, external_upstream_open);
    if (error) {
        free(upstream);
        return error;
    }
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assoc->external[slot] = &upstream->external;
    return 0;
}

/* NULL: the association does not leave by an upstream. */
static struct external_upstream *external_upstream_of(const struct assoc *assoc)
{
    struct external *external = assoc->external[FAMILY_V4];
    if (!external || external->ops != &external_upstream_ops)
        return NULL;
    return container_of(external, struct external_upstream, external);
}

bool external_upstream_set_hooks(struct assoc *assoc, const struct assoc_upstream_hooks *hooks)
{
    struct external_upstream *upstream = external_upstream_of(assoc);
    if (upstream)
        upstream->upstream.hooks = *hooks;
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
    return sizeof(*upstream) + upstream_assoc_memory(&upstream->upstream);
}

static void external_upstream_close(struct external *external)
{
    struct external_upstream *upstream = container_of(external, struct external_upstream, external);
    if (external_socket_is_open(external))
        external_socket_close(external, upstream->relay.sa.sa_family);
    upstream_assoc_deinit(&upstream->upstream);
    free(upstream);
}

static const struct external_ops external_upstream_ops = {
    .send = external_upstream_send,
    .send_named = external_upstream_send_named,
    .memory = external_upstream_memory,
    .descriptors = 1, /* the control connection */
    .close = external_upstream_close,
};
