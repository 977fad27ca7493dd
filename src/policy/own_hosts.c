#include "policy/own_hosts.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "policy/key.h"
#include "policy/reach.h"

struct range {
    struct key first, last;
};

/* Of one family: single addresses in a table of twice their number at least, found by their hash; networks, which are
 * few, sorted and apart. The unspecified address is nobody's own: it marks what is free. */
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
    networks->list[networks->count++] = (struct own_network){*address, bits};
    return true;
}

static unsigned bits_of(const union netaddr *address)
{
    return address->sa.sa_family == AF_INET ? 32 : 128;
}

bool own_networks_add_host(struct own_networks *networks, const union netaddr *address)
{
    const union netaddr canonical = netaddr_canonical(address);
    return own_networks_add(networks, &canonical, bits_of(&canonical));
}

static size_t hash(struct key key)
{
    uint64_t mixed = (key.high ^ (key.low << 32 | key.low >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed ^ mixed >> 32);
}

static bool is_free(struct key slot)
{
    return slot.high == 0 && slot.low == 0;
}

/* The slot of an address or, where it has none, the one that it would have. */
static struct key *slot_of(const struct own_family *family, struct key key)
{
    size_t at = hash(key) & family->mask;
    while (!is_free(family->slots[at]) && !key_equal(family->slots[at], key))
        at = (at + 1) & family->mask;
    return &family->slots[at];
}

static bool allocate(struct own_family *family, size_t count)
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
static size_t settle(struct range *ranges, size_t count)
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

static void add(struct own_family *family, const struct own_network *network)
{
    const struct key first = key_of(&network->address);
    if (reach_place_of(&network->address) == REACH_LOOPBACK)
        return;
    if (network->bits < bits_of(&network->address))
        family->ranges[family->range_count++] = (struct range){first, key_last(first, network->bits)};
    else
        *slot_of(family, first) = first;
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
        if (!allocate(&hosts->families[i], counts[i])) {
            own_hosts_release(hosts);
            return NULL;
        }
    }
    for (size_t i = 0; i < networks->count; i++)
        add(&hosts->families[family_index(networks->list[i].address.sa.sa_family)], &networks->list[i]);
    for (int i = 0; i < FAMILY_COUNT; i++)
        hosts->families[i].range_count = settle(hosts->families[i].ranges, hosts->families[i].range_count);
    return hosts;
}

struct own_hosts *own_hosts_hold(struct own_hosts *hosts)
{
    atomic_fetch_add_explicit(&hosts->holders, 1, memory_order_relaxed);
    return hosts;
}

void own_hosts_release(struct own_hosts *hosts)
{
    if (!hosts || atomic_fetch_sub_explicit(&hosts->holders, 1, memory_order_acq_rel) > 1)
        return;
    for (int i = 0; i < FAMILY_COUNT; i++) {
        free(hosts->families[i].slots);
        free(hosts->families[i].ranges);
    }
    free(hosts);
}

/* NULL: none. */
static const struct range *range_with(const struct own_family *family, struct key key)
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
    return (!is_free(key) && !is_free(*slot_of(family, key))) || range_with(family, key) != NULL;
}

union netaddr own_hosts_last(const struct own_hosts *hosts, const union netaddr *canonical)
{
    const struct range *range =
        hosts ? range_with(&hosts->families[family_index(canonical->sa.sa_family)], key_of(canonical)) : NULL;
    return range ? key_address(range->last, canonical->sa.sa_family) : *canonical;
}
