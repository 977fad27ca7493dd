#include "policy/own.h"

#include <ifaddrs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "policy/reach.h"

/* ---- addresses ---- */

static int by_key(const void *a, const void *b)
{
    struct key left, right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return key_less(right, left) - key_less(left, right);
}

bool own_hosts_set(struct own_hosts *hosts, const union netaddr *addresses, size_t count)
{
    struct own_hosts fresh = {
        .v4 = calloc(count + 1, sizeof(struct key)),
        .v6 = calloc(count + 1, sizeof(struct key)),
    };
    if (!fresh.v4 || !fresh.v6) {
        own_hosts_deinit(&fresh);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        union netaddr address = netaddr_canonical(&addresses[i]);
        if (reach_place_of(&address) == REACH_LOOPBACK)
            continue;
        if (address.sa.sa_family == AF_INET)
            fresh.v4[fresh.v4_count++] = key_of(&address);
        else
            fresh.v6[fresh.v6_count++] = key_of(&address);
    }
    qsort(fresh.v4, fresh.v4_count, sizeof(struct key), by_key);
    qsort(fresh.v6, fresh.v6_count, sizeof(struct key), by_key);
    own_hosts_deinit(hosts);
    *hosts = fresh;
    return true;
}

bool own_hosts_read(struct own_hosts *hosts)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) < 0)
        return false;
    size_t count = 0;
    for (const struct ifaddrs *each = list; each; each = each->ifa_next)
        count++;
    union netaddr *addresses = calloc(count + 1, sizeof(*addresses));
    count = 0;
    for (const struct ifaddrs *each = list; addresses && each; each = each->ifa_next) {
        int family = each->ifa_addr ? each->ifa_addr->sa_family : AF_UNSPEC;
        if (family == AF_INET || family == AF_INET6)
            memcpy(&addresses[count++], each->ifa_addr,
                   family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    }
    freeifaddrs(list);
    bool done = addresses && own_hosts_set(hosts, addresses, count);
    free(addresses);
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
    const struct key *keys = v4 ? hosts->v4 : hosts->v6;
    size_t first = 0, end = v4 ? hosts->v4_count : hosts->v6_count;
    struct key wanted = key_of(canonical);
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (key_equal(keys[middle], wanted))
            return true;
        if (key_less(keys[middle], wanted))
            first = middle + 1;
        else
            end = middle;
    }
    return false;
}

/* ---- ports ---- */

/* Counted, because with one port for all associations their relay sockets share a number. */
static atomic_ushort relays[2][UINT16_MAX + 1];

enum { NOWHERE, EVERYWHERE, AT_ONE };
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
    if (!netaddr_is_any(local)) {
        const struct key host = key_of(local);
        atomic_store_explicit(&hosts[is_v6(local)][port].high, host.high, memory_order_relaxed);
        atomic_store_explicit(&hosts[is_v6(local)][port].low, host.low, memory_order_relaxed);
    }
    atomic_store_explicit(&externals[is_v6(local)][port], netaddr_is_any(local) ? EVERYWHERE : AT_ONE,
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

static bool is_at(const union netaddr *address)
{
    const struct key host = {
        atomic_load_explicit(&hosts[is_v6(address)][netaddr_port(address)].high, memory_order_relaxed),
        atomic_load_explicit(&hosts[is_v6(address)][netaddr_port(address)].low, memory_order_relaxed),
    };
    return key_equal(host, key_of(address));
}

bool own_port_is(enum own_port kind, const union netaddr *address)
{
    uint16_t port = netaddr_port(address);
    if (kind == OWN_PORT_RELAY)
        return atomic_load_explicit(&relays[is_v6(address)][port], memory_order_acquire) > 0;
    int where = atomic_load_explicit(&externals[is_v6(address)][port], memory_order_acquire);
    return where == EVERYWHERE || (where == AT_ONE && is_at(address));
}
