/*
 * A hash table with linear probing. A writer holds the lock, and makes `version` odd while it changes something; a
 * reader whose look was not disturbed by that takes no lock. A table that became too small is kept until the end, for
 * a reader may still look at it: all of them together are as large as the last one.
 */
#include "policy/own_ports.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "policy/key.h"

#define SIZE_MIN 256u

enum { RELAY, EXTERNAL, RELAY_ANYWHERE, EXTERNAL_ANYWHERE };

/* Of a port anywhere, the address is no part of what is looked for: it is that of all such sockets, combined by XOR,
 * which is the address itself when there is one socket. */
struct own_entry {
    atomic_uint_least64_t high, low;
    atomic_uint_least32_t what; /* 0: free */
    atomic_uint_least32_t count;
};

struct own_table {
    struct own_table *smaller;
    uint32_t size, filled; /* a power of two; `filled` is at most the half of it */
    struct own_entry entries[];
};

struct own_ports {
    pthread_mutex_t lock;
    uint64_t seed;
    atomic_uint version;
    struct own_table *_Atomic table;
};

/* What is looked for, and what is found. */
struct own_place {
    struct key host;
    uint32_t what;
};

static struct own_place place_for(unsigned kind, const union netaddr *address)
{
    const unsigned v6 = address->sa.sa_family == AF_INET6;
    return (struct own_place){key_of(address), 1u << 24 | kind << 17 | v6 << 16 | netaddr_port(address)};
}

static bool has_host(uint32_t what)
{
    return (what >> 17 & 3) < RELAY_ANYWHERE;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static uint32_t hash_of(uint64_t seed, const struct own_place *place)
{
    uint64_t hash = mix(seed ^ place->what);
    if (has_host(place->what))
        hash = mix(mix(hash ^ place->host.high) ^ place->host.low);
    return (uint32_t)hash;
}

/* ---- entries: loads acquire and stores release, so that none of them leaves the bracket of two versions ---- */

static uint64_t load(const atomic_uint_least64_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire);
}

static void store(atomic_uint_least64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_release);
}

static uint32_t what_of(const struct own_entry *entry)
{
    return atomic_load_explicit(&entry->what, memory_order_acquire);
}

static uint32_t count_of(const struct own_entry *entry)
{
    return atomic_load_explicit(&entry->count, memory_order_acquire);
}

static struct own_place place_at(const struct own_entry *entry)
{
    return (struct own_place){{load(&entry->high), load(&entry->low)}, what_of(entry)};
}

static void write_entry(struct own_entry *entry, const struct own_place *place, uint32_t count)
{
    store(&entry->high, place->host.high);
    store(&entry->low, place->host.low);
    atomic_store_explicit(&entry->what, place->what, memory_order_release);
    atomic_store_explicit(&entry->count, count, memory_order_release);
}

/* Its place, or the free one where it would be. A reader that is disturbed may find neither: it looks at each once. */
static uint32_t find(const struct own_table *table, uint64_t seed, const struct own_place *place)
{
    const uint32_t mask = table->size - 1;
    uint32_t i = hash_of(seed, place) & mask;
    for (uint32_t steps = 0; steps < table->size; steps++, i = (i + 1) & mask) {
        const struct own_place there = place_at(&table->entries[i]);
        if (there.what == 0)
            break;
        if (there.what == place->what && (!has_host(place->what) || key_equal(there.host, place->host)))
            break;
    }
    return i;
}

/* ---- writers ---- */

static struct own_table *new_table(uint32_t size)
{
    struct own_table *table = calloc(1, sizeof(*table) + size * sizeof(struct own_entry));
    if (table)
        table->size = size;
    return table;
}

struct own_ports *own_ports_new(void)
{
    struct own_ports *own = calloc(1, sizeof(*own));
    struct own_table *table = new_table(SIZE_MIN);
    if (!own || !table) {
        free(own);
        free(table);
        return NULL;
    }
    pthread_mutex_init(&own->lock, NULL);
    (void)!getrandom(&own->seed, sizeof(own->seed), 0);
    atomic_init(&own->table, table);
    return own;
}

void own_ports_free(struct own_ports *own)
{
    if (!own)
        return;
    struct own_table *smaller;
    for (struct own_table *table = atomic_load(&own->table); table; table = smaller) {
        smaller = table->smaller;
        free(table);
    }
    pthread_mutex_destroy(&own->lock);
    free(own);
}

static void begin_change(struct own_ports *own)
{
    pthread_mutex_lock(&own->lock);
    atomic_fetch_add_explicit(&own->version, 1, memory_order_relaxed);
}

static void end_change(struct own_ports *own)
{
    atomic_fetch_add_explicit(&own->version, 1, memory_order_release);
    pthread_mutex_unlock(&own->lock);
}

/* So that two more have room. */
static bool make_room(struct own_ports *own)
{
    struct own_table *old = atomic_load_explicit(&own->table, memory_order_relaxed);
    if (old->filled + 2 <= old->size / 2)
        return true;
    struct own_table *table = old->size <= UINT32_MAX / 4 ? new_table(old->size * 2) : NULL;
    if (!table)
        return false;
    for (uint32_t i = 0; i < old->size; i++) {
        const struct own_place place = place_at(&old->entries[i]);
        if (place.what)
            write_entry(&table->entries[find(table, own->seed, &place)], &place, count_of(&old->entries[i]));
    }
    table->filled = old->filled;
    table->smaller = old;
    atomic_store_explicit(&own->table, table, memory_order_release);
    return true;
}

static void add(struct own_ports *own, const struct own_place *place)
{
    struct own_table *table = atomic_load_explicit(&own->table, memory_order_relaxed);
    struct own_entry *entry = &table->entries[find(table, own->seed, place)];
    struct own_place now = *place;
    const uint32_t count = what_of(entry) ? count_of(entry) : 0;
    if (count && !has_host(place->what))
        now.host = (struct key){load(&entry->high) ^ place->host.high, load(&entry->low) ^ place->host.low};
    table->filled += count == 0;
    write_entry(entry, &now, count + 1);
}

/* Frees a place, and moves up what stands behind it, so that find() still comes by. */
static void free_entry(const struct own_ports *own, struct own_table *table, uint32_t hole)
{
    const uint32_t mask = table->size - 1;
    const struct own_place none = {{0, 0}, 0};
    for (uint32_t i = (hole + 1) & mask; what_of(&table->entries[i]); i = (i + 1) & mask) {
        const struct own_place place = place_at(&table->entries[i]);
        const uint32_t home = hash_of(own->seed, &place) & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        write_entry(&table->entries[hole], &place, count_of(&table->entries[i]));
        hole = i;
    }
    write_entry(&table->entries[hole], &none, 0);
    table->filled--;
}

static void remove_one(struct own_ports *own, const struct own_place *place)
{
    struct own_table *table = atomic_load_explicit(&own->table, memory_order_relaxed);
    const uint32_t i = find(table, own->seed, place);
    struct own_entry *entry = &table->entries[i];
    struct own_place now = *place;
    assert(what_of(entry) == place->what);
    if (!has_host(place->what))
        now.host = (struct key){load(&entry->high) ^ place->host.high, load(&entry->low) ^ place->host.low};
    if (count_of(entry) == 1)
        free_entry(own, table, i);
    else
        write_entry(entry, &now, count_of(entry) - 1);
}

bool own_ports_add(struct own_ports *own, enum own_port kind, const union netaddr *local)
{
    const struct own_place place = place_for(kind == OWN_PORT_RELAY ? RELAY : EXTERNAL, local);
    const struct own_place anywhere = place_for(kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, local);
    begin_change(own);
    const bool room = make_room(own);
    if (room)
        add(own, &place);
    if (room && kind != OWN_PORT_BOUND)
        add(own, &anywhere);
    end_change(own);
    return room;
}

void own_ports_remove(struct own_ports *own, enum own_port kind, const union netaddr *local)
{
    const struct own_place place = place_for(kind == OWN_PORT_RELAY ? RELAY : EXTERNAL, local);
    const struct own_place anywhere = place_for(kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, local);
    begin_change(own);
    remove_one(own, &place);
    if (kind != OWN_PORT_BOUND)
        remove_one(own, &anywhere);
    end_change(own);
}

/* ---- readers ---- */

/* How many sockets there are; `host` gets the address that is kept with them. */
static uint32_t look(const struct own_ports *own, const struct own_place *place, struct key *host)
{
    const struct own_table *table = atomic_load_explicit(&own->table, memory_order_acquire);
    const struct own_entry *entry = &table->entries[find(table, own->seed, place)];
    *host = place_at(entry).host;
    return what_of(entry) == place->what ? count_of(entry) : 0;
}

static uint32_t count_at(struct own_ports *own, const struct own_place *place, struct key *host)
{
    if (!own)
        return 0;
    const unsigned version = atomic_load_explicit(&own->version, memory_order_acquire);
    uint32_t count = version % 2 == 0 ? look(own, place, host) : 0;
    if (version % 2 == 0 && atomic_load_explicit(&own->version, memory_order_relaxed) == version)
        return count;
    pthread_mutex_lock(&own->lock);
    count = look(own, place, host);
    pthread_mutex_unlock(&own->lock);
    return count;
}

static bool has(struct own_ports *own, unsigned kind, const union netaddr *address)
{
    const struct own_place place = place_for(kind, address);
    struct key host;
    return count_at(own, &place, &host) > 0;
}

static union netaddr any_with_port(const union netaddr *address)
{
    union netaddr any = netaddr_any(address->sa.sa_family);
    netaddr_set_port(&any, netaddr_port(address));
    return any;
}

bool own_ports_has(struct own_ports *own, enum own_port kind, const union netaddr *address)
{
    const union netaddr any = any_with_port(address);
    const unsigned as = kind == OWN_PORT_RELAY ? RELAY : EXTERNAL;
    return has(own, as, address) || has(own, as, &any);
}

bool own_ports_has_anywhere(struct own_ports *own, enum own_port kind, const union netaddr *address)
{
    return has(own, kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, address);
}

bool own_ports_locate(struct own_ports *own, union netaddr *address)
{
    const struct own_place place = place_for(EXTERNAL_ANYWHERE, address);
    const bool v6 = address->sa.sa_family == AF_INET6;
    const struct key loopback = v6 ? (struct key){0, 1} : (struct key){(uint64_t)INADDR_LOOPBACK << 32, 0};
    struct key host;
    if (count_at(own, &place, &host) != 1)
        return false;
    if (host.high == 0 && host.low == 0) /* every address */
        host = loopback;
    const uint64_t bytes[2] = {htobe64(host.high), htobe64(host.low)};
    *address = netaddr_from_bytes((const uint8_t *)bytes, v6 ? 16 : 4, netaddr_port(address));
    return true;
}
