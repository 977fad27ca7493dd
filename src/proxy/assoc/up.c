/* From the client to the internet. */
#include <string.h>

#include "net/sock.h"
#include "policy/hairpin.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/external_upstream.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/names.h"
#include "proxy/assoc/shared_port.h"
#include "proxy/assoc/sketch.h"
#include "proxy/permit.h"

/* How soon an external socket that could not be opened is tried again. */
#define REOPEN_AFTER_MS 1000

/* ---- the client ---- */

static bool is_known(const struct assoc *assoc)
{
    return assoc->flow.client.sa.sa_family != AF_UNSPEC;
}

static void hold_client(struct assoc *assoc)
{
    const union netaddr *client = &assoc->flow.client;
    int fd = assoc->client.fd;
    assoc->connected =
        (assoc->share ? share_connect(assoc->share, fd, client, true) : sock_udp_connect(fd, client)) == 0;
}

/* Hears the client, and whoever else may turn out to be it. */
static void accept_from_any_port(struct assoc *assoc)
{
    assoc->connected = false;
    if (assoc->share)
        (void)share_connect(assoc->share, assoc->client.fd, &assoc->flow.client, false);
    else
        (void)sock_udp_disconnect(assoc->client.fd);
}

void assoc_allow_rebind(struct assoc *assoc)
{
    if (assoc->share && is_known(assoc)) {
        assoc->connected = false;
        share_set_quiet(assoc->share, &assoc->flow.client);
    } else if (assoc->connected) { /* only an unconnected socket would hear the other port */
        assoc->connected = sock_udp_disconnect(assoc->client.fd) != 0;
    }
}

/* false: the system does not let us answer it. */
static bool learn_client(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    if (assoc->share && share_bind(assoc->share, assoc->client.fd) != 0)
        return false;
    assoc->flow.client = *peer;
    assoc->flow.learned_ms = now;
    /* While a hint names another port, that one may still speak up: see is_client(). */
    if (assoc->hint_port == 0 || assoc->hint_port == netaddr_port(peer))
        hold_client(assoc);
    else
        accept_from_any_port(assoc);
    return true;
}

/* Whether a valid datagram from the client's host is the client's own. Its port is learned from the first and held;
 * another port takes over when the hint named it, or when the client has been silent (its NAT may have rebound it). */
static bool is_client(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    const struct assoc_flow *flow = &assoc->flow;
    uint64_t rebind_after = assoc->env->config->udp.rebind_after_ms;
    uint16_t port = netaddr_port(peer);
    bool known = is_known(assoc);
    if (known && port == netaddr_port(&flow->client)) {
        bool hint_is_settled =
            assoc->hint_port == 0 || assoc->hint_port == port || now - flow->learned_ms >= rebind_after;
        if (!assoc->connected && hint_is_settled)
            hold_client(assoc);
        return true;
    }
    if (known && port != assoc->hint_port && now - flow->last_up_ms < rebind_after)
        return false;
    return learn_client(assoc, peer, now);
}

/* ---- to a destination ---- */

static bool has_external(struct assoc *assoc, int family)
{
    int slot = family_index(family);
    uint64_t failed_ms = assoc->open_failed_ms[slot];
    if (assoc->external[slot])
        return true;
    if (failed_ms && env_now(assoc->env) - failed_ms < REOPEN_AFTER_MS)
        return false;
    return assoc_open_external(assoc, family) == 0;
}

void assoc_flush_up(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = assoc->external[slot];
        if (!env->to_external[slot].count)
            continue;
        external->carried_ms = env_now(env);
        dgram_io_send(env->dgrams, &external->socket, &env->to_external[slot], &tally);
    }
    assoc_flow_count_up(&assoc->flow, &env->metrics, &tally);
}

/* `name` is what the client asked for, NULL when that was the address. */
static void send_up(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads)
{
    struct env *env = assoc->env;
    if (netaddr_port(to) == 0) {
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        return;
    }
    if (!permit(env, &assoc->subject, name, to, payloads->count, NULL)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    const int family = assoc->outlet ? outlet_family(assoc->outlet) : to->sa.sa_family;
    if (family == AF_UNSPEC || !has_external(assoc, family)) {
        assoc_drop(assoc, DROP_NO_SOCKET, payloads->count);
        return;
    }
    sketch_add(&assoc->flow.destinations, to);
    if (assoc->filter)
        filter_permit(assoc->filter, assoc->loan, to);
    struct dgram_batch *batch = &env->to_external[family_index(family)];
    if (batch->count == DGRAM_BATCH_MAX)
        assoc_flush_up(assoc);
    struct dgram_run *run = &batch->runs[batch->count];
    *run = *payloads;
    run->peer = *to;
    if (assoc->outlet && !outlet_address(assoc->outlet, to, run))
        return;
    if (!assoc->outlet && !assoc_is_bound(assoc))
        hairpin_inward(&env->policy, &run->peer);
    batch->count++;
}

/* Decides whether an address of a name is taken; each datagram is checked again when it is sent there. */
static bool can_reach(void *arg, const char *name, const union netaddr *to)
{
    struct assoc *assoc = arg;
    const int family = to->sa.sa_family;
    struct sock_way way = {.from = assoc->flow.external[family_index(family)]};
    if (assoc->egress)
        way.egress = *assoc->egress;
    netaddr_set_port(&way.from, 0);
    return subject_renew(&assoc->subject, assoc->env->rules) &&
           verdict_find(&assoc->env->policy, &assoc->subject, name, to).code == VERDICT_ALLOWED &&
           sock_has_route(to, &way) && has_external(assoc, family);
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
    assoc_flush_up(arg);
}

static void drop_named(void *arg, enum drop_reason reason, uint32_t count)
{
    assoc_drop(arg, reason, count);
}

/* As it is, for the upstream to resolve. */
static void send_up_unresolved(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    if (!permit_unresolved(assoc->env, &assoc->subject, name, port, payloads->count))
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
    else if (port == 0)
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
    else if (outlet_family(assoc->outlet) == AF_UNSPEC)
        assoc_drop(assoc, DROP_NO_SOCKET, payloads->count);
    else
        outlet_send_by_name(assoc->outlet, name, port, payloads);
}

static void send_up_by_name(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    if (!permit_name(assoc->env, &assoc->subject, name, port, payloads->count)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!assoc->names) {
        const struct names_hooks hooks = {can_reach, deliver_named, deliver_named_end, drop_named, assoc};
        assoc->names = names_new(assoc->env, assoc->loan, &assoc->subject.client, assoc->subject.user, &hooks);
    }
    for (size_t i = 0; i < payloads->count; i++) {
        struct dgram_run one = run_of_one(dgram_run_at(payloads, i), dgram_run_len(payloads, i));
        one.tos = payloads->tos;
        union netaddr to;
        enum drop_reason reason = DROP_QUEUE_FULL;
        enum names_verdict verdict = NAMES_DROPPED;
        if (assoc->names)
            verdict = names_route(assoc->names, name, port, one.data, one.seg, &to, &reason);
        if (verdict == NAMES_KNOWN)
            send_up(assoc, name, &to, &one);
        else if (verdict == NAMES_DROPPED)
            assoc_drop(assoc, reason, 1);
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
        (assoc->outlet ? send_up_unresolved : send_up_by_name)(assoc, name, destination->port, payloads);
        break;
    case ADDRESS_BAD:
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        break;
    }
}

void assoc_take_up(struct assoc *assoc, const struct socks5_addr *destination, struct dgram_run *payloads, uint64_t now)
{
    assoc->flow.last_up_ms = now;
    if (assoc_within_rates(assoc, RATES_UP, payloads))
        route_up(assoc, destination, payloads);
}

/* ---- from the relay socket ---- */

/* How many datagrams of a run, from the `first` on, start with the same `header_len` bytes. */
static uint16_t count_same_header(const struct dgram_run *run, size_t first, size_t header_len)
{
    uint16_t same = 1;
    while (first + same < run->count && dgram_run_len(run, first + same) >= header_len &&
           memcmp(dgram_run_at(run, first + same), dgram_run_at(run, first), header_len) == 0)
        same++;
    return same;
}

uint16_t assoc_cut(struct assoc *assoc, const struct dgram_run *run, size_t first, struct socks5_udp_header *header,
                   struct dgram_run *payloads)
{
    const uint8_t *data = dgram_run_at(run, first);
    int decoded = socks5_udp_header_decode(data, dgram_run_len(run, first), header);
    if (decoded < 0 || header->fragment != 0) {
        assoc_drop(assoc, decoded < 0 ? DROP_BAD_HEADER : DROP_FRAGMENT, 1);
        payloads->count = 0;
        return 1;
    }
    uint16_t header_len = (uint16_t)decoded;
    uint16_t same = run->count == 1 ? 1 : count_same_header(run, first, header_len);
    uint16_t last = (uint16_t)(dgram_run_len(run, first + same - 1u) - header_len);
    *payloads = (struct dgram_run){
        .data = data + header_len,
        .count = same,
        .seg = same == 1 ? last : (uint16_t)(run->seg - header_len),
        .last = last,
        .stride = run->stride,
        .tos = run->tos,
    };
    return same;
}

/* Takes the `first` datagram of a run, and those after it that go to the same destination. Returns how many. */
static uint16_t take_from_client(struct assoc *assoc, const struct dgram_run *run, size_t first, uint64_t now)
{
    struct socks5_udp_header header;
    struct dgram_run payloads;
    uint16_t same = assoc_cut(assoc, run, first, &header, &payloads);
    if (payloads.count == 0)
        return same;
    if (is_client(assoc, &run->peer, now))
        assoc_take_up(assoc, &header.destination, &payloads, now);
    else
        assoc_drop(assoc, DROP_OTHER_PORT, same);
    return same;
}

static void take_run(struct assoc *assoc, const struct dgram_run *run, uint64_t now)
{
    for (size_t first = 0; first < run->count;)
        first += take_from_client(assoc, run, first, now);
}

void assoc_take_shared(void *arg, const struct dgram_run *run)
{
    struct assoc *assoc = arg;
    const union netaddr *client = &assoc->flow.client;
    if (!assoc_may_go_on(assoc)) {
        assoc_drop(assoc, DROP_REFUSED, run->count);
        return;
    }
    take_run(assoc, run, env_now(assoc->env));
    assoc_flush_up(assoc);
    if (!netaddr_equal(client, &run->peer)) /* it was refused after all */
        share_set(assoc->share, client,
                  !is_known(assoc)   ? SHARED_PORT_WAITING
                  : assoc->connected ? SHARED_PORT_HELD
                                     : SHARED_PORT_QUIET);
}

void assoc_on_client(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct assoc *assoc = arg;
    struct env *env = assoc->env;
    uint64_t now = env_now(env);
    bool refused = !assoc_may_go_on(assoc);
    size_t count = dgram_io_recv(env->dgrams, &assoc->client, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        if (assoc->share && !netaddr_equal(&run->peer, &assoc->flow.client)) {
            assoc_flush_up(assoc); /* the next is another's, with whom it shares the buffers */
            shared_port_route(env, &assoc->flow.relay, run);
        } else if (!netaddr_equal_host(&run->peer, &assoc->subject.client)) {
            bool may_be_client = netaddr_equal_network(&run->peer, &assoc->subject.client);
            assoc_drop(assoc, may_be_client ? DROP_OTHER_ADDRESS : DROP_STRANGER, run->count);
        } else if (refused) {
            assoc_drop(assoc, DROP_REFUSED, run->count);
        } else {
            take_run(assoc, run, now);
        }
    }
    assoc_flush_up(assoc);
}
