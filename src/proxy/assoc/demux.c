#include "proxy/assoc/demux.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "policy/key.h"

/* Where from and where to, as plain bytes. */
struct pair {
    struct key relay, host;
    uint16_t relay_port, host_port; /* host_port 0: any */
    uint32_t scope;                 /* of a link-local address: the interface */
    uint64_t family;
};
_Static_assert(sizeof(struct pair) == 48, "no byte of it is left unset");

/* An entry's place on a list. */
struct place {
    TAILQ_ENTRY(place) link;
    struct place_list *list; /* NULL: on none */
    struct demux_entry *entry;
};

TAILQ_HEAD(place_list, place);

/* Associations with the same client address. With a host_port in `pair`: only those whose request has named that port.
 */
struct group {
    UT_hash_handle hh;
    struct pair pair;
    size_t entries;
    /* Those that may be given a port, each list in the order in which they came to be so. Each waiting entry without a
     * client is on `open`, or on `named` of its address and on `open` of its named port. */
    struct place_list open, named;
    struct place_list taken; /* of a named port: they wait for it, and have a client at another port meanwhile */
    struct place_list quiet;
};

struct demux_entry {
    UT_hash_handle hh; /* of `clients`, while client.host_port is not 0 */
    struct pair client;
    enum demux_state state;
    struct group *host;    /* NULL: it has ended */
    struct group *hint;    /* NULL: its request has named no port */
    struct group *network; /* of all clients of its IPv6 network, on no lists; NULL: its address belongs to none */
    struct place by_host;  /* on a list of `host`, or on `resting` */
    struct place by_hint;  /* on a list of `hint` */
    uint64_t rests_until_ms;
    uint32_t references; /* the association's or, afterwards, the table's, and one for each datagram under way */
    uint16_t hint_port;
    void *worker, *owner;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */
static struct group *groups;
static struct demux_entry *clients;
static struct place_list resting = TAILQ_HEAD_INITIALIZER(resting);

static struct pair pair_of(const union netaddr *relay, const union netaddr *from)
{
    bool scoped = from->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&from->v6.sin6_addr);
    return (struct pair){
        .relay = key_of(relay),
        .host = key_of(from),
        .relay_port = netaddr_port(relay),
        .host_port = netaddr_port(from),
        .scope = scoped ? from->v6.sin6_scope_id : 0,
        .family = from->sa.sa_family,
    };
}

/* ---- under the lock ---- */

static struct group *find_group(struct pair pair, uint16_t port)
{
    struct group *group;
    pair.host_port = port;
    HASH_FIND(hh, groups, &pair, sizeof(pair), group);
    return group;
}

static struct group *make_group(struct pair pair, uint16_t port)
{
    struct group *group = calloc(1, sizeof(*group));
    if (!group)
        return NULL;
    group->pair = pair;
    group->pair.host_port = port;
    TAILQ_INIT(&group->open);
    TAILQ_INIT(&group->named);
    TAILQ_INIT(&group->taken);
    TAILQ_INIT(&group->quiet);
    HASH_ADD(hh, groups, pair, sizeof(group->pair), group);
    if (group->hh.tbl)
        return group;
    free(group);
    return NULL;
}

/* Stands for all addresses of the same IPv6 network (/64). */
static struct pair network_of(struct pair pair)
{
    pair.host.low = 0;
    pair.scope = UINT32_MAX; /* which no interface has */
    return pair;
}

static bool has_network(const struct pair *pair)
{
    return pair->family == AF_INET6 && pair->scope == 0;
}

/* NULL: no memory. */
static struct group *join_group(struct pair pair, uint16_t port)
{
    struct group *group = find_group(pair, port);
    if (!group)
        group = make_group(pair, port);
    if (group)
        group->entries++;
    return group;
}

static void leave_group(struct group *group)
{
    if (!group || --group->entries > 0)
        return;
    HASH_DEL(groups, group);
    free(group);
}

static void put_on(struct place *place, struct place_list *list)
{
    if (place->list == list)
        return;
    if (place->list)
        TAILQ_REMOVE(place->list, place, link);
    place->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, place, link);
}

static struct demux_entry *first_of(const struct place_list *list)
{
    const struct place *place = TAILQ_FIRST(list);
    return place ? place->entry : NULL;
}

/* Puts a living entry on the lists where choose() looks for it. */
static void arrange(struct demux_entry *entry)
{
    struct group *host = entry->host, *hint = entry->hint;
    bool waits = entry->state == DEMUX_WAITING, has_client = entry->client.host_port != 0;
    struct place_list *waiting = hint ? &host->named : &host->open;
    put_on(&entry->by_host, entry->state == DEMUX_QUIET ? &host->quiet : waits && !has_client ? waiting : NULL);
    if (hint)
        put_on(&entry->by_hint, !waits ? NULL : has_client ? &hint->taken : &hint->open);
}

static void unreference(struct demux_entry *entry)
{
    if (--entry->references == 0)
        free(entry);
}

static struct demux_entry *find_client(const struct pair *client)
{
    struct demux_entry *entry;
    HASH_FIND(hh, clients, client, sizeof(*client), entry);
    return entry;
}

static void forget_client(struct demux_entry *entry)
{
    if (entry->client.host_port)
        HASH_DEL(clients, entry);
    entry->client.host_port = 0;
}

static void stop_resting(struct demux_entry *entry)
{
    put_on(&entry->by_host, NULL);
    forget_client(entry);
    unreference(entry);
}

static void forget_rested(uint64_t now_ms)
{
    for (struct demux_entry *first; (first = first_of(&resting)) && first->rests_until_ms <= now_ms;)
        stop_resting(first);
}

/* false: it is another's, or there is no memory; then it has none. */
static bool set_client(struct demux_entry *entry, const struct pair *client)
{
    struct demux_entry *other = client->host_port ? find_client(client) : NULL;
    if (other == entry && other)
        return true;
    forget_client(entry);
    if (other && other->host)
        return false;
    if (other)
        stop_resting(other);
    if (client->host_port == 0)
        return true;
    entry->client = *client;
    HASH_ADD(hh, clients, client, sizeof(entry->client), entry);
    if (!entry->hh.tbl)
        entry->client.host_port = 0;
    return entry->hh.tbl != NULL;
}

/* ---- the choice ---- */

/* `rests`: the port was the client's of an association that has ended; only a request that names it takes it over. */
static struct demux_entry *choose(const struct group *host, uint16_t port, bool rests)
{
    const struct group *hint = find_group(host->pair, port);
    struct demux_entry *entry = hint ? first_of(&hint->open) : NULL;
    if (!entry && hint)
        entry = first_of(&hint->taken);
    if (entry || rests)
        return entry;
    if (!(entry = first_of(&host->open)) && !(entry = first_of(&host->named)))
        entry = first_of(&host->quiet);
    return entry;
}

static bool take_client(struct demux_entry *entry, const struct pair *client)
{
    bool may_change = entry->hint_port && entry->hint_port != client->host_port;
    bool taken = set_client(entry, client);
    if (taken)
        entry->state = may_change ? DEMUX_WAITING : DEMUX_HELD;
    arrange(entry);
    return taken;
}

static enum demux_verdict find(const struct pair *pair, bool valid, struct demux_entry **out)
{
    struct demux_entry *known = find_client(pair), *entry = known;
    if (!known || !known->host) {
        const struct group *host = find_group(*pair, 0);
        if (!host)
            return has_network(pair) && find_group(network_of(*pair), 0) ? DEMUX_OTHER_ADDRESS : DEMUX_STRANGER;
        entry = valid ? choose(host, pair->host_port, known != NULL) : NULL;
        if (!entry)
            return DEMUX_OTHER_PORT;
    }
    if (entry->references > DEMUX_UNDER_WAY_MAX)
        return DEMUX_FULL;
    if (entry != known && !take_client(entry, pair))
        return DEMUX_OTHER_PORT;
    entry->references++;
    *out = entry;
    return DEMUX_FOUND;
}

enum demux_verdict demux_find(const union netaddr *relay, const union netaddr *from, bool valid, uint64_t now_ms,
                              struct demux_entry **entry)
{
    const struct pair pair = pair_of(relay, from);
    if (pair.host_port == 0) /* nobody can be answered there */
        return DEMUX_STRANGER;
    pthread_mutex_lock(&lock);
    forget_rested(now_ms);
    enum demux_verdict verdict = find(&pair, valid, entry);
    pthread_mutex_unlock(&lock);
    return verdict;
}

void demux_done(struct demux_entry *entry)
{
    pthread_mutex_lock(&lock);
    unreference(entry);
    pthread_mutex_unlock(&lock);
}

/* ---- entries ---- */

static bool join(struct demux_entry *entry)
{
    entry->host = join_group(entry->client, 0);
    if (entry->host && entry->hint_port && !(entry->hint = join_group(entry->client, entry->hint_port))) {
        leave_group(entry->host);
        entry->host = NULL;
    }
    if (!entry->host)
        return false;
    if (has_network(&entry->client)) /* without memory for it, what comes from there counts as a stranger's */
        entry->network = join_group(network_of(entry->client), 0);
    arrange(entry);
    return true;
}

struct demux_entry *demux_enter(const union netaddr *relay, const union netaddr *host, uint16_t hint_port, void *worker,
                                void *owner)
{
    struct pair pair = pair_of(relay, host);
    struct demux_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    pair.host_port = 0;
    *entry = (struct demux_entry){.client = pair,
                                  .state = DEMUX_WAITING,
                                  .references = 1,
                                  .hint_port = hint_port,
                                  .worker = worker,
                                  .owner = owner};
    entry->by_host.entry = entry->by_hint.entry = entry;
    pthread_mutex_lock(&lock);
    bool joined = join(entry);
    pthread_mutex_unlock(&lock);
    if (joined)
        return entry;
    free(entry);
    return NULL;
}

void demux_leave(struct demux_entry *entry, uint64_t now_ms)
{
    pthread_mutex_lock(&lock);
    forget_rested(now_ms);
    put_on(&entry->by_hint, NULL);
    put_on(&entry->by_host, entry->client.host_port ? &resting : NULL);
    leave_group(entry->hint);
    leave_group(entry->host);
    leave_group(entry->network);
    entry->owner = NULL;
    entry->host = entry->hint = entry->network = NULL;
    entry->rests_until_ms = now_ms + DEMUX_REST_MS;
    if (entry->client.host_port == 0)
        unreference(entry);
    pthread_mutex_unlock(&lock);
}

void demux_set(struct demux_entry *entry, const union netaddr *client, enum demux_state state)
{
    pthread_mutex_lock(&lock);
    struct pair pair = entry->client;
    pair.host_port = netaddr_port(client);
    (void)set_client(entry, &pair);
    entry->state = state;
    arrange(entry);
    pthread_mutex_unlock(&lock);
}

void *demux_worker(const struct demux_entry *entry)
{
    return entry->worker;
}

void *demux_owner(const struct demux_entry *entry)
{
    return entry->owner;
}
