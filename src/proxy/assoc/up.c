/*
 * From the client to the internet.
 *
 * The internal end receives and calls assoc_take_from_client(), or assoc_take_up() when it has cut the headers itself;
 * what may go out waits in the worker's batches, one for each family, until the internal end calls assoc_flush_up().
 */
#include "proxy/address.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch.h"
#include "proxy/assoc/external_direct.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/kernel_relay.h"
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
    int error = external_direct_open(assoc, family);
    if (error)
        *failed_s = now_s;
    return error;
}

struct external *assoc_find_external(struct assoc *assoc, int family)
{
    struct external *const *external = &assoc->external[family_index(family)];
    if (!*external && up_open_external(assoc, family) != 0)
        return NULL;
    return external_socket_is_open(*external) || assoc->is_branch ? *external : NULL;
}

void assoc_flush_up(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        struct external *external = assoc->external[slot];
        if (!env->to_external[slot].count)
            continue;
        assert(external && (external_socket_is_open(external) || assoc->is_branch));
        external->carried_ms = env_now(env);
        const size_t count = env->to_external[slot].count;
        const uint64_t sent_before = tally.datagrams;
        external->ops->send(external, &env->to_external[slot], &tally);
        kernel_relay_sent(assoc, env->to_external[slot].runs, count, tally.datagrams - sent_before);
    }
    assoc_flow_count_up(&assoc->flow, &env->metrics, &tally);
    assoc_assert_batches_are_empty(env);
}

static void up_put(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads)
{
    const int family = to->sa.sa_family;
    if (!assoc_find_external(assoc, family)) {
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

void assoc_send_up(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads)
{
    uint32_t rule;
    assert(payloads->count > 0 && payloads->last <= payloads->seg);
    if (netaddr_port(to) == 0) {
        assoc_drop(assoc, DROP_BAD_DESTINATION, payloads->count);
        return;
    }
    if (!permit(assoc->env, &assoc->subject, name, to, payloads->count, &rule)) {
        assoc_drop(assoc, DROP_REFUSED, payloads->count);
        return;
    }
    struct assoc *exit = branch_exit(assoc, rule);
    if (!exit) {
        assoc_drop(assoc, DROP_NO_UPSTREAM, payloads->count);
        return;
    }
    if (exit != assoc) {
        assoc_flush_up(assoc);
        exit->names = assoc->names; /* answers by the exit are answers to them */
        exit->flow.last_up_ms = assoc->flow.last_up_ms;
    }
    up_put(exit, name, to, payloads);
    if (exit != assoc)
        assoc_flush_up(exit);
}

/* ---- from the client ---- */

static void up_route(struct assoc *assoc, const struct socks5_addr *destination, const struct dgram_run *payloads)
{
    union netaddr to;
    char name[NAME_TEXT_MAX];
    switch (address_read(destination, &to, name)) {
    case ADDRESS_IP:
        assoc_send_up(assoc, NULL, &to, payloads);
        break;
    case ADDRESS_NAME:
        assoc_take_up_named(assoc, name, destination->port, payloads);
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

/* The worker's batches hold datagrams of one association, or branch, at a time. */
static void up_give_to(struct assoc *taker, struct assoc *assoc, const struct socks5_addr *destination,
                       struct dgram_run *payloads, uint64_t now)
{
    if (taker != assoc)
        assoc_flush_up(assoc);
    assoc_take_up(taker, destination, payloads, now);
    if (taker != assoc)
        assoc_flush_up(taker);
}

/* Takes the `first` datagram of a run, and those after it that go to the same destination. Returns how many. */
static uint16_t up_take_same(struct assoc *assoc, const struct dgram_run *run, size_t first, uint64_t now)
{
    struct socks5_udp_header header;
    struct dgram_run payloads;
    enum drop_reason reason;
    uint16_t same = udp_header_cut(run, first, &header, &payloads, &reason);
    struct assoc *taker = payloads.count ? branch_find(assoc, &run->peer, now) : NULL;
    if (taker)
        up_give_to(taker, assoc, &header.destination, &payloads, now);
    else
        assoc_drop(assoc, payloads.count ? DROP_OTHER_PORT : reason, same);
    return same;
}

void assoc_take_from_client(struct assoc *assoc, const struct dgram_run *run, uint64_t now)
{
    for (size_t first = 0; first < run->count;)
        first += up_take_same(assoc, run, first, now);
}
