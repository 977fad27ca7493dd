/*
 * up:   the client's datagram -> is it the client's? -> strip the SOCKS5 header -> may it go there? -> external socket
 * down: anybody's datagram -> may he answer? -> put the sender's address in front -> relay socket
 *
 * Buffers are the worker's; a datagram is neither copied nor allocated for, but for those that wait for a name.
 */
#include "proxy/assoc.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/sock.h"
#include "policy/reach.h"
#include "proxy/address.h"
#include "proxy/filter.h"
#include "proxy/names.h"

/* One event's share: a flood on one association waits its turn after this many datagrams. */
#define RECEIVE_MAX 32
/* How soon an external socket that could not be opened is tried again. */
#define REOPEN_AFTER_MS 1000

struct external {
    struct assoc *assoc;
    int fd; /* -1: not open */
    uint64_t failed_ms;
    struct event readable;
};

struct assoc {
    struct env *env;
    struct assoc_flow flow;
    int client_fd;
    bool connected; /* client_fd takes datagrams from flow.client only */
    struct event client_readable;
    struct external external[FAMILY_COUNT];
    struct names *names;   /* NULL until the first name */
    struct filter *filter; /* NULL: endpoint-independent */
};

static void drop(struct assoc *assoc, enum drop_reason reason, uint32_t count)
{
    assoc->flow.dropped[reason] += count;
    metrics_add(&assoc->env->metrics.udp_dropped_total[reason], count);
}

static void count_losses(struct assoc *assoc, const struct dgram_tally *tally)
{
    static const enum drop_reason reasons[DGRAM_LOSS_COUNT] = {
        [DGRAM_LOST_FULL] = DROP_SEND_FULL,          [DGRAM_LOST_OVERSIZE] = DROP_OVERSIZE,
        [DGRAM_LOST_UNREACHABLE] = DROP_UNREACHABLE, [DGRAM_LOST_DENIED] = DROP_REFUSED,
        [DGRAM_LOST_FAILED] = DROP_SEND_FAILED,
    };
    for (int i = 0; i < DGRAM_LOSS_COUNT; i++)
        if (tally->lost[i])
            drop(assoc, reasons[i], tally->lost[i]);
}

/* ---- the client ---- */

static void hold_client(struct assoc *assoc)
{
    assoc->connected = sock_udp_connect(assoc->client_fd, &assoc->flow.client) == 0;
}

static void learn_client(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    assoc->flow.client = *peer;
    assoc->flow.learned_ms = now;
    assoc->connected = false;
    /* While a hint names another port, that one may still speak up: see is_client(). */
    if (assoc->flow.hint_port == 0 || assoc->flow.hint_port == netaddr_port(peer))
        hold_client(assoc);
    else
        (void)sock_udp_disconnect(assoc->client_fd);
}

/* Whether a valid datagram from the client's host is the client's own. Its port is learned from the first and held;
 * another port takes over when the hint named it, or when the client has been silent (its NAT may have rebound it). */
static bool is_client(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    const struct assoc_flow *flow = &assoc->flow;
    uint64_t rebind_after = assoc->env->config->udp.rebind_after_ms;
    uint16_t port = netaddr_port(peer);
    bool known = flow->client.sa.sa_family != AF_UNSPEC;
    if (known && port == netaddr_port(&flow->client)) {
        bool hint_is_settled =
            flow->hint_port == 0 || flow->hint_port == port || now - flow->learned_ms >= rebind_after;
        if (!assoc->connected && hint_is_settled)
            hold_client(assoc);
        return true;
    }
    if (known && port != flow->hint_port && now - flow->last_up_ms < rebind_after)
        return false;
    learn_client(assoc, peer, now);
    return true;
}

/* ---- up ---- */

static void on_external_readable(evutil_socket_t fd, short what, void *arg);

static int open_external(struct assoc *assoc, int family)
{
    int slot = family_index(family);
    const struct config *config = assoc->env->config;
    const union netaddr *wanted = slot == FAMILY_V4 ? &config->outbound.address_v4 : &config->outbound.address_v6;
    union netaddr local = wanted->sa.sa_family == AF_UNSPEC ? netaddr_any(family) : *wanted;
    struct external *external = &assoc->external[slot];
    external->fd = sock_udp(&local, &assoc->env->ports);
    if (external->fd < 0) {
        int error = external->fd;
        external->fd = -1;
        external->failed_ms = env_now(assoc->env);
        return error;
    }
    assoc->flow.external[slot] = local;
    event_assign(&external->readable, assoc->env->base, external->fd, EV_READ | EV_PERSIST, on_external_readable,
                 external);
    event_add(&external->readable, NULL);
    return 0;
}

static bool has_external(struct assoc *assoc, int family)
{
    const struct external *external = &assoc->external[family_index(family)];
    if (external->fd >= 0)
        return true;
    if (external->failed_ms && env_now(assoc->env) - external->failed_ms < REOPEN_AFTER_MS)
        return false;
    return open_external(assoc, family) == 0;
}

static void flush_up(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (env->to_external[slot].count)
            dgram_io_send(env->dgrams, assoc->external[slot].fd, &env->to_external[slot], &tally);
    assoc->flow.up_datagrams += tally.datagrams;
    assoc->flow.up_bytes += tally.bytes;
    metrics_add(&env->metrics.udp_up_datagrams_total, tally.datagrams);
    metrics_add(&env->metrics.udp_up_bytes_total, tally.bytes);
    count_losses(assoc, &tally);
}

static void send_up(struct assoc *assoc, const union netaddr *to, const uint8_t *payload, size_t len)
{
    struct env *env = assoc->env;
    enum reach_place place;
    if (netaddr_port(to) == 0) {
        drop(assoc, DROP_BAD_DESTINATION, 1);
        return;
    }
    if (!reach_allowed(env->config->reach, &assoc->flow.client_host, to, &place)) {
        drop(assoc, DROP_REFUSED, 1);
        return;
    }
    if (!has_external(assoc, to->sa.sa_family)) {
        drop(assoc, DROP_NO_SOCKET, 1);
        return;
    }
    if (assoc->filter)
        filter_permit(assoc->filter, to);
    struct dgram_batch *batch = &env->to_external[family_index(to->sa.sa_family)];
    if (batch->count == DGRAM_BATCH_MAX)
        flush_up(assoc);
    struct dgram_run *run = &batch->runs[batch->count++];
    run->peer = *to;
    run->data = payload;
    run->len = run->seg = (uint32_t)len;
    run->header_len = 0;
}

static void deliver_named(void *arg, const union netaddr *to, const uint8_t *payload, size_t len)
{
    send_up(arg, to, payload, len);
}

static void deliver_named_end(void *arg)
{
    flush_up(arg);
}

static void drop_named(void *arg, enum drop_reason reason, uint32_t count)
{
    drop(arg, reason, count);
}

static void send_up_by_name(struct assoc *assoc, const char *name, uint16_t port, const uint8_t *payload, size_t len)
{
    if (!assoc->names) {
        const struct names_hooks hooks = {deliver_named, deliver_named_end, drop_named, assoc};
        assoc->names = names_new(assoc->env, &assoc->flow.client_host, &hooks);
    }
    union netaddr to;
    enum drop_reason reason = DROP_QUEUE_FULL;
    enum names_verdict verdict = NAMES_DROPPED;
    if (assoc->names)
        verdict = names_route(assoc->names, name, port, payload, len, &to, &reason);
    if (verdict == NAMES_KNOWN)
        send_up(assoc, &to, payload, len);
    else if (verdict == NAMES_DROPPED)
        drop(assoc, reason, 1);
}

static void take_from_client(struct assoc *assoc, const union netaddr *peer, const uint8_t *data, size_t len,
                             uint64_t now)
{
    if (!netaddr_equal_host(peer, &assoc->flow.client_host)) {
        drop(assoc, DROP_STRANGER, 1);
        return;
    }
    struct socks5_udp_header header;
    int header_len = socks5_udp_header_decode(data, len, &header);
    if (header_len < 0 || header.fragment != 0) {
        drop(assoc, header_len < 0 ? DROP_BAD_HEADER : DROP_FRAGMENT, 1);
        return;
    }
    if (!is_client(assoc, peer, now)) {
        drop(assoc, DROP_OTHER_PORT, 1);
        return;
    }
    assoc->flow.last_up_ms = now;
    union netaddr to;
    char name[NAME_TEXT_MAX];
    const uint8_t *payload = data + header_len;
    size_t payload_len = len - (size_t)header_len;
    switch (address_read(&header.destination, &to, name)) {
    case ADDRESS_IP:
        send_up(assoc, &to, payload, payload_len);
        break;
    case ADDRESS_NAME:
        send_up_by_name(assoc, name, header.destination.port, payload, payload_len);
        break;
    case ADDRESS_BAD:
        drop(assoc, DROP_BAD_DESTINATION, 1);
        break;
    }
}

static void on_client_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct assoc *assoc = arg;
    struct env *env = assoc->env;
    uint64_t now = env_now(env);
    size_t count = dgram_io_recv(env->dgrams, fd, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        uint32_t offset = 0;
        do {
            uint32_t len = run->len - offset < run->seg ? run->len - offset : run->seg;
            take_from_client(assoc, &run->peer, run->data + offset, len, now);
            offset += run->seg;
        } while (offset < run->len);
    }
    flush_up(assoc);
}

/* ---- down ---- */

static void flush_down(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    if (env->to_client.count)
        dgram_io_send(env->dgrams, assoc->client_fd, &env->to_client, &tally);
    assoc->flow.down_datagrams += tally.datagrams;
    assoc->flow.down_bytes += tally.bytes;
    metrics_add(&env->metrics.udp_down_datagrams_total, tally.datagrams);
    metrics_add(&env->metrics.udp_down_bytes_total, tally.bytes);
    count_losses(assoc, &tally);
}

static void take_from_external(struct assoc *assoc, const struct dgram_run *run)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    uint32_t datagrams = dgram_run_count(run);
    if (assoc->flow.client.sa.sa_family == AF_UNSPEC) {
        drop(assoc, DROP_NO_CLIENT, datagrams);
        return;
    }
    if (assoc->filter && !filter_admits(assoc->filter, &run->peer)) {
        drop(assoc, DROP_FILTERED, datagrams);
        return;
    }
    if (batch->count == DGRAM_BATCH_MAX)
        flush_down(assoc);
    struct dgram_run *out = &batch->runs[batch->count];
    const struct socks5_udp_header header = {.destination = address_to_wire(&run->peer)};
    out->header_len = (uint8_t)socks5_udp_header_encode(out->header, sizeof(out->header), &header);
    if (run->seg + out->header_len > DGRAM_PAYLOAD_MAX) {
        drop(assoc, DROP_OVERSIZE, datagrams);
        return;
    }
    out->peer = assoc->connected ? (union netaddr){0} : assoc->flow.client;
    out->data = run->data;
    out->len = run->len;
    out->seg = run->seg;
    batch->count++;
}

static void on_external_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    const struct external *external = arg;
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    size_t count = dgram_io_recv(env->dgrams, fd, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++)
        take_from_external(assoc, &env->received[i]);
    flush_down(assoc);
    if (count)
        assoc->flow.last_down_ms = env_now(env);
}

/* ---- life ---- */

/* The hint's port counts only when its address is the client's own, or none (RFC 1928 section 6; clients send all
 * sorts of other things there). */
static uint16_t trusted_hint(const struct socks5_addr *hint, const union netaddr *client_host)
{
    if (hint->atyp == SOCKS5_ATYP_NAME)
        return 0;
    union netaddr addr = netaddr_from_bytes(hint->host, hint->host_len, 0);
    netaddr_unmap(&addr);
    return netaddr_is_any(&addr) || netaddr_equal_host(&addr, client_host) ? hint->port : 0;
}

int assoc_new(struct assoc **out, struct env *env, const union netaddr *peer, const union netaddr *local,
              const struct socks5_addr *hint)
{
    struct assoc *assoc = calloc(1, sizeof(*assoc));
    if (!assoc)
        return -ENOMEM;
    assoc->env = env;
    assoc->client_fd = -1;
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assoc->external[slot] = (struct external){.assoc = assoc, .fd = -1};
    struct assoc_flow *flow = &assoc->flow;
    flow->client_host = *peer;
    netaddr_set_port(&flow->client_host, 0);
    flow->hint_port = trusted_hint(hint, peer);
    flow->started_ms = flow->last_up_ms = flow->last_down_ms = env_now(env);
    flow->relay = *local;

    int error = 0;
    if (env->config->udp.filtering != CONFIG_FILTERING_ENDPOINT_INDEPENDENT) {
        assoc->filter = filter_new(env->config->udp.filtering);
        error = assoc->filter ? 0 : -ENOMEM;
    }
    if (!error)
        error = open_external(assoc, local->sa.sa_family);
    if (!error) {
        int fd = sock_udp(&flow->relay, &env->ports);
        error = fd < 0 ? fd : 0;
        assoc->client_fd = fd < 0 ? -1 : fd;
    }
    if (error) {
        assoc_free(assoc);
        return error;
    }
    event_assign(&assoc->client_readable, env->base, assoc->client_fd, EV_READ | EV_PERSIST, on_client_readable, assoc);
    event_add(&assoc->client_readable, NULL);
    metrics_add(&env->metrics.associations_total, 1);
    *out = assoc;
    return 0;
}

void assoc_free(struct assoc *assoc)
{
    if (!assoc)
        return;
    if (assoc->client_fd >= 0) {
        event_del(&assoc->client_readable);
        close(assoc->client_fd);
    }
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = &assoc->external[slot];
        if (external->fd < 0)
            continue;
        event_del(&external->readable);
        close(external->fd);
    }
    names_free(assoc->names);
    filter_free(assoc->filter);
    free(assoc);
}

const struct assoc_flow *assoc_flow(const struct assoc *assoc)
{
    return &assoc->flow;
}

bool assoc_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const struct assoc_flow *flow = &assoc->flow;
    const struct config *config = assoc->env->config;
    /* A silent client may come back from another port: only an unconnected socket would hear it. */
    if (assoc->connected && now_ms - flow->last_up_ms >= config->udp.rebind_after_ms)
        assoc->connected = sock_udp_disconnect(assoc->client_fd) != 0;
    uint64_t last = flow->last_up_ms > flow->last_down_ms ? flow->last_up_ms : flow->last_down_ms;
    return config->udp.idle_ms && now_ms - last >= config->udp.idle_ms;
}
