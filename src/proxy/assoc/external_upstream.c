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
#include "proxy/assoc/dgram_queue.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/udp_header.h"
#include "proxy/upstream/upstream_assoc.h"

struct external_upstream {
    struct external external;
    struct upstream_assoc upstream; /* the association there */
    union netaddr relay;            /* where the upstream takes datagrams */
    struct external_way way;
    struct dgram_queue waiting; /* a branch's datagrams, whole; the tag is the length of their SOCKS5 headers */
    uint64_t retry_ms;          /* before that, a branch does not ask again */
    uint32_t failures;          /* in a row */
    char name[];                /* the upstream's */
};

/* A branch asks again after this time, and then after twice as long each time. */
#define RETRY_AFTER_MS    1000
#define RETRY_DOUBLED_MAX 6

static const struct external_ops external_upstream_ops;

static struct external_upstream *external_upstream_from(struct external *external)
{
    return container_of(external, struct external_upstream, external);
}

/* ---- what waits ---- */

static bool external_upstream_is_awaited(struct external_upstream *upstream);

static void external_upstream_keep(struct external_upstream *upstream, const uint8_t *header, size_t header_len,
                                   const struct dgram_run *payloads)
{
    struct assoc *assoc = upstream->external.assoc;
    if (!external_upstream_is_awaited(upstream)) {
        assoc_drop(assoc, DROP_NO_UPSTREAM, payloads->count);
        return;
    }
    for (size_t i = 0; i < payloads->count; i++) {
        const size_t len = dgram_run_len(payloads, i);
        struct queued_dgram *dgram = NULL;
        if (assoc->env->memory == MEMORY_AMPLE && header_len + len <= DGRAM_PAYLOAD_MAX)
            dgram = dgram_queue_add(&upstream->waiting, assoc->loan, (uint16_t)header_len, header_len + len);
        if (!dgram) {
            assoc_drop(assoc, DROP_QUEUE_FULL, 1);
            continue;
        }
        memcpy(dgram->bytes, header, header_len);
        memcpy(dgram->bytes + header_len, dgram_run_at(payloads, i), len);
    }
}

static void external_upstream_keep_batch(struct external_upstream *upstream, struct dgram_batch *batch)
{
    uint8_t header[DGRAM_HEADER_MAX];
    for (size_t i = 0; i < batch->count; i++) {
        const struct socks5_udp_header fields = {.destination = address_to_wire(&batch->runs[i].peer)};
        const size_t len = socks5_udp_header_encode(header, sizeof(header), &fields);
        assert(len > 0);
        external_upstream_keep(upstream, header, len, &batch->runs[i]);
    }
    batch->count = 0;
}

/* `datagram` begins with a SOCKS5 header. The batch is empty. */
static void external_upstream_send_one(struct external *external, const uint8_t *datagram, size_t len,
                                       size_t header_len, uint8_t tos, struct dgram_tally *tally)
{
    struct env *env = external->assoc->env;
    struct dgram_batch *batch = &env->to_external[FAMILY_V4];
    const uint64_t sent_before = tally->datagrams;
    assert(batch->count == 0);
    batch->runs[batch->count++] =
        (struct dgram_run){.data = datagram, .count = 1, .seg = (uint16_t)len, .last = (uint16_t)len, .tos = tos};
    dgram_io_send(env->dgrams, &external->socket, batch, tally);
    tally->bytes -= (tally->datagrams - sent_before) * header_len;
}

static void external_upstream_send_waiting(struct external_upstream *upstream)
{
    struct assoc *assoc = upstream->external.assoc;
    struct dgram_tally tally = {0};
    for (const struct queued_dgram *dgram = upstream->waiting.first; dgram; dgram = dgram->next)
        external_upstream_send_one(&upstream->external, dgram->bytes, dgram->len, dgram->tag, 0, &tally);
    dgram_queue_clear(&upstream->waiting, assoc->loan);
    assoc_flow_count_up(&assoc->flow, &assoc->env->metrics, &tally);
}

/* ---- up ---- */

static void external_upstream_send(struct external *external, struct dgram_batch *batch, struct dgram_tally *tally)
{
    static const union netaddr connected_peer;
    if (!external_socket_is_open(external)) {
        external_upstream_keep_batch(external_upstream_from(external), batch);
        return;
    }
    udp_header_put(batch, &connected_peer, tally);
    if (batch->count)
        dgram_io_send(external->assoc->env->dgrams, &external->socket, batch, tally);
}

/* Each is copied behind its header: a run's own has no room for a name. */
static void external_upstream_send_named(struct external *external, const char *name, uint16_t port,
                                         const struct dgram_run *payloads, struct dgram_tally *tally)
{
    uint8_t datagram[DGRAM_PAYLOAD_MAX];
    const struct socks5_addr to = {
        .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)strlen(name), .host = (const uint8_t *)name, .port = port};
    const struct socks5_udp_header header = {.destination = to};
    const size_t header_len = socks5_udp_header_encode(datagram, sizeof(datagram), &header);
    assert(header_len > 0);
    if (!external_socket_is_open(external)) {
        external_upstream_keep(external_upstream_from(external), datagram, header_len, payloads);
        return;
    }
    for (size_t i = 0; i < payloads->count; i++) {
        const size_t len = dgram_run_len(payloads, i);
        if (header_len + len > sizeof(datagram)) {
            tally->lost[DGRAM_LOST_OVERSIZE]++;
            continue;
        }
        memcpy(datagram + header_len, dgram_run_at(payloads, i), len);
        external_upstream_send_one(external, datagram, header_len + len, header_len, payloads->tos, tally);
    }
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

static struct external_upstream *external_upstream_new(struct assoc *assoc, const char *name)
{
    const size_t len = strlen(name) + 1;
    struct external_upstream *upstream = calloc(1, sizeof(*upstream) + len);
    if (!upstream)
        return NULL;
    upstream->external = (struct external){.ops = &external_upstream_ops, .assoc = assoc, .socket = {.fd = -1}};
    upstream->upstream.control = -1;
    dgram_queue_init(&upstream->waiting);
    memcpy(upstream->name, name, len);
    return upstream;
}

static int external_upstream_request(struct external_upstream *upstream, const struct terms *terms)
{
    const struct assoc *assoc = upstream->external.assoc;
    return upstream_assoc_ask(&upstream->upstream, assoc->env, terms, &assoc->subject.client, assoc->subject.user,
                              upstream->name, external_upstream_open);
}

static void external_upstream_take_place(struct external_upstream *upstream)
{
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        upstream->external.assoc->external[slot] = &upstream->external;
}

int external_upstream_ask(struct assoc *assoc, const struct terms *terms)
{
    struct external_upstream *upstream = external_upstream_new(assoc, terms->upstream->name);
    if (!upstream)
        return -ENOMEM;
    upstream->way.filtering = terms->filtering;
    memcpy(upstream->way.from, assoc->flow.external, sizeof(upstream->way.from));
    int error = external_upstream_request(upstream, terms);
    if (error) {
        free(upstream);
        return error;
    }
    external_upstream_take_place(upstream);
    return 0;
}

/* ---- of a branch ---- */

static void external_upstream_fail(struct external_upstream *upstream)
{
    struct assoc *assoc = upstream->external.assoc;
    const uint32_t doubled = upstream->failures < RETRY_DOUBLED_MAX ? upstream->failures : RETRY_DOUBLED_MAX;
    const int family = upstream->relay.sa.sa_family;
    if (upstream->waiting.count)
        assoc_drop(assoc, DROP_NO_UPSTREAM, upstream->waiting.count);
    dgram_queue_clear(&upstream->waiting, assoc->loan);
    if (external_socket_is_open(&upstream->external)) {
        external_socket_close(&upstream->external, family);
        netaddr_set_port(&assoc->flow.external[family_index(family)], 0);
    }
    upstream_assoc_deinit(&upstream->upstream);
    upstream->upstream = (struct upstream_assoc){.control = -1};
    upstream->retry_ms = env_now(assoc->env) + ((uint64_t)RETRY_AFTER_MS << doubled);
    upstream->failures++;
}

static void external_upstream_on_answered(void *arg, enum socks5_reply code)
{
    struct external_upstream *upstream = arg;
    if (code != SOCKS5_REPLY_SUCCEEDED) {
        external_upstream_fail(upstream);
        return;
    }
    upstream->failures = 0;
    external_upstream_send_waiting(upstream);
}

static void external_upstream_on_ended(void *arg, const char *why)
{
    (void)why;
    external_upstream_fail(arg);
}

static const struct config_upstream *external_upstream_settings(const struct external_upstream *upstream)
{
    const struct config *config = upstream->external.assoc->env->config;
    for (size_t i = 0; i < config->upstream_count; i++)
        if (strcmp(config->upstreams[i].name, upstream->name) == 0)
            return &config->upstreams[i];
    return NULL;
}

static union netaddr external_upstream_source(const struct external_upstream *upstream, int slot)
{
    const union netaddr *from = &upstream->way.from[slot];
    return netaddr_is_any(from) ? (union netaddr){0} : *from;
}

/* Asks, under the terms that the association has had from its beginning. */
static bool external_upstream_ask_again(struct external_upstream *upstream)
{
    const struct sock_egress *egress = upstream->external.assoc->egress;
    const struct terms terms = {
        .address_v4 = external_upstream_source(upstream, FAMILY_V4),
        .address_v6 = external_upstream_source(upstream, FAMILY_V6),
        .mark = egress ? egress->mark : 0,
        .interface = egress && egress->interface[0] ? egress->interface : NULL,
        .dscp = egress ? egress->dscp : 0,
        .upstream = external_upstream_settings(upstream),
    };
    if (!terms.upstream || external_upstream_request(upstream, &terms) != 0)
        return false;
    upstream->upstream.hooks =
        (struct assoc_upstream_hooks){external_upstream_on_answered, external_upstream_on_ended, upstream};
    return true;
}

/* Whether it will answer; it may be asked for that. */
static bool external_upstream_is_awaited(struct external_upstream *upstream)
{
    if (upstream->upstream.request)
        return true;
    if (env_now(upstream->external.assoc->env) < upstream->retry_ms)
        return false;
    const bool asked = external_upstream_ask_again(upstream);
    if (!asked)
        external_upstream_fail(upstream);
    return asked;
}

int external_upstream_begin(struct assoc *branch, const char *name, const struct external_way *way)
{
    struct external_upstream *upstream = external_upstream_new(branch, name);
    if (!upstream)
        return -ENOMEM;
    upstream->way = *way;
    external_upstream_take_place(upstream);
    return 0;
}

/* ---- what it is ---- */

/* NULL: the association does not leave by an upstream. */
static struct external_upstream *external_upstream_of(const struct assoc *assoc)
{
    struct external *external = assoc->external[FAMILY_V4];
    if (!external || external->ops != &external_upstream_ops)
        return NULL;
    return external_upstream_from(external);
}

struct external_way external_upstream_way(const struct assoc *assoc)
{
    return external_upstream_of(assoc)->way;
}

bool external_upstream_is_configured(const struct assoc *branch)
{
    const struct external_upstream *upstream = external_upstream_of(branch);
    return !upstream || external_upstream_settings(upstream);
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
    return sizeof(*upstream) + upstream->waiting.bytes + upstream_assoc_memory(&upstream->upstream);
}

static void external_upstream_close(struct external *external)
{
    struct external_upstream *upstream = external_upstream_from(external);
    dgram_queue_clear(&upstream->waiting, external->assoc->loan);
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
