#include "policy/own_hosts.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "policy/key.h"
#include "policy/reach.h"

struct range {
    struct key first, last;
};

/* The addresses of one family. Single ones are in a hash table of at least twice their number, where the unspecified
 * address, which is no host's, marks a free slot. Networks, which are few, are sorted ranges that do not overlap. */
struct own_family {
    struct key *slots;
    size_t mask;
    struct range *ranges;
    size_t range_count;
};

struct own_hosts {
    struct own_family families[FAMILY_COUNT];
    atomic_uint holders;
};

static unsigned bits_of(const union netaddr *address)
{
    return address->sa.sa_family == AF_INET ? 32 : 128;
}

bool own_networks_add(struct own_networks *networks, const union netaddr *address, unsigned bits)
{
    if (networks->count == networks->room) {
        size_t room = networks->room ? 2 * networks->room : 16;
        struct own_network *list = reallocarray(networks->list, room, sizeof(*list));
        if (!list)
            return false;
        networks->list = list;
        networks->room = room;
    }
    assert(networks->count < networks->room && bits <= bits_of(address));
    networks->list[networks->count++] = (struct own_network){*address, bits};
    return true;
}

bool own_networks_add_host(struct own_networks *networks, const union netaddr *address)
{
    const union netaddr canonical = netaddr_canonical(address);
    return own_networks_add(networks, &canonical, bits_of(&canonical));
}

static size_t host_hash(struct key key)
{
    uint64_t mixed = (key.high ^ (key.low << 32 | key.low >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed ^ mixed >> 32);
}

static bool slot_is_free(struct key slot)
{
    return slot.high == 0 && slot.low == 0;
}

/* The slot of an address or, where it has none, the one that it would have. */
static struct key *own_family_slot(const struct own_family *family, struct key key)
{
    size_t at = host_hash(key) & family->mask;
    while (!slot_is_free(family->slots[at]) && !key_equal(family->slots[at], key))
        at = (at + 1) & family->mask;
    return &family->slots[at];
}

static bool own_family_allocate(struct own_family *family, size_t count)
{
    size_t size = 16;
    while (size < 2 * count)
        size *= 2;
    family->mask = size - 1;
    family->slots = calloc(size, sizeof(struct key));
    family->ranges = calloc(count + 1, sizeof(struct range));
    return family->slots && family->ranges;
}

static int by_first(const void *a, const void *b)
{
    const struct range *left = a, *right = b;
    return key_less(right->first, left->first) - key_less(left->first, right->first);
}

/* Sorts them, and makes one of those that overlap. Returns how many are left. */
static size_t ranges_merge(struct range *ranges, size_t count)
{
    size_t kept = 0;
    qsort(ranges, count, sizeof(ranges[0]), by_first);
    for (size_t i = 0; i < count; i++) {
        struct range *before = kept ? &ranges[kept - 1] : NULL;
        if (!before || key_less(before->last, ranges[i].first))
            ranges[kept++] = ranges[i];
        else if (key_less(before->last, ranges[i].last))
            before->last = ranges[i].last;
    }
    return kept;
}

static void own_family_add(struct own_family *family, const struct own_network *network)
{
    const struct key first = key_of(&network->address);
    if (reach_place_of(&network->address) == REACH_LOOPBACK)
        return;
    if (network->bits < bits_of(&network->address))
        family->ranges[family->range_count++] = (struct range){first, key_last(first, network->bits)};
    else
        *own_family_slot(family, first) = first;
}

struct own_hosts *own_hosts_new(const struct own_networks *networks)
{
    struct own_hosts *hosts = calloc(1, sizeof(*hosts));
    if (!hosts)
        return NULL;
    atomic_init(&hosts->holders, 1);
    size_t counts[FAMILY_COUNT] = {0};
    for (size_t i = 0; i < networks->count; i++)
        counts[family_index(networks->list[i].address.sa.sa_family)]++;
    for (int i = 0; i < FAMILY_COUNT; i++) {
        if (!own_family_allocate(&hosts->families[i], counts[i])) {
            own_hosts_release(hosts);
            return NULL;
        }
    }
    for (size_t i = 0; i < networks->count; i++)
        own_family_add(&hosts->families[family_index(networks->list[i].address.sa.sa_family)], &networks->list[i]);
    for (int i = 0; i < FAMILY_COUNT; i++)
        hosts->families[i].range_count = ranges_merge(hosts->families[i].ranges, hosts->families[i].range_count);
    return hosts;
}

struct own_hosts *own_hosts_hold(struct own_hosts *hosts)
{
    const unsigned holders = atomic_fetch_add_explicit(&hosts->holders, 1, memory_order_relaxed);
    assert(holders > 0);
    return hosts;
}

void own_hosts_release(struct own_hosts *hosts)
{
    if (!hosts)
        return;
    const unsigned holders = atomic_fetch_sub_explicit(&hosts->holders, 1, memory_order_acq_rel);
    assert(holders > 0);
    if (holders > 1)
        return;
    for (int i = 0; i < FAMILY_COUNT; i++) {
        free(hosts->families[i].slots);
        free(hosts->families[i].ranges);
    }
    free(hosts);
}

/* NULL: none. */
static const struct range *own_family_range(const struct own_family *family, struct key key)
{
    size_t first = 0, end = family->range_count;
    while (first < end) { /* the first that does not end before it */
        size_t middle = first + (end - first) / 2;
        if (key_less(family->ranges[middle].last, key))
            first = middle + 1;
        else
            end = middle;
    }
    return first < family->range_count && !key_less(key, family->ranges[first].first) ? &family->ranges[first] : NULL;
}

bool own_hosts_contain(const struct own_hosts *hosts, const union netaddr *canonical)
{
    if (!hosts)
        return false;
    const struct own_family *family = &hosts->families[family_index(canonical->sa.sa_family)];
    const struct key key = key_of(canonical);
    return (!slot_is_free(key) && !slot_is_free(*own_family_slot(family, key))) ||
           own_family_range(family, key) != NULL;
}

union netaddr own_hosts_last(const struct own_hosts *hosts, const union netaddr *canonical)
{
    const struct range *range =
        hosts ? own_family_range(&hosts->families[family_index(canonical->sa.sa_family)], key_of(canonical)) : NULL;
    return range ? key_address(range->last, canonical->sa.sa_family) : *canonical;
}
