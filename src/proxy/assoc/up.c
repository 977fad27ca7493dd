/*
 * From the client to the internet.
 *
 * The internal end receives and calls assoc_take_from_client(), or assoc_take_up() when it has cut the headers itself;
 * what may go out waits in the worker's batches, one for each family, until the internal end calls assoc_flush_up().
 */
#include "net/sock.h"
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/client_port.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/names.h"
#include "proxy/assoc/sketch.h"
#include "proxy/assoc/udp_header.h"
#include "proxy/permit.h"

/* ---- to a destination ---- */

/* An end that cannot be opened is tried once a second. */
static int up_open_external(struct assoc *assoc, int family)
{
    uint16_t *failed_s = &assoc->open_failed_s[family_index(family)], now_s = (uint16_t)(env_now(assoc->env) / 1000);
    if (*failed_s && *failed_s == now_s)
        return -1;
    assert(assoc->external_ops->open);
    int error = assoc->external_ops->open(assoc, family);
    if (error)
        *failed_s = now_s;
    return error;
}

/* The end for destinations of a family. NULL: it cannot be opened, or is not yet. */
static struct external *up_find_external(struct assoc *assoc, int family)
{
    struct external *const *external = &assoc->external[family_index(family)];
    if (!*external && up_open_external(assoc, family) != 0)
        return NULL;
    return external_socket_is_open(*external) ? *external : NULL;
}

void assoc_flush_up(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = assoc->external[slot];
        if (!env->to_external[slot].count)
            continue;
        assert(external && external_socket_is_open(external));
        external->carried_ms = env_now(env);
        const size_t count = env->to_external[slot].count;
        const uint64_t sent_before = tally.datagrams;
        external->ops->send(external, &env->to_external[slot], &tally);
        kernel_relay_sent(assoc, env->to_external[slot].runs, count, tally.datagrams - sent_before);
    }
    assoc_flow_count_up(&assoc->flow, &env->metrics, &tally);
    assoc_assert_batches_are_empty(env);
}

/* `name` is what the client asked for, NULL when that was the address. */
static void up_send(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads)
{
    const int family = to->sa.sa_family;
    assert(payloads->count > 0 && payloads->last <= payloads->seg);
    if (netaddr_port(to) == 0) {
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        return;
    }
    if (!permit(assoc->env, &assoc->subject, name, to, payloads->count, NULL)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!up_find_external(assoc, family)) {
        assoc_drop(assoc, DROP_NO_SOCKET, payloads->count);
        return;
    }
    sketch_add(&assoc->flow.destinations, to);
    if (assoc->filter)
        filter_permit(assoc->filter, assoc->loan, to);
    struct dgram_batch *batch = &assoc->env->to_external[family_index(family)];
    if (batch->count == DGRAM_BATCH_MAX)
        assoc_flush_up(assoc);
    struct dgram_run *run = &batch->runs[batch->count++];
    *run = *payloads;
    run->peer = *to;
    run->by_name = name != NULL;
}

/* ---- to a name ---- */

/* Decides whether an address of a name is taken; each datagram is checked again when it is sent there. */
static bool up_can_reach(void *arg, const char *name, const union netaddr *to)
{
    struct assoc *assoc = arg;
    const int family = to->sa.sa_family;
    struct sock_way way = {.from = assoc->flow.external[family_index(family)]};
    if (assoc->egress)
        way.egress = *assoc->egress;
    netaddr_set_port(&way.from, 0);
    return assoc_may_go_on(assoc) &&
           verdict_find(&assoc->env->policy, &assoc->subject, name, to).code == VERDICT_ALLOWED &&
           sock_has_route(to, &way) && up_find_external(assoc, family);
}

/* One datagram. */
static struct dgram_run run_of_one(const uint8_t *payload, size_t len)
{
    return (struct dgram_run){.data = payload, .count = 1, .seg = (uint16_t)len, .last = (uint16_t)len};
}

static void up_send_resolved(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len)
{
    const struct dgram_run run = run_of_one(payload, len);
    (void)assoc_may_go_on(arg); /* after a reload: up_send() asks by its rules */
    up_send(arg, name, to, &run);
}

static void up_flush_resolved(void *arg)
{
    assoc_flush_up(arg);
}

static void up_on_name_address(void *arg, const union netaddr *address)
{
    kernel_relay_release_host(arg, address);
}

static void up_drop_unresolved(void *arg, enum drop_reason reason, uint32_t count)
{
    assoc_drop(arg, reason, count);
}

/* As it is: the external end resolves names, and so serves all. */
static void up_send_name(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    struct external *external = up_find_external(assoc, AF_INET);
    struct dgram_tally tally = {0};
    if (!permit_unresolved(assoc->env, &assoc->subject, name, port, payloads->count)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
    } else if (port == 0) {
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
    } else if (!external) {
        assoc_drop(assoc, DROP_NO_SOCKET, payloads->count);
    } else {
        sketch_add_name(&assoc->flow.destinations, name, port);
        assoc_flush_up(assoc);
        external->carried_ms = env_now(assoc->env);
        external->ops->send_named(external, name, port, payloads, &tally);
        assoc_flow_count_up(&assoc->flow, &assoc->env->metrics, &tally);
    }
}

static void up_resolve_name(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads)
{
    if (!permit_name(assoc->env, &assoc->subject, name, port, payloads->count)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    if (!assoc->names) {
        const struct names_hooks hooks = {up_can_reach,      up_on_name_address, up_send_resolved,
                                          up_flush_resolved, up_drop_unresolved, assoc};
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
            up_send(assoc, name, &to, &one);
        else if (verdict == NAMES_DROPPED)
            assoc_drop(assoc, reason, 1);
    }
}

/* ---- from the client ---- */

static void up_route(struct assoc *assoc, const struct socks5_addr *destination, const struct dgram_run *payloads)
{
    union netaddr to;
    char name[NAME_TEXT_MAX];
    switch (address_read(destination, &to, name)) {
    case ADDRESS_IP:
        up_send(assoc, NULL, &to, payloads);
        break;
    case ADDRESS_NAME:
        (assoc->external_ops->send_named ? up_send_name : up_resolve_name)(assoc, name, destination->port, payloads);
        break;
    case ADDRESS_BAD:
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        break;
    }
}

void assoc_take_up(struct assoc *assoc, const struct socks5_addr *destination, struct dgram_run *payloads, uint64_t now)
{
    assert(assoc->state != ASSOC_ENDING);
    assoc->flow.last_up_ms = now;
    if (assoc_within_rates(assoc, RATES_UP, payloads))
        up_route(assoc, destination, payloads);
}

/* Takes the `first` datagram of a run, and those after it that go to the same destination. Returns how many. */
static uint16_t up_take_same(struct assoc *assoc, const struct dgram_run *run, size_t first, uint64_t now)
{
    struct socks5_udp_header header;
    struct dgram_run payloads;
    enum drop_reason reason;
    uint16_t same = udp_header_cut(run, first, &header, &payloads, &reason);
    if (payloads.count == 0)
        assoc_drop(assoc, reason, same);
    else if (client_port_accepts(assoc, &run->peer, now))
        assoc_take_up(assoc, &header.destination, &payloads, now);
    else
        assoc_drop(assoc, DROP_OTHER_PORT, same);
    return same;
}

void assoc_take_from_client(struct assoc *assoc, const struct dgram_run *run, uint64_t now)
{
    for (size_t first = 0; first < run->count;)
        first += up_take_same(assoc, run, first, now);
}
