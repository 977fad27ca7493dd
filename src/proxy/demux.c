#include "proxy/demux.h"

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

TAILQ_HEAD(entry_list, demux_entry);

/* A client's address, and its associations that may be given a port. */
struct host {
    UT_hash_handle hh;
    struct pair pair;
    size_t entries;
    struct entry_list waiting, quiet; /* each in the order in which they came to be so */
};

struct demux_entry {
    UT_hash_handle hh; /* of `clients`, while client.host_port is not 0 */
    struct pair client;
    struct host *host;       /* NULL: it has ended */
    struct entry_list *list; /* that it is on: one of its host's, or `resting`; NULL: none */
    TAILQ_ENTRY(demux_entry) link;
    uint64_t rests_until_ms;
    uint32_t references; /* the association's or, afterwards, the table's, and one for each datagram under way */
    uint16_t hint_port;
    void *worker, *owner;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */
static struct host *hosts;
static struct demux_entry *clients;
static struct entry_list resting = TAILQ_HEAD_INITIALIZER(resting);

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

static struct host *find_host(struct pair pair)
{
    struct host *host;
    pair.host_port = 0;
    HASH_FIND(hh, hosts, &pair, sizeof(pair), host);
    return host;
}

static struct host *join_host(struct pair pair)
{
    struct host *host = find_host(pair);
    if (!host) {
        host = calloc(1, sizeof(*host));
        if (!host)
            return NULL;
        host->pair = pair;
        TAILQ_INIT(&host->waiting);
        TAILQ_INIT(&host->quiet);
        HASH_ADD(hh, hosts, pair, sizeof(host->pair), host);
        if (!host->hh.tbl) {
            free(host);
            return NULL;
        }
    }
    host->entries++;
    return host;
}

static void leave_host(struct host *host)
{
    if (--host->entries > 0)
        return;
    HASH_DEL(hosts, host);
    free(host);
}

static void put_on(struct demux_entry *entry, struct entry_list *list)
{
    if (entry->list == list)
        return;
    if (entry->list)
        TAILQ_REMOVE(entry->list, entry, link);
    entry->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, entry, link);
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
    put_on(entry, NULL);
    forget_client(entry);
    unreference(entry);
}

static void forget_rested(uint64_t now_ms)
{
    for (struct demux_entry *first; (first = TAILQ_FIRST(&resting)) && first->rests_until_ms <= now_ms;)
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

/* How well what comes from `port` fits an association that waits; 0: not at all. */
static int fits(const struct demux_entry *entry, uint16_t port)
{
    bool has_client = entry->client.host_port != 0;
    if (entry->hint_port == port)
        return has_client ? 3 : 4;
    if (has_client)
        return 0;
    return entry->hint_port == 0 ? 2 : 1;
}

/* `named`: only one whose request has named the port. */
static struct demux_entry *choose(const struct host *host, uint16_t port, bool named)
{
    struct demux_entry *best = NULL, *each;
    int best_fit = named ? 2 : 0;
    TAILQ_FOREACH(each, &host->waiting, link)
    {
        int fit = fits(each, port);
        if (fit <= best_fit)
            continue;
        best = each;
        best_fit = fit;
    }
    return best || named ? best : TAILQ_FIRST(&host->quiet);
}

static bool take_client(struct demux_entry *entry, const struct pair *client)
{
    bool may_change = entry->hint_port && entry->hint_port != client->host_port;
    bool taken = set_client(entry, client);
    if (taken)
        put_on(entry, may_change ? &entry->host->waiting : NULL);
    return taken;
}

static enum demux_verdict find(const struct pair *pair, bool valid, struct demux_entry **out)
{
    struct demux_entry *known = find_client(pair), *entry = known;
    if (!known || !known->host) {
        const struct host *host = find_host(*pair);
        if (!host)
            return DEMUX_STRANGER;
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

struct demux_entry *demux_enter(const union netaddr *relay, const union netaddr *host, uint16_t hint_port, void *worker,
                                void *owner)
{
    struct pair pair = pair_of(relay, host);
    struct demux_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    pair.host_port = 0;
    *entry =
        (struct demux_entry){.client = pair, .references = 1, .hint_port = hint_port, .worker = worker, .owner = owner};
    pthread_mutex_lock(&lock);
    entry->host = join_host(pair);
    if (entry->host)
        put_on(entry, &entry->host->waiting);
    pthread_mutex_unlock(&lock);
    if (!entry->host) {
        free(entry);
        return NULL;
    }
    return entry;
}

void demux_leave(struct demux_entry *entry, uint64_t now_ms)
{
    pthread_mutex_lock(&lock);
    forget_rested(now_ms);
    put_on(entry, entry->client.host_port ? &resting : NULL);
    leave_host(entry->host);
    entry->owner = NULL;
    entry->host = NULL;
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
    put_on(entry, state == DEMUX_WAITING ? &entry->host->waiting : state == DEMUX_QUIET ? &entry->host->quiet : NULL);
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
