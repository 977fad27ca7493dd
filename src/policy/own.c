#include "policy/own.h"

#include <ifaddrs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "policy/own_routes.h"
#include "policy/reach.h"

/* ---- addresses ---- */

static int by_first(const void *a, const void *b)
{
    const struct own_range *left = a, *right = b;
    return key_less(right->first, left->first) - key_less(left->first, right->first);
}

/* Sorts them, and makes one of those that overlap. Returns how many are left. */
static size_t settle(struct own_range *ranges, size_t count)
{
    size_t kept = 0;
    qsort(ranges, count, sizeof(ranges[0]), by_first);
    for (size_t i = 0; i < count; i++) {
        struct own_range *before = kept ? &ranges[kept - 1] : NULL;
        if (!before || key_less(before->last, ranges[i].first))
            ranges[kept++] = ranges[i];
        else if (key_less(before->last, ranges[i].last))
            before->last = ranges[i].last;
    }
    return kept;
}

bool own_hosts_set_networks(struct own_hosts *hosts, const struct own_networks *networks)
{
    struct own_hosts fresh = {
        .v4 = calloc(networks->count + 1, sizeof(struct own_range)),
        .v6 = calloc(networks->count + 1, sizeof(struct own_range)),
    };
    if (!fresh.v4 || !fresh.v6) {
        own_hosts_deinit(&fresh);
        return false;
    }
    for (size_t i = 0; i < networks->count; i++) {
        const union netaddr *address = &networks->list[i].address;
        const struct key first = key_of(address);
        const struct own_range range = {first, key_last(first, networks->list[i].bits)};
        if (reach_place_of(address) == REACH_LOOPBACK)
            continue;
        if (address->sa.sa_family == AF_INET)
            fresh.v4[fresh.v4_count++] = range;
        else
            fresh.v6[fresh.v6_count++] = range;
    }
    fresh.v4_count = settle(fresh.v4, fresh.v4_count);
    fresh.v6_count = settle(fresh.v6, fresh.v6_count);
    own_hosts_deinit(hosts);
    *hosts = fresh;
    return true;
}

static bool add_host(struct own_networks *networks, const union netaddr *address)
{
    const union netaddr canonical = netaddr_canonical(address);
    return own_networks_add(networks, &canonical, canonical.sa.sa_family == AF_INET ? 32 : 128);
}

bool own_hosts_set(struct own_hosts *hosts, const union netaddr *addresses, size_t count)
{
    struct own_networks networks = {0};
    bool done = true;
    for (size_t i = 0; i < count && done; i++)
        done = add_host(&networks, &addresses[i]);
    done = done && own_hosts_set_networks(hosts, &networks);
    free(networks.list);
    return done;
}

static bool read_interfaces(struct own_networks *networks)
{
    struct ifaddrs *list;
    bool done = true;
    if (getifaddrs(&list) < 0)
        return false;
    for (const struct ifaddrs *each = list; each && done; each = each->ifa_next) {
        union netaddr address = {0};
        int family = each->ifa_addr ? each->ifa_addr->sa_family : AF_UNSPEC;
        if (family != AF_INET && family != AF_INET6)
            continue;
        memcpy(&address, each->ifa_addr, family == AF_INET ? sizeof(address.v4) : sizeof(address.v6));
        done = add_host(networks, &address);
    }
    freeifaddrs(list);
    return done;
}

bool own_hosts_read(struct own_hosts *hosts)
{
    struct own_networks networks = {0};
    bool done = read_interfaces(&networks) && own_routes_read(&networks) && own_hosts_set_networks(hosts, &networks);
    free(networks.list);
    return done;
}

void own_hosts_deinit(struct own_hosts *hosts)
{
    free(hosts->v4);
    free(hosts->v6);
    *hosts = (struct own_hosts){0};
}

bool own_hosts_contain(const struct own_hosts *hosts, const union netaddr *canonical)
{
    bool v4 = canonical->sa.sa_family == AF_INET;
    const struct own_range *ranges = v4 ? hosts->v4 : hosts->v6;
    size_t first = 0, end = v4 ? hosts->v4_count : hosts->v6_count;
    struct key wanted = key_of(canonical);
    while (first < end) { /* the first that does not end before it */
        size_t middle = first + (end - first) / 2;
        if (key_less(ranges[middle].last, wanted))
            first = middle + 1;
        else
            end = middle;
    }
    return first < (v4 ? hosts->v4_count : hosts->v6_count) && !key_less(wanted, ranges[first].first);
}

/* ---- ports ---- */

/* Counted, because with one port for all associations their relay sockets share a number. */
static atomic_ushort relays[2][UINT16_MAX + 1];

enum { NOWHERE, EVERYWHERE, AT_ONE, BOUND = 4 };
static atomic_uchar externals[2][UINT16_MAX + 1];
/* Which address, of those AT_ONE. Only then is it touched, so that it takes memory only where an outbound address is
 * configured. */
static struct {
    atomic_uint_least64_t high, low;
} hosts[2][UINT16_MAX + 1];

static bool is_v6(const union netaddr *address)
{
    return address->sa.sa_family == AF_INET6;
}

void own_port_opened(enum own_port kind, const union netaddr *local)
{
    uint16_t port = netaddr_port(local);
    if (kind == OWN_PORT_RELAY) {
        atomic_fetch_add(&relays[is_v6(local)][port], 1);
        return;
    }
    const int where = netaddr_is_any(local) ? EVERYWHERE : AT_ONE;
    if (where == AT_ONE) {
        const struct key host = key_of(local);
        atomic_store_explicit(&hosts[is_v6(local)][port].high, host.high, memory_order_relaxed);
        atomic_store_explicit(&hosts[is_v6(local)][port].low, host.low, memory_order_relaxed);
    }
    atomic_store_explicit(&externals[is_v6(local)][port], (uint8_t)(where | (kind == OWN_PORT_BOUND ? BOUND : 0)),
                          memory_order_release);
}

void own_port_closed(enum own_port kind, const union netaddr *local)
{
    uint16_t port = netaddr_port(local);
    if (kind == OWN_PORT_RELAY)
        atomic_fetch_sub(&relays[is_v6(local)][port], 1);
    else
        atomic_store_explicit(&externals[is_v6(local)][port], NOWHERE, memory_order_release);
}

static struct key host_of(const union netaddr *address)
{
    return (struct key){
        atomic_load_explicit(&hosts[is_v6(address)][netaddr_port(address)].high, memory_order_relaxed),
        atomic_load_explicit(&hosts[is_v6(address)][netaddr_port(address)].low, memory_order_relaxed),
    };
}

bool own_port_is(enum own_port kind, const union netaddr *address)
{
    uint16_t port = netaddr_port(address);
    if (kind == OWN_PORT_RELAY)
        return atomic_load_explicit(&relays[is_v6(address)][port], memory_order_acquire) > 0;
    int where = atomic_load_explicit(&externals[is_v6(address)][port], memory_order_acquire) & ~BOUND;
    return where == EVERYWHERE || (where == AT_ONE && key_equal(host_of(address), key_of(address)));
}

bool own_port_locate(union netaddr *address)
{
    const struct key loopback = is_v6(address) ? (struct key){0, 1} : (struct key){(uint64_t)INADDR_LOOPBACK << 32, 0};
    const uint16_t port = netaddr_port(address);
    const int where = atomic_load_explicit(&externals[is_v6(address)][port], memory_order_acquire);
    if (where != EVERYWHERE && where != AT_ONE)
        return false;
    const struct key host = where == EVERYWHERE ? loopback : host_of(address);
    const uint64_t bytes[2] = {htobe64(host.high), htobe64(host.low)};
    *address = netaddr_from_bytes((const uint8_t *)bytes, is_v6(address) ? 16 : 4, port);
    return true;
}
