/*
 * up:   the client's datagram -> is it the client's? -> strip the SOCKS5 header -> may it go there? -> external socket
 * down: anybody's datagram -> may he answer? -> put the sender's address in front -> relay socket
 *
 * Both ways take runs as they come: what the kernel has joined stays joined, cut only where the destination changes.
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
#include "policy/rates.h"
#include "proxy/address.h"
#include "proxy/filter.h"
#include "proxy/names.h"
#include "proxy/permit.h"

/* One event's share: a flood on one association waits its turn after this many datagrams. */
#define RECEIVE_MAX 32
/* How soon an external socket that could not be opened is tried again. */
#define REOPEN_AFTER_MS 1000

/* The socket that the internet sees, of one family. */
struct external {
    struct assoc *assoc;
    struct dgram_socket socket;
    struct event readable;
};

struct assoc {
    struct env *env;
    struct assoc_flow flow;
    struct subject subject;
    const char *user; /* NULL: no login */
    struct dgram_socket client;
    bool connected; /* the client's socket takes datagrams from flow.client only */
    uint32_t mark;  /* of the external sockets */
    struct event client_readable;
    struct external *external[FAMILY_COUNT]; /* NULL: not opened yet */
    uint64_t open_failed_ms[FAMILY_COUNT];
    struct names *names;   /* NULL until the first name */
    struct filter *filter; /* NULL: endpoint-independent */
    struct rates *rates;   /* NULL: no limit */
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

/* Cuts a run to what may pass now. false: nothing is left of it. */
static bool within_rates(struct assoc *assoc, enum rates_way way, struct dgram_run *run)
{
    if (!assoc->rates)
        return true;
    uint16_t passes = rates_admit(assoc->rates, way, run->count, run->seg, run->last, env_now(assoc->env));
    if (passes < run->count) {
        drop(assoc, DROP_RATE, (uint32_t)run->count - passes);
        run->count = passes;
        run->last = run->seg;
    }
    return passes > 0;
}

/* ---- the client ---- */

static void hold_client(struct assoc *assoc)
{
    assoc->connected = sock_udp_connect(assoc->client.fd, &assoc->flow.client) == 0;
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
        (void)sock_udp_disconnect(assoc->client.fd);
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

/* `local` gets the port. */
static int open_socket(const struct env *env, const struct ports *ports, union netaddr *local, uint32_t mark)
{
    int fd = sock_udp(local, ports, env_now(env));
    int error = fd < 0 ? fd : sock_mark(fd, mark);
    if (fd >= 0 && error) {
        close(fd);
        ports_release(ports, local, 0);
    } else if (fd >= 0 && env->memory != MEMORY_AMPLE) {
        sock_udp_set_room(fd, relief_room(env->memory));
    }
    return error ? error : fd;
}

static int open_external(struct assoc *assoc, int family)
{
    int slot = family_index(family);
    union netaddr local = assoc->flow.external[slot];
    struct external *external = calloc(1, sizeof(*external));
    int fd = external ? open_socket(assoc->env, &assoc->env->external_ports, &local, assoc->mark) : -ENOMEM;
    if (fd < 0) {
        free(external);
        assoc->open_failed_ms[slot] = env_now(assoc->env);
        return fd;
    }
    external->assoc = assoc;
    external->socket = dgram_io_adopt(assoc->env->dgrams, fd);
    event_assign(&external->readable, assoc->env->base, fd, EV_READ | EV_PERSIST, on_external_readable, external);
    event_add(&external->readable, NULL);
    assoc->external[slot] = external;
    assoc->flow.external[slot] = local;
    own_port_opened(OWN_PORT_EXTERNAL, &local);
    return 0;
}

static bool has_external(struct assoc *assoc, int family)
{
    int slot = family_index(family);
    uint64_t failed_ms = assoc->open_failed_ms[slot];
    if (assoc->external[slot])
        return true;
    if (failed_ms && env_now(assoc->env) - failed_ms < REOPEN_AFTER_MS)
        return false;
    return open_external(assoc, family) == 0;
}

static void flush_up(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (env->to_external[slot].count)
            dgram_io_send(env->dgrams, &assoc->external[slot]->socket, &env->to_external[slot], &tally);
    assoc->flow.up_datagrams += tally.datagrams;
    assoc->flow.up_bytes += tally.bytes;
    metrics_add(&env->metrics.udp_up_datagrams_total, tally.datagrams);
    metrics_add(&env->metrics.udp_up_bytes_total, tally.bytes);
    count_losses(assoc, &tally);
}

/* `name` is what the client asked for, NULL when that was the address. */
static void send_up(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads)
{
    struct env *env = assoc->env;
    if (netaddr_port(to) == 0) {
        drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        return;
    }
    if (!permit(env, &assoc->subject, name, to, payloads->count, NULL)) {
        drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!has_external(assoc, to->sa.sa_family)) {
        drop(assoc, DROP_NO_SOCKET, payloads->count);
        return;
    }
    if (assoc->filter)
        filter_permit(assoc->filter, to);
    struct dgram_batch *batch = &env->to_external[family_index(to->sa.sa_family)];
    if (batch->count == DGRAM_BATCH_MAX)
        flush_up(assoc);
    struct dgram_run *run = &batch->runs[batch->count++];
    *run = *payloads;
    run->peer = *to;
}

/* One datagram. */
static struct dgram_run run_of_one(const uint8_t *payload, size_t len)
{
    return (struct dgram_run){.data = payload, .count = 1, .seg = (uint16_t)len, .last = (uint16_t)len};
}

static void deliver_named(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len)
{
    const struct dgram_run run = run_of_one(payload, len);
    send_up(arg, name, to, &run);
}

static void deliver_named_end(void *arg)
{
    flush_up(arg);
}

static void drop_named(void *arg, enum drop_reason reason, uint32_t count)
{
    drop(arg, reason, count);
}

static void send_up_by_name(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    if (!permit_name(assoc->env, &assoc->subject, name, port, payloads->count)) {
        drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!assoc->names) {
        const struct names_hooks hooks = {deliver_named, deliver_named_end, drop_named, assoc};
        assoc->names = names_new(assoc->env, &assoc->flow.client_host, assoc->user, &hooks);
    }
    for (size_t i = 0; i < payloads->count; i++) {
        const struct dgram_run one = run_of_one(dgram_run_at(payloads, i), dgram_run_len(payloads, i));
        union netaddr to;
        enum drop_reason reason = DROP_QUEUE_FULL;
        enum names_verdict verdict = NAMES_DROPPED;
        if (assoc->names)
            verdict = names_route(assoc->names, name, port, one.data, one.seg, &to, &reason);
        if (verdict == NAMES_KNOWN)
            send_up(assoc, name, &to, &one);
        else if (verdict == NAMES_DROPPED)
            drop(assoc, reason, 1);
    }
}

static void route_up(struct assoc *assoc, const struct socks5_addr *destination, const struct dgram_run *payloads)
{
    union netaddr to;
    char name[NAME_TEXT_MAX];
    switch (address_read(destination, &to, name)) {
    case ADDRESS_IP:
        send_up(assoc, NULL, &to, payloads);
        break;
    case ADDRESS_NAME:
        send_up_by_name(assoc, name, destination->port, payloads);
        break;
    case ADDRESS_BAD:
        drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        break;
    }
}

/* How many datagrams of a run, from the `first` on, start with the same `header_len` bytes. */
static uint16_t count_same_header(const struct dgram_run *run, size_t first, size_t header_len)
{
    uint16_t same = 1;
    while (first + same < run->count && dgram_run_len(run, first + same) >= header_len &&
           memcmp(dgram_run_at(run, first + same), dgram_run_at(run, first), header_len) == 0)
        same++;
    return same;
}

/* Takes the `first` datagram of a run, and those after it that go to the same destination. Returns how many. */
static uint16_t take_from_client(struct assoc *assoc, const struct dgram_run *run, size_t first, uint64_t now)
{
    const uint8_t *data = dgram_run_at(run, first);
    struct socks5_udp_header header;
    int decoded = socks5_udp_header_decode(data, dgram_run_len(run, first), &header);
    if (decoded < 0 || header.fragment != 0) {
        drop(assoc, decoded < 0 ? DROP_BAD_HEADER : DROP_FRAGMENT, 1);
        return 1;
    }
    uint16_t header_len = (uint16_t)decoded;
    uint16_t same = run->count == 1 ? 1 : count_same_header(run, first, header_len);
    if (!is_client(assoc, &run->peer, now)) {
        drop(assoc, DROP_OTHER_PORT, same);
        return same;
    }
    assoc->flow.last_up_ms = now;
    uint16_t last = (uint16_t)(dgram_run_len(run, first + same - 1u) - header_len);
    struct dgram_run payloads = {
        .data = data + header_len,
        .count = same,
        .seg = same == 1 ? last : (uint16_t)(run->seg - header_len),
        .last = last,
        .stride = run->stride,
    };
    if (within_rates(assoc, RATES_UP, &payloads))
        route_up(assoc, &header.destination, &payloads);
    return same;
}

static void on_client_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct assoc *assoc = arg;
    struct env *env = assoc->env;
    uint64_t now = env_now(env);
    size_t count = dgram_io_recv(env->dgrams, &assoc->client, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        if (!netaddr_equal_host(&run->peer, &assoc->flow.client_host)) {
            drop(assoc, DROP_STRANGER, run->count);
            continue;
        }
        for (size_t first = 0; first < run->count;)
            first += take_from_client(assoc, run, first, now);
    }
    flush_up(assoc);
}

/* ---- down ---- */

static void flush_down(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    if (env->to_client.count)
        dgram_io_send(env->dgrams, &assoc->client, &env->to_client, &tally);
    assoc->flow.down_datagrams += tally.datagrams;
    assoc->flow.down_bytes += tally.bytes;
    metrics_add(&env->metrics.udp_down_datagrams_total, tally.datagrams);
    metrics_add(&env->metrics.udp_down_bytes_total, tally.bytes);
    count_losses(assoc, &tally);
}

static void take_from_external(struct assoc *assoc, const struct dgram_run *run)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    if (assoc->flow.client.sa.sa_family == AF_UNSPEC) {
        drop(assoc, DROP_NO_CLIENT, run->count);
        return;
    }
    if (assoc->filter && !filter_admits(assoc->filter, &run->peer)) {
        drop(assoc, DROP_FILTERED, run->count);
        return;
    }
    if (batch->count == DGRAM_BATCH_MAX)
        flush_down(assoc);
    struct dgram_run *out = &batch->runs[batch->count];
    *out = *run;
    if (!within_rates(assoc, RATES_DOWN, out))
        return;
    const struct socks5_udp_header header = {.destination = address_to_wire(&run->peer)};
    out->header_len = (uint8_t)socks5_udp_header_encode(out->header, sizeof(out->header), &header);
    if (run->seg + out->header_len > DGRAM_PAYLOAD_MAX) {
        drop(assoc, DROP_OVERSIZE, out->count);
        return;
    }
    out->peer = assoc->connected ? (union netaddr){0} : assoc->flow.client;
    batch->count++;
}

static void on_external_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct external *external = arg;
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    size_t count = dgram_io_recv(env->dgrams, &external->socket, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++)
        take_from_external(assoc, &env->received[i]);
    /* What was dropped is no traffic: strangers could keep an association that nobody uses. */
    if (env->to_client.count)
        assoc->flow.last_down_ms = env_now(env);
    flush_down(assoc);
}

/* ---- life ---- */

static int take_terms(struct assoc *assoc, const char *user)
{
    const struct terms terms = env_terms(assoc->env, user, rules_find_everywhere(&assoc->subject));
    union netaddr *external = assoc->flow.external;
    external[FAMILY_V4] = terms.address_v4.sa.sa_family ? terms.address_v4 : netaddr_any(AF_INET);
    external[FAMILY_V6] = terms.address_v6.sa.sa_family ? terms.address_v6 : netaddr_any(AF_INET6);
    assoc->mark = terms.mark;
    if (!rates_new(&assoc->rates, &terms, user))
        return -ENOMEM;
    if (terms.filtering <= CONFIG_FILTERING_ENDPOINT_INDEPENDENT)
        return 0;
    assoc->filter = filter_new(terms.filtering);
    return assoc->filter ? 0 : -ENOMEM;
}

int assoc_new(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
              const union netaddr *local, const struct socks5_addr *hint)
{
    struct assoc *assoc = calloc(1, sizeof(*assoc));
    if (!assoc)
        return -ENOMEM;
    assoc->env = env;
    assoc->user = user;
    assoc->client.fd = -1;
    struct assoc_flow *flow = &assoc->flow;
    flow->client_host = *peer;
    netaddr_set_port(&flow->client_host, 0);
    flow->hint_port = address_hint(hint, peer);
    flow->started_ms = flow->last_up_ms = flow->last_down_ms = env_now(env);
    flow->relay = *local;

    int error = subject_init(&assoc->subject, env->rules, peer, user, CONFIG_COMMAND_UDP) ? 0 : -ENOMEM;
    if (!error && rules_deny_all(&assoc->subject)) /* who may send nowhere would still be sent to */
        error = -EACCES;
    if (!error)
        error = take_terms(assoc, user);
    if (!error)
        error = open_external(assoc, local->sa.sa_family);
    if (!error) {
        int fd = open_socket(env, &env->relay_ports, &flow->relay, 0);
        if (fd >= 0) {
            assoc->client = dgram_io_adopt(env->dgrams, fd);
            own_port_opened(OWN_PORT_RELAY, &flow->relay);
        } else {
            error = fd;
        }
    }
    if (error) {
        assoc_free(assoc);
        return error;
    }
    event_assign(&assoc->client_readable, env->base, assoc->client.fd, EV_READ | EV_PERSIST, on_client_readable, assoc);
    event_add(&assoc->client_readable, NULL);
    metrics_add(&env->metrics.associations_total, 1);
    *out = assoc;
    return 0;
}

void assoc_free(struct assoc *assoc)
{
    if (!assoc)
        return;
    const struct env *env = assoc->env;
    const struct assoc_flow *flow = &assoc->flow;
    uint64_t used_until = flow->last_up_ms > flow->last_down_ms ? flow->last_up_ms : flow->last_down_ms;
    if (assoc->client.fd >= 0) {
        event_del(&assoc->client_readable);
        own_port_closed(OWN_PORT_RELAY, &flow->relay);
        close(assoc->client.fd);
        ports_release(&env->relay_ports, &flow->relay, used_until);
    }
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = assoc->external[slot];
        if (!external)
            continue;
        event_del(&external->readable);
        own_port_closed(OWN_PORT_EXTERNAL, &flow->external[slot]);
        close(external->socket.fd);
        ports_release(&env->external_ports, &flow->external[slot], used_until);
        free(external);
    }
    names_free(assoc->names);
    filter_free(assoc->filter);
    subject_deinit(&assoc->subject);
    rates_free(assoc->rates);
    free(assoc);
}

bool assoc_review(struct assoc *assoc, const char *user)
{
    subject_deinit(&assoc->subject);
    return subject_init(&assoc->subject, assoc->env->rules, &assoc->flow.client_host, user, CONFIG_COMMAND_UDP) &&
           !rules_deny_all(&assoc->subject);
}

const struct assoc_flow *assoc_flow(const struct assoc *assoc)
{
    return &assoc->flow;
}

uint64_t assoc_idle_ms(const struct assoc *assoc, uint64_t now_ms)
{
    const struct assoc_flow *flow = &assoc->flow;
    return now_ms - (flow->last_up_ms > flow->last_down_ms ? flow->last_up_ms : flow->last_down_ms);
}

void assoc_set_room(struct assoc *assoc, int bytes)
{
    sock_udp_set_room(assoc->client.fd, bytes);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (assoc->external[slot])
            sock_udp_set_room(assoc->external[slot]->socket.fd, bytes);
}

size_t assoc_memory(const struct assoc *assoc)
{
    size_t held = sizeof(*assoc) + sock_memory(assoc->client.fd);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        if (assoc->external[slot])
            held += sock_memory(assoc->external[slot]->socket.fd);
    return held;
}

bool assoc_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const struct config *config = assoc->env->config;
    /* A silent client may come back from another port: only an unconnected socket would hear it. */
    if (assoc->connected && now_ms - assoc->flow.last_up_ms >= config->udp.rebind_after_ms)
        assoc->connected = sock_udp_disconnect(assoc->client.fd) != 0;
    return config->udp.idle_ms && assoc_idle_ms(assoc, now_ms) >= config->udp.idle_ms;
}
