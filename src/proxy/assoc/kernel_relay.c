/*
 * What the kernel must not take over, because user space has to see it:
 * - datagrams to and from hosts that the client reaches by name: rules may allow the name but not the address, and
 *   names.c waits for answers;
 * - those to this host's advertised address, which hairpin.h may turn inward at any time.
 *
 * An association with rate limits gives the program credit: a part of what its buckets have, paid in advance. Beyond it
 * the program leaves datagrams to user space, which drops them, or sends them and gives new credit. Unused credit
 * returns to the buckets after a second, so that other associations of the user can have it.
 */
#include "proxy/assoc/kernel_relay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proxy/assoc/branch_list.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/names.h"
#include "proxy/assoc/sketch.h"

/* A slot rests after use. So an association that loses its slot again and again leaves the others their slots. */
#define RETRY_AFTER_MS 1000
/* Routes to a client seldom change. */
#define RETRY_UNREACHED_AFTER_MS (60 * 1000)

/* ---- whether ---- */

/* What keeps it in user space; it need not be so forever. */
static enum kernel_reason kernel_relay_obstacle(const struct assoc *assoc)
{
    const struct internal_ops *internal = assoc->internal.ops;
    if (!assoc->env->kernel)
        return KERNEL_REASON_INACTIVE;
    if (internal->over_tcp)
        return KERNEL_REASON_OVER_TCP;
    if (assoc_sends_names(assoc))
        return KERNEL_REASON_UPSTREAM;
    if (!internal->has_own_port)
        return KERNEL_REASON_SHARED_PORT;
    if (!branch_is_alone(assoc)) /* each port adds to what waits in the one socket */
        return KERNEL_REASON_CLIENT_PORTS;
    if (external_socket_is_bound(assoc) || (assoc->egress && assoc->egress->mark))
        return KERNEL_REASON_EGRESS;
    if (assoc->env->config->udp.df == CONFIG_DF_PROBE)
        return KERNEL_REASON_PROBE;
    return assoc->holds_client ? KERNEL_REASON_NONE : KERNEL_REASON_CLIENT;
}

static enum kernel_reason kernel_relay_reason(const struct assoc *assoc)
{
    const struct kernel_relay *relay = assoc->kernel;
    if (assoc->env->kernel && kernel_worker_is_paused(assoc->env->kernel))
        return KERNEL_REASON_INACTIVE;
    if (relay && relay->slot)
        return relay->has_flow ? KERNEL_REASON_NONE : KERNEL_REASON_FLOW;
    const enum kernel_reason obstacle = kernel_relay_obstacle(assoc);
    if (obstacle)
        return obstacle;
    return relay && relay->failed ? relay->failed : KERNEL_REASON_FLOW;
}

struct kernel_use kernel_relay_use(const struct assoc *assoc)
{
    struct kernel_use use = {.reason = kernel_relay_reason(assoc)};
    if (assoc->kernel) {
        use.up_datagrams = assoc->kernel->datagrams[KERNEL_UP];
        use.down_datagrams = assoc->kernel->datagrams[KERNEL_DOWN];
    }
    return use;
}

/* ---- the slot ---- */

/* The end that faces the internet in the client's address family; NULL: not opened yet. */
static struct external *kernel_relay_external(const struct assoc *assoc)
{
    return assoc->external[family_index(assoc->flow.relay.sa.sa_family)];
}

/* Otherwise a path's limit of size, which ICMP tells, would go unnoticed. Routers fragment IPv4 datagrams. */
static void kernel_relay_keep_icmp(struct assoc *assoc)
{
    const int family = assoc->flow.relay.sa.sa_family;
    if (family != AF_INET6 || assoc->kernel->keeps_icmp)
        return;
    icmp_keep(assoc->internal.socket.fd, family);
    if (!assoc->env->counts_icmp) /* else it does already */
        icmp_keep(kernel_relay_external(assoc)->socket.fd, family);
    assoc->kernel->keeps_icmp = true;
}

static enum kernel_reason kernel_relay_reason_of(int error)
{
    return error == ENOSPC        ? KERNEL_REASON_SLOTS
           : error == ENETUNREACH ? KERNEL_REASON_INTERFACE
                                  : KERNEL_REASON_RESOURCES;
}

static void kernel_relay_open_slot(struct assoc *assoc)
{
    struct kernel_relay *relay = assoc->kernel;
    const struct external *external = kernel_relay_external(assoc);
    const uint8_t carried = env_carried_tos(assoc->env);
    const struct kernel_slot_setup setup = {
        .client = &assoc->flow.client,
        .relay = &assoc->flow.relay,
        .external = &assoc->flow.external[family_index(assoc->flow.relay.sa.sa_family)],
        .tos_up = {.keep = carried, .set = external->socket.tos & (uint8_t)~carried},
        .tos_down = {.keep = carried, .set = assoc->internal.socket.tos & (uint8_t)~carried},
        .is_limited = assoc->rates != NULL,
    };
    relay->slot = kernel_slot_new(assoc->env->kernel, &setup);
    relay->failed = relay->slot ? KERNEL_REASON_NONE : kernel_relay_reason_of(errno);
    relay->carried_tos = carried;
    relay->retry_ms =
        env_now(assoc->env) + (relay->failed == KERNEL_REASON_INTERFACE ? RETRY_UNREACHED_AFTER_MS : RETRY_AFTER_MS);
    if (relay->slot)
        kernel_relay_keep_icmp(assoc);
}

/* Some destination has been sent to twice, or nearly so: see sketch.h. */
static bool kernel_relay_is_worth_it(const struct assoc *assoc, uint64_t sent)
{
    return assoc->flow.up_datagrams + sent > (uint64_t)__builtin_popcountll(assoc->flow.destinations);
}

/* false: it has no slot, and gets none now. */
static bool kernel_relay_has_slot(struct assoc *assoc, uint64_t sent)
{
    if (assoc->kernel && assoc->kernel->slot)
        return true;
    if (!kernel_relay_is_worth_it(assoc, sent) || kernel_relay_obstacle(assoc) || !kernel_relay_external(assoc))
        return false;
    if (!assoc->kernel)
        assoc->kernel = calloc(1, sizeof(*assoc->kernel));
    if (!assoc->kernel || env_now(assoc->env) < assoc->kernel->retry_ms)
        return false;
    kernel_relay_open_slot(assoc);
    return assoc->kernel->slot != NULL;
}

/* ---- flows ---- */

static uint64_t kernel_relay_host_bit(const union netaddr *host)
{
    union netaddr any_port = *host;
    uint64_t bit = 0;
    netaddr_set_port(&any_port, 0);
    sketch_add(&bit, &any_port);
    return bit;
}

/* Whether the kernel may relay what the client sends to that peer, and what comes back. */
static bool kernel_relay_may_take(const struct assoc *assoc, const struct dgram_run *run)
{
    const union netaddr *peer = &run->peer;
    return !run->by_name && peer->sa.sa_family == assoc->flow.relay.sa.sa_family &&
           !netaddr_equal_host(peer, policy_advertised(&assoc->env->policy, peer)) &&
           !(assoc->names && names_has_address(assoc->names, peer));
}

static void kernel_relay_install_flow(struct assoc *assoc, const union netaddr *peer)
{
    struct kernel_relay *relay = assoc->kernel;
    if (!kernel_slot_sent(assoc->env->kernel, relay->slot, peer))
        return;
    relay->has_flow = true;
    relay->hosts |= kernel_relay_host_bit(peer);
}

void kernel_relay_install(struct assoc *assoc, const struct dgram_run *runs, size_t count, uint64_t sent)
{
    uint64_t given = 0;
    for (size_t i = 0; i < count; i++)
        given += runs[i].count;
    if (given != sent) /* what the system refuses to send for user space, the program must not send either */
        return;
    for (size_t i = 0; i < count; i++)
        if (kernel_relay_may_take(assoc, &runs[i]) && kernel_relay_has_slot(assoc, sent))
            kernel_relay_install_flow(assoc, &runs[i].peer);
}

void kernel_relay_release_host(struct assoc *assoc, const union netaddr *host)
{
    if (assoc->kernel && assoc->kernel->hosts & kernel_relay_host_bit(host))
        kernel_relay_stop(assoc);
}

/* ---- credit ---- */

static_assert((int)KERNEL_UP == (int)RATES_UP && (int)KERNEL_DOWN == (int)RATES_DOWN, "one order of directions");

static void kernel_relay_withdraw(struct assoc *assoc, enum kernel_way way)
{
    struct kernel_credit unused;
    kernel_slot_withdraw(assoc->kernel->slot, way, &unused);
    const struct rates_credit tokens = {unused.datagrams, unused.bytes};
    rates_return(assoc->rates, (enum rates_way)way, &tokens);
}

static void kernel_relay_grant(struct assoc *assoc, enum kernel_way way, uint64_t now_ms)
{
    const struct rates_credit tokens = rates_reserve(assoc->rates, (enum rates_way)way, now_ms);
    const struct kernel_credit credit = {tokens.datagrams, tokens.bytes};
    kernel_slot_allow(assoc->kernel->slot, way, &credit);
}

static void kernel_relay_renew_credit(struct assoc *assoc, enum kernel_way way)
{
    if (!assoc->rates || !kernel_slot_needs_credit(assoc->kernel->slot, way))
        return;
    kernel_relay_withdraw(assoc, way);
    kernel_relay_grant(assoc, way, env_now(assoc->env));
}

/* A direction that the kernel has not relayed lately gets credit again when a datagram comes. */
static void kernel_relay_sweep_credit(struct assoc *assoc, const struct kernel_carried *carried, uint64_t now_ms)
{
    if (!assoc->rates)
        return;
    for (enum kernel_way way = 0; way < KERNEL_WAYS; way++) {
        kernel_relay_withdraw(assoc, way);
        if (carried->way[way].datagrams)
            kernel_relay_grant(assoc, way, now_ms);
    }
}

static void kernel_relay_end_credit(struct assoc *assoc)
{
    if (!assoc->rates)
        return;
    for (enum kernel_way way = 0; way < KERNEL_WAYS; way++)
        kernel_relay_withdraw(assoc, way);
}

/* ---- what user space has received ---- */

void kernel_relay_publish(struct assoc *assoc, enum kernel_way way, size_t count, int fd)
{
    const struct kernel_relay *relay = assoc->kernel;
    uint32_t datagrams = 0;
    if (!relay->slot || (way == KERNEL_DOWN && fd != kernel_relay_external(assoc)->socket.fd))
        return;
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &assoc->env->received[i];
        if (way == KERNEL_DOWN || netaddr_equal(&run->peer, &assoc->flow.client))
            datagrams += run->count;
    }
    if (datagrams)
        kernel_relay_renew_credit(assoc, way);
    kernel_slot_caught_up(relay->slot, way, datagrams, fd);
}

/* The next slot's flows are installed with the size that the path takes now. */
void kernel_relay_heed(struct assoc *assoc, const uint32_t icmp[ICMP_KIND_COUNT])
{
    if (icmp[ICMP_TOO_BIG])
        kernel_relay_stop(assoc);
}

/* ---- what the kernel has relayed ---- */

static void kernel_relay_note_time(uint64_t *last_ms, uint64_t relayed_ms, uint64_t now_ms)
{
    /* The program's clock may be ahead of `now_ms`, which is an event's. */
    const uint64_t at_ms = relayed_ms < now_ms ? relayed_ms : now_ms;
    if (at_ms > *last_ms)
        *last_ms = at_ms;
}

static void kernel_relay_count(struct assoc *assoc, const struct kernel_carried *carried, uint64_t now_ms)
{
    struct metrics *metrics = &assoc->env->metrics;
    struct assoc_flow *flow = &assoc->flow;
    const uint64_t up = carried->way[KERNEL_UP].datagrams, down = carried->way[KERNEL_DOWN].datagrams;
    const uint64_t up_bytes = carried->way[KERNEL_UP].bytes, down_bytes = carried->way[KERNEL_DOWN].bytes;
    if (up + down == 0)
        return;
    flow->up_datagrams += up;
    flow->up_bytes += up_bytes;
    flow->down_datagrams += down;
    flow->down_bytes += down_bytes;
    metrics_add(&metrics->udp_up_datagrams_total, up);
    metrics_add(&metrics->udp_up_bytes_total, up_bytes);
    metrics_add(&metrics->udp_down_datagrams_total, down);
    metrics_add(&metrics->udp_down_bytes_total, down_bytes);
    metrics_add(&metrics->udp_kernel_up_datagrams_total, up);
    metrics_add(&metrics->udp_kernel_up_bytes_total, up_bytes);
    metrics_add(&metrics->udp_kernel_down_datagrams_total, down);
    metrics_add(&metrics->udp_kernel_down_bytes_total, down_bytes);
    assoc->kernel->datagrams[KERNEL_UP] += up;
    assoc->kernel->datagrams[KERNEL_DOWN] += down;
    kernel_relay_note_time(&flow->last_up_ms, carried->way[KERNEL_UP].last_ms, now_ms);
    kernel_relay_note_time(&flow->last_down_ms, carried->way[KERNEL_DOWN].last_ms, now_ms);
    kernel_relay_note_time(&kernel_relay_external(assoc)->carried_ms, assoc_flow_last_ms(flow), now_ms);
}

void kernel_relay_take(struct assoc *assoc, uint64_t now_ms)
{
    struct kernel_carried carried;
    if (!assoc->kernel || !assoc->kernel->slot)
        return;
    kernel_slot_take(assoc->kernel->slot, &carried);
    kernel_relay_count(assoc, &carried, now_ms);
}

/* ---- the end of a slot ---- */

void kernel_relay_stop(struct assoc *assoc)
{
    struct kernel_relay *relay = assoc->kernel;
    struct kernel_carried carried;
    if (!relay || !relay->slot)
        return;
    kernel_relay_end_credit(assoc);
    kernel_slot_free(assoc->env->kernel, relay->slot, &carried);
    kernel_relay_count(assoc, &carried, env_now(assoc->env));
    relay->slot = NULL;
    relay->has_flow = false;
    relay->hosts = 0;
    relay->retry_ms = env_now(assoc->env) + RETRY_AFTER_MS;
}

static bool kernel_relay_is_stuck(const struct assoc *assoc)
{
    struct kernel_slot *slot = assoc->kernel->slot;
    const bool up = kernel_slot_is_stuck(slot, KERNEL_UP, assoc->internal.socket.fd);
    return kernel_slot_is_stuck(slot, KERNEL_DOWN, kernel_relay_external(assoc)->socket.fd) || up;
}

/* While the kernel relays, a stateful packet filter forgets the flows. If one datagram then goes to user space and is
 * dropped, so are all after it. What user space sends makes the filter learn the flows again. */
void kernel_relay_sweep(struct assoc *assoc, uint64_t now_ms)
{
    struct kernel_carried carried;
    if (!assoc->kernel || !assoc->kernel->slot)
        return;
    kernel_slot_take(assoc->kernel->slot, &carried);
    kernel_relay_count(assoc, &carried, now_ms);
    if (kernel_relay_is_stuck(assoc))
        kernel_relay_stop(assoc);
    else
        kernel_relay_sweep_credit(assoc, &carried, now_ms);
}

void kernel_relay_move_client(struct assoc *assoc)
{
    if (!assoc->kernel || !assoc->kernel->slot)
        return;
    if (assoc->holds_client)
        kernel_slot_move_client(assoc->kernel->slot, netaddr_port(&assoc->flow.client));
    else
        kernel_relay_stop(assoc);
}

void kernel_relay_review(struct assoc *assoc)
{
    if (assoc->kernel && assoc->kernel->slot &&
        (kernel_relay_obstacle(assoc) || assoc->kernel->carried_tos != env_carried_tos(assoc->env)))
        kernel_relay_stop(assoc);
}

void kernel_relay_free(struct assoc *assoc)
{
    kernel_relay_stop(assoc);
    free(assoc->kernel);
    assoc->kernel = NULL;
}
