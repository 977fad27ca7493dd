/*
 * A hash table with linear probing and 8 bytes an entry; each address is kept once, beside it. A writer holds the lock
 * and makes `version` odd while it changes something. A reader takes no lock, unless the version was odd or has changed
 * meanwhile: then it looks again under the lock.
 *
 * A reader may still look at a table that has become too small. So that one stays mapped, but its memory is given back:
 * all its entries read as free.
 */
#include "policy/own_ports.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "policy/key.h"

#define SIZE_MIN 256u

/* What an entry is about. A port "anywhere" is looked up without an address. */
enum { RELAY, EXTERNAL, HOST, RELAY_ANYWHERE, EXTERNAL_ANYWHERE };

/* Packed into one word, which is read and written at once; all zero: free. */
struct own_entry {
    uint32_t what;
    uint32_t count; /* of sockets */
    uint32_t host;  /* the number of the address; anywhere: the numbers of all sockets, combined by XOR */
};
#define WHAT_BITS  21
#define COUNT_BITS 23
#define HOST_BITS  20
static_assert(WHAT_BITS + COUNT_BITS + HOST_BITS == 64, "an entry is one word");

struct own_table {
    struct own_table *smaller;
    uint32_t size, filled; /* a power of two; `filled` is at most three quarters of it */
    atomic_uint_least64_t *words;
};

#define PAGE_HOSTS 1024u
#define HOST_PAGES ((1u << HOST_BITS) / PAGE_HOSTS)

struct own_host {
    atomic_uint_least64_t high, low;
    uint32_t next_free;
};

struct own_ports {
    pthread_mutex_t lock;
    uint64_t seed;
    atomic_uint version;
    struct own_table *_Atomic table;
    uint32_t host_count, free_host; /* how many have a number, from 1 on; the first unused number, or 0 */
    uint32_t sockets;               /* that were added and not removed */
    struct own_host *_Atomic hosts[HOST_PAGES];
};

/* What is looked up. */
struct own_place {
    struct key host;
    uint32_t what;
};

static struct own_place own_place_for(unsigned kind, const union netaddr *address)
{
    const unsigned v6 = address->sa.sa_family == AF_INET6;
    return (struct own_place){key_of(address), 1u << 20 | kind << 17 | v6 << 16 | netaddr_port(address)};
}

/* The address itself, whatever the port and the family. */
static struct own_place own_place_of_host(const union netaddr *address)
{
    return (struct own_place){key_of(address), 1u << 20 | HOST << 17};
}

static bool what_has_host(uint32_t what)
{
    return (what >> 17 & 7) < RELAY_ANYWHERE;
}

static uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

static uint32_t hash_of(uint64_t seed, const struct own_place *place)
{
    uint64_t hash = hash_mix(seed ^ place->what);
    if (what_has_host(place->what))
        hash = hash_mix(hash_mix(hash ^ place->host.high) ^ place->host.low);
    return (uint32_t)hash;
}

/* ---- entries: loads acquire and stores release, so that none of them leaves the bracket of two versions ---- */

static uint64_t word_load(const atomic_uint_least64_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire);
}

static void word_store(atomic_uint_least64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_release);
}

static struct own_entry read_entry(const struct own_table *table, uint32_t i)
{
    const uint64_t word = word_load(&table->words[i]);
    return (struct own_entry){.what = word & ((1u << WHAT_BITS) - 1),
                              .count = word >> WHAT_BITS & ((1u << COUNT_BITS) - 1),
                              .host = (uint32_t)(word >> (WHAT_BITS + COUNT_BITS))};
}

static void write_entry(struct own_table *table, uint32_t i, struct own_entry entry)
{
    word_store(&table->words[i],
               entry.what | (uint64_t)entry.count << WHAT_BITS | (uint64_t)entry.host << (WHAT_BITS + COUNT_BITS));
}

/* A number that an entry has contained is valid from then on. */
static struct own_host *host_of(const struct own_ports *own, uint32_t number)
{
    return &atomic_load_explicit(&own->hosts[number / PAGE_HOSTS], memory_order_acquire)[number % PAGE_HOSTS];
}

static struct key key_at(const struct own_ports *own, uint32_t number)
{
    const struct own_host *host = host_of(own, number);
    return (struct key){word_load(&host->high), word_load(&host->low)};
}

static struct own_place place_of(const struct own_ports *own, struct own_entry entry)
{
    return (struct own_place){what_has_host(entry.what) ? key_at(own, entry.host) : (struct key){0, 0}, entry.what};
}

/* Its index, or that of the free entry where it would be. A reader that is disturbed may find neither, so it looks at
 * each entry once at most. */
static uint32_t own_table_find(const struct own_ports *own, const struct own_table *table,
                               const struct own_place *place)
{
    const uint32_t mask = table->size - 1;
    uint32_t i = hash_of(own->seed, place) & mask;
    for (uint32_t steps = 0; steps < table->size; steps++, i = (i + 1) & mask) {
        const struct own_entry there = read_entry(table, i);
        if (there.what == 0)
            break;
        if (there.what == place->what &&
            (!what_has_host(place->what) || key_equal(key_at(own, there.host), place->host)))
            break;
    }
    return i;
}

/* ---- writers ---- */

static size_t own_table_bytes(const struct own_table *table)
{
    return table->size * sizeof(table->words[0]);
}

static struct own_table *own_table_new(uint32_t size)
{
    struct own_table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    table->size = size;
    table->words = mmap(NULL, own_table_bytes(table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table->words != MAP_FAILED)
        return table;
    free(table);
    return NULL;
}

struct own_ports *own_ports_new(void)
{
    struct own_ports *own = calloc(1, sizeof(*own));
    struct own_table *table = own ? own_table_new(SIZE_MIN) : NULL;
    if (!table) {
        free(own);
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
        munmap(table->words, own_table_bytes(table));
        free(table);
    }
    for (uint32_t i = 0; i < HOST_PAGES; i++)
        free(atomic_load(&own->hosts[i]));
    pthread_mutex_destroy(&own->lock);
    free(own);
}

static void own_ports_lock(struct own_ports *own)
{
    pthread_mutex_lock(&own->lock);
    atomic_fetch_add_explicit(&own->version, 1, memory_order_relaxed);
}

static void own_ports_unlock(struct own_ports *own)
{
    atomic_fetch_add_explicit(&own->version, 1, memory_order_release);
    pthread_mutex_unlock(&own->lock);
}

/* A socket takes up to three entries: its address, its port there, its port anywhere. */
static bool own_ports_make_room(struct own_ports *own)
{
    struct own_table *old = atomic_load_explicit(&own->table, memory_order_relaxed);
    if (old->filled + 3 <= old->size / 4 * 3)
        return true;
    struct own_table *table = old->size <= UINT32_MAX / 4 ? own_table_new(old->size * 2) : NULL;
    if (!table)
        return false;
    for (uint32_t i = 0; i < old->size; i++) {
        const struct own_entry entry = read_entry(old, i);
        if (!entry.what)
            continue;
        const struct own_place place = place_of(own, entry);
        write_entry(table, own_table_find(own, table, &place), entry);
    }
    table->filled = old->filled;
    table->smaller = old;
    atomic_store_explicit(&own->table, table, memory_order_release);
    (void)madvise(old->words, own_table_bytes(old), MADV_DONTNEED);
    return true;
}

/* A number for an address that has none. 0: no memory. */
static uint32_t own_ports_number_host(struct own_ports *own, struct key key)
{
    uint32_t number = own->free_host ? own->free_host : own->host_count + 1;
    if (number / PAGE_HOSTS == HOST_PAGES)
        return 0;
    if (!atomic_load_explicit(&own->hosts[number / PAGE_HOSTS], memory_order_relaxed)) {
        struct own_host *page = calloc(PAGE_HOSTS, sizeof(*page));
        if (!page)
            return 0;
        atomic_store_explicit(&own->hosts[number / PAGE_HOSTS], page, memory_order_release);
    }
    struct own_host *host = host_of(own, number);
    if (own->free_host)
        own->free_host = host->next_free;
    else
        own->host_count++;
    word_store(&host->high, key.high);
    word_store(&host->low, key.low);
    return number;
}

/* One more of it; `host` is 0 for an address that has no number yet. Returns the address's number, or 0: no memory. */
static uint32_t own_ports_add_one(struct own_ports *own, const struct own_place *place, uint32_t host)
{
    struct own_table *table = atomic_load_explicit(&own->table, memory_order_relaxed);
    const uint32_t i = own_table_find(own, table, place);
    struct own_entry entry = read_entry(table, i);
    if (entry.count == (1u << COUNT_BITS) - 1)
        return 0;
    if (!host)
        host = entry.what ? entry.host : own_ports_number_host(own, place->host);
    if (!host)
        return 0;
    table->filled += entry.what == 0;
    entry.host = what_has_host(place->what) ? host : entry.host ^ host;
    entry.what = place->what;
    entry.count++;
    write_entry(table, i, entry);
    return host;
}

/* Frees an entry, and moves up those behind it, so that own_table_find() still gets to them. */
static void own_table_free_entry(const struct own_ports *own, struct own_table *table, uint32_t hole)
{
    const uint32_t mask = table->size - 1;
    struct own_entry entry;
    for (uint32_t i = (hole + 1) & mask; (entry = read_entry(table, i)).what; i = (i + 1) & mask) {
        const struct own_place place = place_of(own, entry);
        const uint32_t home = hash_of(own->seed, &place) & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        write_entry(table, hole, entry);
        hole = i;
    }
    write_entry(table, hole, (struct own_entry){0});
    assert(table->filled > 0);
    table->filled--;
}

/* One less of it; `host` is the number of its address. Returns how many are left. */
static uint32_t own_ports_remove_one(struct own_ports *own, const struct own_place *place, uint32_t host)
{
    struct own_table *table = atomic_load_explicit(&own->table, memory_order_relaxed);
    const uint32_t i = own_table_find(own, table, place);
    struct own_entry entry = read_entry(table, i);
    assert(entry.what == place->what && entry.count > 0);
    if (!what_has_host(place->what))
        entry.host ^= host;
    if (--entry.count == 0)
        own_table_free_entry(own, table, i);
    else
        write_entry(table, i, entry);
    return entry.count;
}

static uint32_t number_of(const struct own_ports *own, const struct own_place *host)
{
    const struct own_table *table = atomic_load_explicit(&own->table, memory_order_relaxed);
    return read_entry(table, own_table_find(own, table, host)).host;
}

static void own_ports_release_host(struct own_ports *own, const struct own_place *host, uint32_t number)
{
    if (own_ports_remove_one(own, host, number) > 0)
        return;
    host_of(own, number)->next_free = own->free_host;
    own->free_host = number;
}

uint32_t own_ports_sockets(const struct own_ports *own)
{
    return own->sockets;
}

bool own_ports_add(struct own_ports *own, enum own_port kind, const union netaddr *local)
{
    const struct own_place place = own_place_for(kind == OWN_PORT_RELAY ? RELAY : EXTERNAL, local);
    const struct own_place anywhere = own_place_for(kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, local);
    const struct own_place host = own_place_of_host(local);
    own_ports_lock(own);
    const uint32_t number =
        own_ports_make_room(own) ? own_ports_add_one(own, &host, 0) : 0; /* the address counts all that is at it */
    if (number) {
        own_ports_add_one(own, &place, number);
        if (kind != OWN_PORT_BOUND)
            own_ports_add_one(own, &anywhere, number);
        own->sockets++;
    }
    own_ports_unlock(own);
    return number != 0;
}

void own_ports_remove(struct own_ports *own, enum own_port kind, const union netaddr *local)
{
    const struct own_place place = own_place_for(kind == OWN_PORT_RELAY ? RELAY : EXTERNAL, local);
    const struct own_place anywhere = own_place_for(kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, local);
    const struct own_place host = own_place_of_host(local);
    own_ports_lock(own);
    const uint32_t number = number_of(own, &host);
    assert(number && own->sockets > 0);
    own->sockets--;
    own_ports_remove_one(own, &place, number);
    if (kind != OWN_PORT_BOUND)
        own_ports_remove_one(own, &anywhere, number);
    own_ports_release_host(own, &host, number);
    own_ports_unlock(own);
}

/* ---- readers ---- */

/* How many sockets there are; of one, `host` gets the address. */
static uint32_t own_ports_look_up(const struct own_ports *own, const struct own_place *place, struct key *host)
{
    const struct own_table *table = atomic_load_explicit(&own->table, memory_order_acquire);
    const struct own_entry entry = read_entry(table, own_table_find(own, table, place));
    if (entry.what != place->what)
        return 0;
    if (entry.count == 1)
        *host = key_at(own, entry.host);
    return entry.count;
}

static uint32_t own_ports_count(struct own_ports *own, const struct own_place *place, struct key *host)
{
    if (!own)
        return 0;
    const unsigned version = atomic_load_explicit(&own->version, memory_order_acquire);
    uint32_t count = version % 2 == 0 ? own_ports_look_up(own, place, host) : 0;
    if (version % 2 == 0 && atomic_load_explicit(&own->version, memory_order_relaxed) == version)
        return count;
    pthread_mutex_lock(&own->lock);
    count = own_ports_look_up(own, place, host);
    pthread_mutex_unlock(&own->lock);
    return count;
}

static bool own_ports_has_any(struct own_ports *own, unsigned kind, const union netaddr *address)
{
    const struct own_place place = own_place_for(kind, address);
    struct key host;
    return own_ports_count(own, &place, &host) > 0;
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
    return own_ports_has_any(own, as, address) || own_ports_has_any(own, as, &any);
}

bool own_ports_has_anywhere(struct own_ports *own, enum own_port kind, const union netaddr *address)
{
    return own_ports_has_any(own, kind == OWN_PORT_RELAY ? RELAY_ANYWHERE : EXTERNAL_ANYWHERE, address);
}

bool own_ports_locate(struct own_ports *own, union netaddr *address)
{
    const struct own_place place = own_place_for(EXTERNAL_ANYWHERE, address);
    const bool v6 = address->sa.sa_family == AF_INET6;
    const struct key loopback = v6 ? (struct key){0, 1} : (struct key){(uint64_t)INADDR_LOOPBACK << 32, 0};
    struct key host;
    if (own_ports_count(own, &place, &host) != 1)
        return false;
    if (host.high == 0 && host.low == 0) /* every address */
        host = loopback;
    const uint64_t bytes[2] = {htobe64(host.high), htobe64(host.low)};
    *address = netaddr_from_bytes((const uint8_t *)bytes, v6 ? 16 : 4, netaddr_port(address));
    return true;
}
