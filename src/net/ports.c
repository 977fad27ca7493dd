/*
 * Ports are bound by number, not by asking the kernel for any: only a port that was named stays when a UDP socket
 * disconnects from its peer.
 */
#include "net/ports.h"

#include <assert.h>
#include <errno.h>
#include <event2/util.h>
#include <inttypes.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOG_MODULE "ports"
#include "base/log.h"
#include "net/port_table.h"

/* How many ports that other programs have are tried in one call. */
#define TRIES_MAX 64
/* Memory for tables without a port in use. When the oldest are freed beyond it, only what rests there is forgotten. */
#define UNUSED_MEMORY_MAX (8u << 20)
#define WARNING_PERIOD_MS 60000
/* Random numbers that are fetched at once: the system call costs more than the choice of a port. */
#define RANDOM_BATCH 64

/* Which table a port is in. Plain bytes, to be compared by memcmp. */
struct ports_key {
    uint16_t family, stream, first, last, except;
    uint8_t host[16];
};

static_assert(sizeof(struct ports_key) == 26, "it has no padding, which would be compared too");

/* A range at a local address. */
struct local_ports {
    struct ports_key key;
    LIST_ENTRY(local_ports) link;
    TAILQ_ENTRY(local_ports) unused_link;
    uint32_t reserved; /* ports that are never given: `except` */
    struct port_table *table;
};

struct ports {
    pthread_mutex_t lock;
    void *tree; /* of the same: clients may choose among many local addresses, and none of them can make it slow */
    LIST_HEAD(, local_ports) all;
    TAILQ_HEAD(, local_ports) unused; /* no port is in use, the longest first */
    size_t unused_memory;
    uint64_t reused_early, warned_ms; /* since the last warning; when that was, 0: never */
    size_t random_left;
    uint32_t random[RANDOM_BATCH]; /* 0 once used */
};

struct ports *ports_new(void)
{
    struct ports *ports = calloc(1, sizeof(*ports));
    if (!ports)
        return NULL;
    pthread_mutex_init(&ports->lock, NULL);
    LIST_INIT(&ports->all);
    TAILQ_INIT(&ports->unused);
    return ports;
}

static int compare_keys(const void *a, const void *b)
{
    const struct local_ports *left = a, *right = b;
    return memcmp(&left->key, &right->key, sizeof(left->key));
}

static void local_ports_free(struct ports *ports, struct local_ports *local)
{
    LIST_REMOVE(local, link);
    tdelete(local, &ports->tree, compare_keys);
    port_table_free(local->table);
    free(local);
}

static uint32_t local_ports_used(const struct local_ports *local)
{
    assert(port_table_used(local->table) >= local->reserved);
    return port_table_used(local->table) - local->reserved;
}

void ports_free(struct ports *ports)
{
    if (!ports)
        return;
    struct local_ports *local;
    LIST_FOREACH(local, &ports->all, link)
    {
        assert(local_ports_used(local) == 0);
    }
    while (!LIST_EMPTY(&ports->all))
        local_ports_free(ports, LIST_FIRST(&ports->all));
    pthread_mutex_destroy(&ports->lock);
    free(ports);
}

struct port_range port_range_of_system(struct ports *ports)
{
    struct port_range range = {
        .ports = ports, .option = "udp.ports", .random = true, .first = 32768, .last = 60999}; /* Linux's default */
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (!file)
        return range;
    unsigned first, last;
    if (fscanf(file, "%u %u", &first, &last) == 2 && first > 0 && first <= last && last <= UINT16_MAX) {
        range.first = (uint16_t)first;
        range.last = (uint16_t)last;
    }
    fclose(file);
    return range;
}

/* ---- tables, under the lock ---- */

static struct ports_key ports_key_for(const struct port_range *range, const union netaddr *address)
{
    struct ports_key key = {
        .family = address->sa.sa_family, .stream = range->stream, .first = range->first, .last = range->last};
    if (range->except >= range->first && range->except <= range->last)
        key.except = range->except;
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    if (!range->everywhere)
        memcpy(key.host, host, len);
    return key;
}

static struct local_ports *local_ports_new(struct ports *ports, const struct ports_key *key)
{
    struct local_ports *local = calloc(1, sizeof(*local));
    if (!local)
        return NULL;
    local->key = *key;
    local->table = port_table_new(key->first, key->last);
    if (local->table && key->except)
        local->reserved = port_table_take_one(local->table, (struct port_time){0}, key->except) == 0;
    if (local->table && local->reserved == (key->except != 0) && tsearch(local, &ports->tree, compare_keys)) {
        LIST_INSERT_HEAD(&ports->all, local, link);
        return local;
    }
    port_table_free(local->table);
    free(local);
    return NULL;
}

/* Finds or makes it, to take a port from. NULL: no memory. */
static struct local_ports *local_ports_enter(struct ports *ports, const struct ports_key *key)
{
    const struct local_ports wanted = {.key = *key};
    struct local_ports **found = tfind(&wanted, &ports->tree, compare_keys);
    if (!found)
        return local_ports_new(ports, key);
    struct local_ports *local = *found;
    if (local_ports_used(local) == 0) {
        TAILQ_REMOVE(&ports->unused, local, unused_link);
        assert(ports->unused_memory >= port_table_memory(local->table));
        ports->unused_memory -= port_table_memory(local->table);
    }
    return local;
}

/* After a port was taken or put back, or could not be. */
static void local_ports_leave(struct ports *ports, struct local_ports *local)
{
    if (local_ports_used(local) > 0)
        return;
    TAILQ_INSERT_TAIL(&ports->unused, local, unused_link);
    ports->unused_memory += port_table_memory(local->table);
    while (ports->unused_memory > UNUSED_MEMORY_MAX) {
        struct local_ports *oldest = TAILQ_FIRST(&ports->unused);
        assert(oldest);
        TAILQ_REMOVE(&ports->unused, oldest, unused_link);
        ports->unused_memory -= port_table_memory(oldest->table);
        local_ports_free(ports, oldest);
    }
}

static struct port_time time_for(const struct port_range *range, uint64_t now_ms)
{
    return (struct port_time){(uint32_t)(now_ms / 1000), (uint32_t)((range->rest_ms + 999) / 1000)};
}

/* ---- one port ---- */

static uint32_t ports_random(struct ports *ports)
{
    if (ports->random_left == 0) {
        evutil_secure_rng_get_bytes(ports->random, sizeof(ports->random));
        ports->random_left = RANDOM_BATCH;
    }
    uint32_t *next = &ports->random[--ports->random_left], random = *next;
    *next = 0; /* nobody learns from our memory which ports were chosen */
    return random;
}

static int local_ports_take(const struct port_range *range, const struct ports_key *key, uint64_t now_ms,
                            struct port_lease *lease)
{
    struct ports *ports = range->ports;
    const struct port_time time = time_for(range, now_ms);
    assert(range->first > 0 && range->first <= range->last);
    pthread_mutex_lock(&ports->lock);
    struct local_ports *local = local_ports_enter(ports, key);
    int error = -ENOMEM;
    *lease = (struct port_lease){.from = local, .port = range->wanted};
    if (local && range->wanted)
        error = port_table_take_one(local->table, time, range->wanted);
    else if (local)
        error = port_table_take(local->table, time, ports_random(ports), &lease->port, &lease->early);
    if (local && error) {
        local_ports_leave(ports, local);
        *lease = (struct port_lease){0};
    }
    pthread_mutex_unlock(&ports->lock);
    return error;
}

static void local_ports_put(const struct port_range *range, struct port_lease *lease, uint32_t quiet_from_s,
                            uint64_t now_ms)
{
    struct ports *ports = range->ports;
    struct local_ports *local = lease->from;
    pthread_mutex_lock(&ports->lock);
    assert(local_ports_used(local) > 0);
    port_table_put(local->table, time_for(range, now_ms), lease->port, quiet_from_s);
    local_ports_leave(ports, local);
    pthread_mutex_unlock(&ports->lock);
    *lease = (struct port_lease){0};
}

/* The first full second after a moment. */
static uint32_t quiet_after(uint64_t when_ms)
{
    return (uint32_t)(when_ms / 1000 + 1);
}

static int ports_bind_one(const struct port_range *range, const struct ports_key *key, int fd, union netaddr *local,
                          uint64_t now_ms, struct port_lease *lease, bool *taken)
{
    int error = local_ports_take(range, key, now_ms, lease);
    *taken = !error;
    if (error)
        return error;
    netaddr_set_port(local, lease->port);
    if (bind(fd, &local->sa, netaddr_len(local)) == 0)
        return 0;
    error = errno;
    /* A port that another program has is left alone for a while, as if it had just been used. */
    local_ports_put(range, lease, error == EADDRINUSE ? quiet_after(now_ms) : 0, now_ms);
    return -error;
}

/* ---- early ones ---- */

static void ports_warn_of_early(const struct port_range *range, const union netaddr *local, uint64_t now_ms)
{
    struct ports *ports = range->ports;
    pthread_mutex_lock(&ports->lock);
    uint64_t count = ++ports->reused_early;
    const bool due = ports->warned_ms == 0 || now_ms - ports->warned_ms >= WARNING_PERIOD_MS;
    if (due) {
        ports->warned_ms = now_ms;
        ports->reused_early = 0;
    }
    pthread_mutex_unlock(&ports->lock);
    char host[NETADDR_TEXT_MAX];
    if (!due)
        return;
    log_warning("%s: using ports again before they have rested %" PRIu64 " s (%" PRIu64 " since the last such line): "
                "every port from %u to %u at %s is in use or resting. A datagram for a port's previous association may "
                "reach the next one. Use a larger range (%s), or a shorter udp.port_rest",
                range->option, range->rest_ms / 1000, count, range->first, range->last,
                netaddr_format_host(local, host), range->random ? "net.ipv4.ip_local_port_range" : range->option);
}

/* ---- from outside ---- */

static int ports_bind_wanted(const struct port_range *range, int fd, union netaddr *local, uint64_t now_ms,
                             struct port_lease *lease)
{
    struct port_range one = *range;
    bool taken;
    if (range->wanted == range->except)
        return -EADDRINUSE;
    if (range->wanted < range->first || range->wanted > range->last)
        one.first = one.last = range->wanted;
    const struct ports_key key = ports_key_for(&one, local);
    return ports_bind_one(&one, &key, fd, local, now_ms, lease, &taken);
}

void ports_allow_network(int fd, int family)
{
    const int yes = 1;
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof(yes)); /* else bind() tells */
}

int ports_bind(const struct port_range *range, int fd, union netaddr *local, uint64_t now_ms, struct port_lease *lease)
{
    assert(local->sa.sa_family == AF_INET || local->sa.sa_family == AF_INET6);
    struct port_range any = *range;
    const struct ports_key key = ports_key_for(range, local);
    if (range->from_network)
        ports_allow_network(fd, local->sa.sa_family);
    int error = range->wanted ? ports_bind_wanted(range, fd, local, now_ms, lease) : -EADDRINUSE;
    any.wanted = 0;
    bool taken = true;
    for (int tries = 0; error == -EADDRINUSE && taken && tries < TRIES_MAX; tries++)
        error = ports_bind_one(&any, &key, fd, local, now_ms, lease, &taken);
    lease->early = lease->early && range->rest_ms > 0; /* else it was another program's a moment ago */
    if (!error && lease->early)
        ports_warn_of_early(range, local, now_ms);
    return error;
}

void ports_release(const struct port_range *range, struct port_lease *lease, uint64_t used_until_ms, uint64_t now_ms)
{
    if (lease->from)
        local_ports_put(range, lease, used_until_ms && range->rest_ms ? quiet_after(used_until_ms) : 0, now_ms);
}

/* A port that is taken at every address is so at each. */
static bool hosts_overlap(const struct ports_key *a, const struct ports_key *b)
{
    static const uint8_t every[sizeof(a->host)];
    return memcmp(a->host, b->host, sizeof(every)) == 0 || memcmp(a->host, every, sizeof(every)) == 0 ||
           memcmp(b->host, every, sizeof(every)) == 0;
}

bool ports_is_at(const struct port_lease *lease, const struct port_place *place)
{
    const struct ports_key wanted = ports_key_for(&place->range, &place->local);
    const struct ports_key *key = lease->from ? &lease->from->key : NULL; /* which never changes */
    return key && key->family == wanted.family && key->stream == wanted.stream && lease->port >= wanted.first &&
           lease->port <= wanted.last && hosts_overlap(key, &wanted);
}

struct port_use ports_use(const struct port_range *range, uint64_t now_ms)
{
    struct ports *ports = range->ports;
    struct port_use use = {0};
    uint32_t addresses[FAMILY_COUNT] = {0}, full[FAMILY_COUNT] = {0};
    const union netaddr any = netaddr_any(AF_INET);
    const struct ports_key wanted = ports_key_for(range, &any);
    struct local_ports *local;
    pthread_mutex_lock(&ports->lock);
    LIST_FOREACH(local, &ports->all, link)
    {
        const struct ports_key *key = &local->key;
        if (key->stream != wanted.stream || key->first != wanted.first || key->last != wanted.last ||
            key->except != wanted.except)
            continue;
        const uint32_t used = local_ports_used(local), total = port_table_total(local->table) - local->reserved;
        const int family = family_index(key->family);
        use.used += used;
        use.total += total;
        use.resting += port_table_resting(local->table, time_for(range, now_ms));
        addresses[family]++;
        full[family] += used == total;
    }
    pthread_mutex_unlock(&ports->lock);
    for (int i = 0; i < FAMILY_COUNT; i++) {
        use.addresses += addresses[i];
        use.full += full[i];
        use.exhausted |= addresses[i] > 0 && full[i] == addresses[i];
    }
    if (use.addresses == 0)
        use.total = (uint64_t)wanted.last - wanted.first + 1 - (wanted.except != 0);
    return use;
}
