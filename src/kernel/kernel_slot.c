#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernel/flow_table.h"
#include "kernel/kernel_path_impl.h"
#include "kernel/route.h"

#define DATAGRAM_MAX 65535 /* payload bytes, on a path of any size */

struct kernel_worker {
    struct kernel_path *path;
    uint32_t index;
    struct routes routes;
    struct flow_table *table;
};

static_assert((int)KERNEL_UP == (int)FLOW_UP && (int)KERNEL_DOWN == (int)FLOW_DOWN, "one order of directions");

/* ---- worker ---- */

struct kernel_worker *kernel_worker_new(struct kernel_path *path, unsigned index)
{
    struct kernel_worker *worker = index < FLOW_WORKERS ? calloc(1, sizeof(*worker)) : NULL;
    if (!worker)
        return NULL;
    *worker = (struct kernel_worker){.path = path, .index = index, .table = flow_table_new()};
    if (routes_open(&worker->routes) == 0 && worker->table)
        return worker;
    kernel_worker_free(worker);
    return NULL;
}

void kernel_worker_free(struct kernel_worker *worker)
{
    if (!worker)
        return;
    routes_close(&worker->routes);
    flow_table_free(worker->table);
    free(worker);
}

static uint32_t worker_generation(const struct kernel_worker *worker)
{
    return __atomic_load_n(&worker->path->shared->generation[worker->index], __ATOMIC_ACQUIRE);
}

void kernel_worker_revoke(struct kernel_worker *worker)
{
    __atomic_fetch_add(&worker->path->shared->generation[worker->index], 1, __ATOMIC_RELEASE);
}

bool kernel_worker_is_paused(const struct kernel_worker *worker)
{
    return kernel_path_why_paused(worker->path);
}

/* ---- ports ---- */

static struct flow_endpoint endpoint_of(const union netaddr *address)
{
    struct flow_endpoint endpoint = {.port = htons(netaddr_port(address))};
    if (address->sa.sa_family == AF_INET) {
        endpoint.address[2] = htonl(0xffff);
        endpoint.address[3] = address->v4.sin_addr.s_addr;
    } else {
        memcpy(endpoint.address, &address->v6.sin6_addr, sizeof(endpoint.address));
    }
    return endpoint;
}

static bool slot_add_port(const struct kernel_path *path, struct kernel_slot *slot, const struct flow_endpoint *port,
                          enum flow_way way)
{
    const struct flow_port value = {.slot = slot->index, .way = way};
    if (slot->port_count == sizeof(slot->ports) / sizeof(slot->ports[0]) ||
        bpf_map_update_elem(path->ports, port, &value, BPF_ANY) < 0)
        return false;
    slot->ports[slot->port_count++] = *port;
    return true;
}

/* Peers send to the external port at the address that they see: the program learns these one by one. */
static bool slot_has_external(const struct kernel_path *path, struct kernel_slot *slot, const union netaddr *local)
{
    const struct flow_endpoint port = endpoint_of(local);
    for (size_t i = 1; i < slot->port_count; i++)
        if (memcmp(&slot->ports[i], &port, sizeof(port)) == 0)
            return true;
    return slot_add_port(path, slot, &port, FLOW_DOWN);
}

static void slot_remove_ports(const struct kernel_path *path, struct kernel_slot *slot)
{
    for (size_t i = 0; i < slot->port_count; i++)
        (void)bpf_map_delete_elem(path->ports, &slot->ports[i]);
    slot->port_count = 0;
}

/* ---- life of a slot ---- */

/* Where the client is, as the routes are in this generation. */
static bool slot_find_client(struct kernel_worker *worker, struct kernel_slot *slot, uint32_t generation)
{
    struct kernel_route route;
    if (!routes_find(&worker->routes, &slot->relay, &slot->client, &route) ||
        !links_have(&worker->path->links, route.interface))
        return false;
    slot->memory->client_interface = route.interface;
    slot->memory->client_mtu = route.mtu;
    const struct flow_endpoint next_hop = endpoint_of(&route.next_hop);
    memcpy(slot->memory->client_next_hop, next_hop.address, sizeof(next_hop.address));
    slot->generation = generation;
    return true;
}

static void slot_catch_up_anew(struct kernel_slot *slot)
{
    for (enum flow_way way = 0; way < FLOW_WAYS; way++)
        catch_up_begin(&slot->catch_up[way], slot->memory, way);
}

/* The slot is free: the program does not read it yet. */
static void slot_fill(struct kernel_slot *slot, const struct kernel_slot_setup *setup, uint32_t worker)
{
    assert(slot->memory->life == 0 && setup->relay->sa.sa_family == setup->external->sa.sa_family);
    slot->client = *setup->client;
    slot->relay = *setup->relay;
    slot->external = *setup->external;
    slot->port_count = 0;
    *slot->memory = (struct flow_slot){
        .worker = worker,
        .client = endpoint_of(setup->client),
        .relay = endpoint_of(setup->relay),
        .external_port = htons(netaddr_port(setup->external)),
        .tos = {[FLOW_UP] = {setup->tos_up.keep, setup->tos_up.set},
                [FLOW_DOWN] = {setup->tos_down.keep, setup->tos_down.set}},
    };
    if (!setup->is_limited)
        for (enum kernel_way way = 0; way < KERNEL_WAYS; way++)
            kernel_slot_allow(slot, way, &(struct kernel_credit){UINT64_MAX, UINT64_MAX});
    slot_catch_up_anew(slot);
    memset(slot->arrivals, 0, sizeof(slot->arrivals));
    memset(slot->taken, 0, sizeof(slot->taken));
}

static bool slot_open(struct kernel_worker *worker, struct kernel_slot *slot)
{
    const struct flow_endpoint relay = endpoint_of(&slot->relay);
    if (!slot_find_client(worker, slot, worker_generation(worker))) {
        errno = ENETUNREACH;
        return false;
    }
    slot->life += slot->life == UINT32_MAX ? 2 : 1; /* 0 is a free slot's */
    __atomic_store_n(&slot->memory->life, slot->life, __ATOMIC_RELEASE);
    return slot_add_port(worker->path, slot, &relay, FLOW_UP);
}

struct kernel_slot *kernel_slot_new(struct kernel_worker *worker, const struct kernel_slot_setup *setup)
{
    struct kernel_path *path = worker->path;
    const uint32_t index = slot_pool_take(path->pool, clock_coarse_ms());
    if (index == SLOT_POOL_NONE) {
        errno = ENOSPC;
        return NULL;
    }
    struct kernel_slot *slot = &path->slots[index];
    slot->index = index;
    slot->memory = &path->memory[index];
    slot_fill(slot, setup, worker->index);
    if (slot_open(worker, slot))
        return slot;
    const int error = errno;
    struct kernel_carried nothing;
    kernel_slot_free(worker, slot, &nothing);
    errno = error;
    return NULL;
}

/* What the program has begun before this, it may still finish: that is not counted. */
void kernel_slot_free(struct kernel_worker *worker, struct kernel_slot *slot, struct kernel_carried *carried)
{
    __atomic_store_n(&slot->memory->life, 0, __ATOMIC_RELEASE);
    slot_remove_ports(worker->path, slot);
    kernel_slot_take(slot, carried);
    slot_pool_give(worker->path->pool, slot->index, clock_coarse_ms());
}

void kernel_slot_move_client(struct kernel_slot *slot, uint16_t port)
{
    catch_up_begin(&slot->catch_up[FLOW_UP], slot->memory, FLOW_UP);
    netaddr_set_port(&slot->client, port);
    __atomic_store_n(&slot->memory->client.port, htons(port), __ATOMIC_RELEASE);
}

/* ---- flows ---- */

/* A client that sends to thousands of peers would pay little for system calls of ours, and would evict others' flows.
 * What is over the budget stays in user space, and is asked about again. */
static bool slot_is_within_budget(struct kernel_slot *slot)
{
    const uint32_t second = (uint32_t)(clock_coarse_ms() / 1000);
    if (slot->install_second != second) {
        slot->install_second = second;
        slot->installs = 0;
    }
    return slot->installs++ < KERNEL_SLOT_INSTALLS;
}

/* `again`: it was installed in this generation. Then it is only put back if others took its place: one that is still
 * there knows that its peer has answered. */
static bool slot_install(struct kernel_worker *worker, struct kernel_slot *slot, const struct flow_key *key,
                         const union netaddr *peer, uint32_t generation, bool again)
{
    struct kernel_path *path = worker->path;
    struct kernel_route route;
    if (slot->generation != generation && !slot_find_client(worker, slot, generation))
        return false;
    if (!routes_find(&worker->routes, &slot->external, peer, &route) || !links_have(&path->links, route.interface) ||
        !slot_has_external(path, slot, &route.local))
        return false;
    const struct flow_endpoint local = endpoint_of(&route.local), next_hop = endpoint_of(&route.next_hop);
    struct flow flow = {.generation = generation, .interface = route.interface, .mtu = route.mtu};
    memcpy(flow.next_hop, next_hop.address, sizeof(flow.next_hop));
    memcpy(flow.local, local.address, sizeof(flow.local));
    return bpf_map_update_elem(path->flows, key, &flow, again ? BPF_NOEXIST : BPF_ANY) == 0 ||
           (again && errno == EEXIST);
}

bool kernel_slot_sent(struct kernel_worker *worker, struct kernel_slot *slot, const union netaddr *peer)
{
    const struct flow_key key = {.slot = slot->index, .life = slot->life, .peer = endpoint_of(peer)};
    /* Before the route is asked for: a flow whose route changes meanwhile is revoked already. */
    const uint32_t generation = worker_generation(worker);
    struct flow_place *place = flow_table_count(worker->table, &key, generation);
    if (flow_place_is_due(place))
        place->installed =
            slot_is_within_budget(slot) && slot_install(worker, slot, &key, peer, generation, place->installed);
    return place->installed;
}

/* ---- what the program has carried ---- */

/* Datagrams arrive, and the program has recognized none of them: the packet filter translates their addresses (NAT), or
 * they take another way. What the program sends would have the wrong addresses. The first arrival says nothing: it may
 * have come before the slot. */
static bool slot_is_bypassed(const struct kernel_slot *slot)
{
    bool bypassed = false;
    for (enum flow_way way = 0; way < FLOW_WAYS; way++) {
        const struct flow_count *count = &slot->memory->count[way];
        const uint64_t seen =
            __atomic_load_n(&count->passed, __ATOMIC_ACQUIRE) + __atomic_load_n(&count->datagrams, __ATOMIC_ACQUIRE);
        bypassed = bypassed || (slot->arrivals[way] > 1 && seen == 0);
    }
    return bypassed;
}

void kernel_slot_caught_up(struct kernel_slot *slot, enum kernel_way way, uint32_t count, int fd)
{
    if (count && slot->arrivals[way] < 2)
        slot->arrivals[way]++;
    if (slot_is_bypassed(slot))
        slot_catch_up_anew(slot);
    catch_up_add(&slot->catch_up[way], slot->memory, (enum flow_way)way, count, fd);
}

bool kernel_slot_is_stuck(struct kernel_slot *slot, enum kernel_way way, int fd)
{
    return catch_up_is_stuck(&slot->catch_up[way], slot->memory, (enum flow_way)way, fd);
}

void kernel_slot_take(struct kernel_slot *slot, struct kernel_carried *carried)
{
    for (int way = 0; way < FLOW_WAYS; way++) {
        const struct flow_count *count = &slot->memory->count[way];
        const uint64_t datagrams = __atomic_load_n(&count->datagrams, __ATOMIC_ACQUIRE);
        const uint64_t bytes = __atomic_load_n(&count->bytes, __ATOMIC_ACQUIRE);
        carried->way[way].datagrams = datagrams - slot->taken[way].datagrams;
        carried->way[way].bytes = bytes - slot->taken[way].bytes;
        carried->way[way].last_ms = __atomic_load_n(&count->last_ns, __ATOMIC_ACQUIRE) / 1000000;
        slot->taken[way].datagrams = datagrams;
        slot->taken[way].bytes = bytes;
    }
}

/* ---- credit ---- */

/* With UINT64_MAX it stays without a limit. */
static void raise_limit(__u64 *limit, uint64_t credit)
{
    const uint64_t room = UINT64_MAX - *limit;
    __atomic_store_n(limit, *limit + (credit < room ? credit : room), __ATOMIC_RELEASE);
}

void kernel_slot_allow(struct kernel_slot *slot, enum kernel_way way, const struct kernel_credit *credit)
{
    struct flow_slot *memory = slot->memory;
    raise_limit(&memory->limit[way].bytes, credit->bytes);
    raise_limit(&memory->limit[way].datagrams, credit->datagrams);
}

/* What the program has counted beyond a limit stays a debt: the limit is not raised to it. */
static uint64_t lower_limit(__u64 *limit, uint64_t before, const __u64 *count)
{
    const uint64_t used = __atomic_load_n(count, __ATOMIC_SEQ_CST);
    const bool is_left = before > used;
    __atomic_store_n(limit, is_left ? used : before, __ATOMIC_RELEASE);
    return is_left ? before - used : 0;
}

/* Stops the program before it reads how far it is. A datagram that the program has begun with even so is charged to the
 * next credit, as that begins at what is read here. */
void kernel_slot_withdraw(struct kernel_slot *slot, enum kernel_way way, struct kernel_credit *unused)
{
    struct flow_slot *memory = slot->memory;
    const uint64_t datagrams = memory->limit[way].datagrams, bytes = memory->limit[way].bytes;
    __atomic_store_n(&memory->limit[way].datagrams, 0, __ATOMIC_SEQ_CST);
    unused->bytes = lower_limit(&memory->limit[way].bytes, bytes, &memory->count[way].bytes);
    unused->datagrams = lower_limit(&memory->limit[way].datagrams, datagrams, &memory->count[way].datagrams);
}

bool kernel_slot_needs_credit(const struct kernel_slot *slot, enum kernel_way way)
{
    const struct flow_slot *memory = slot->memory;
    return __atomic_load_n(&memory->count[way].datagrams, __ATOMIC_RELAXED) >= memory->limit[way].datagrams ||
           __atomic_load_n(&memory->count[way].bytes, __ATOMIC_RELAXED) + DATAGRAM_MAX > memory->limit[way].bytes;
}
