#include "host/shared_port_table.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "policy/key.h"

/* Where datagrams come from and where they go to, as plain bytes to be hashed. */
struct client_key {
    struct key relay, host;
    uint16_t relay_port, host_port; /* host_port 0: any */
    uint32_t scope;                 /* of a link-local address: the interface */
    uint64_t family;
};
static_assert(sizeof(struct client_key) == 48, "it has no padding, which would be hashed too");

/* An entry's position on a list. */
struct entry_link {
    TAILQ_ENTRY(entry_link) link;
    struct entry_list *list; /* NULL: on none */
    struct shared_port_entry *entry;
};

TAILQ_HEAD(entry_list, entry_link);

/* Associations with the same client address. With a host_port in its key: only those whose request has named that port.
 */
struct client_group {
    UT_hash_handle hh;
    struct client_key key;
    size_t entries;
    /* Entries that may be given a port; each list is in the order in which they came to it. Each waiting entry without
     * a client is on `open`, or on `named` of its address and on `open` of its named port. */
    struct entry_list open, named;
    struct entry_list taken; /* of a named port: they wait for it, and have a client at another port meanwhile */
    struct entry_list roomy; /* they have a client, and take further ports */
    struct entry_list quiet;
};

struct shared_port_entry {
    UT_hash_handle hh; /* of table->clients, while client.host_port is not 0 */
    struct client_key client;
    enum shared_port_state state;
    bool has_room;
    struct client_group *host;    /* NULL: it was removed */
    struct client_group *hint;    /* NULL: its request has named no port */
    struct client_group *network; /* of all clients of its IPv6 network, on no lists; NULL: its address has none */
    struct entry_link by_host;    /* on a list of `host`, or on table->resting */
    struct entry_link by_hint;    /* on a list of `hint` */
    uint64_t rests_until_ms;
    uint32_t references; /* one of the association, afterwards of the table, and one for each datagram under way */
    uint16_t hint_port;
    void *worker, *owner;
};

struct shared_port_table {
    pthread_mutex_t lock; /* of all that follows, and of the entries */
    struct client_group *groups;
    struct shared_port_entry *clients;
    struct entry_list resting; /* removed ones whose client may still send */
    size_t entries;            /* that are not freed */
};

static struct client_key client_key_of(const union netaddr *relay, const union netaddr *from)
{
    bool scoped = from->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&from->v6.sin6_addr);
    return (struct client_key){
        .relay = key_of(relay),
        .host = key_of(from),
        .relay_port = netaddr_port(relay),
        .host_port = netaddr_port(from),
        .scope = scoped ? from->v6.sin6_scope_id : 0,
        .family = from->sa.sa_family,
    };
}

/* ---- groups, under the lock like all that follows ---- */

static struct client_group *group_find(const struct shared_port_table *table, struct client_key key, uint16_t port)
{
    struct client_group *group;
    key.host_port = port;
    HASH_FIND(hh, table->groups, &key, sizeof(key), group);
    return group;
}

static struct client_group *group_new(struct shared_port_table *table, struct client_key key, uint16_t port)
{
    struct client_group *group = calloc(1, sizeof(*group));
    if (!group)
        return NULL;
    group->key = key;
    group->key.host_port = port;
    TAILQ_INIT(&group->open);
    TAILQ_INIT(&group->named);
    TAILQ_INIT(&group->taken);
    TAILQ_INIT(&group->roomy);
    TAILQ_INIT(&group->quiet);
    HASH_ADD(hh, table->groups, key, sizeof(group->key), group);
    if (group->hh.tbl)
        return group;
    free(group);
    return NULL;
}

/* Stands for all addresses of the same IPv6 network (/64). */
static struct client_key network_of(struct client_key key)
{
    key.host.low = 0;
    key.scope = UINT32_MAX; /* which no interface has */
    return key;
}

static bool has_network(const struct client_key *key)
{
    return key->family == AF_INET6 && key->scope == 0;
}

/* NULL: no memory. */
static struct client_group *group_join(struct shared_port_table *table, struct client_key key, uint16_t port)
{
    struct client_group *group = group_find(table, key, port);
    if (!group)
        group = group_new(table, key, port);
    if (group)
        group->entries++;
    return group;
}

static void group_leave(struct shared_port_table *table, struct client_group *group)
{
    if (!group)
        return;
    assert(group->entries > 0);
    if (--group->entries > 0)
        return;
    assert(TAILQ_EMPTY(&group->open) && TAILQ_EMPTY(&group->named) && TAILQ_EMPTY(&group->taken) &&
           TAILQ_EMPTY(&group->roomy) && TAILQ_EMPTY(&group->quiet));
    HASH_DEL(table->groups, group);
    free(group);
}

/* ---- entries ---- */

static void entry_move_to(struct entry_link *place, struct entry_list *list)
{
    if (place->list == list)
        return;
    if (place->list)
        TAILQ_REMOVE(place->list, place, link);
    place->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, place, link);
}

static struct shared_port_entry *entry_first(const struct entry_list *list)
{
    const struct entry_link *first = TAILQ_FIRST(list);
    return first ? first->entry : NULL;
}

/* Puts an entry on the lists where group_choose() looks for it. */
static void entry_arrange(struct shared_port_entry *entry)
{
    struct client_group *host = entry->host, *hint = entry->hint;
    assert(host && entry->state < SHARED_PORT_STATES);
    const bool waits = entry->state == SHARED_PORT_WAITING, has_client = entry->client.host_port != 0;
    struct entry_list *waiting = hint ? &host->named : &host->open;
    entry_move_to(&entry->by_host, has_client && entry->has_room       ? &host->roomy
                                   : entry->state == SHARED_PORT_QUIET ? &host->quiet
                                   : waits && !has_client              ? waiting
                                                                       : NULL);
    if (hint)
        entry_move_to(&entry->by_hint, !waits ? NULL : has_client ? &hint->taken : &hint->open);
}

static void entry_unreference(struct shared_port_table *table, struct shared_port_entry *entry)
{
    assert(entry->references > 0);
    if (--entry->references > 0)
        return;
    assert(!entry->host && !entry->by_host.list && !entry->by_hint.list);
    table->entries--;
    free(entry);
}

static struct shared_port_entry *find_client(const struct shared_port_table *table, const struct client_key *client)
{
    struct shared_port_entry *entry;
    HASH_FIND(hh, table->clients, client, sizeof(*client), entry);
    return entry;
}

static void entry_forget_client(struct shared_port_table *table, struct shared_port_entry *entry)
{
    if (entry->client.host_port)
        HASH_DEL(table->clients, entry);
    entry->client.host_port = 0;
}

static void entry_stop_resting(struct shared_port_table *table, struct shared_port_entry *entry)
{
    assert(!entry->host && entry->by_host.list == &table->resting);
    entry_move_to(&entry->by_host, NULL);
    entry_forget_client(table, entry);
    entry_unreference(table, entry);
}

static void forget_rested(struct shared_port_table *table, uint64_t now_ms)
{
    struct shared_port_entry *first;
    while ((first = entry_first(&table->resting)) && first->rests_until_ms <= now_ms)
        entry_stop_resting(table, first);
}

/* false: it is another's, or there is no memory; then the entry has no client. */
static bool entry_set_client(struct shared_port_table *table, struct shared_port_entry *entry,
                             const struct client_key *client)
{
    struct shared_port_entry *other = client->host_port ? find_client(table, client) : NULL;
    if (other == entry && other)
        return true;
    entry_forget_client(table, entry);
    if (other && other->host)
        return false;
    if (other)
        entry_stop_resting(table, other);
    if (client->host_port == 0)
        return true;
    entry->client = *client;
    HASH_ADD(hh, table->clients, client, sizeof(entry->client), entry);
    if (!entry->hh.tbl)
        entry->client.host_port = 0;
    return entry->hh.tbl != NULL;
}

/* ---- which association a datagram is for ---- */

/* `rests`: the port was the client's of an association that has ended; only a request that names it takes it over. */
static struct shared_port_entry *group_choose(const struct shared_port_table *table, const struct client_group *host,
                                              uint16_t port, bool rests)
{
    const struct client_group *hint = group_find(table, host->key, port);
    struct shared_port_entry *entry = hint ? entry_first(&hint->open) : NULL;
    if (!entry && hint)
        entry = entry_first(&hint->taken);
    if (entry || rests)
        return entry;
    if (!(entry = entry_first(&host->open)) && !(entry = entry_first(&host->named)) &&
        !(entry = entry_first(&host->roomy)))
        entry = entry_first(&host->quiet);
    return entry;
}

static bool entry_take_client(struct shared_port_table *table, struct shared_port_entry *entry,
                              const struct client_key *client)
{
    const bool may_change = entry->hint_port && entry->hint_port != client->host_port;
    const bool taken = entry_set_client(table, entry, client);
    if (taken)
        entry->state = may_change ? SHARED_PORT_WAITING : SHARED_PORT_HELD;
    entry_arrange(entry);
    return taken;
}

/* It serves the new port, too. */
static bool entry_keeps_client(const struct shared_port_entry *entry)
{
    return entry->has_room && entry->client.host_port != 0;
}

static enum shared_port_match find_entry(struct shared_port_table *table, const struct client_key *from, bool valid,
                                         struct shared_port_entry **out)
{
    struct shared_port_entry *known = find_client(table, from), *entry = known;
    if (!known || !known->host) {
        const struct client_group *host = group_find(table, *from, 0);
        if (!host)
            return has_network(from) && group_find(table, network_of(*from), 0) ? SHARED_PORT_OTHER_ADDRESS
                                                                                : SHARED_PORT_STRANGER;
        entry = valid ? group_choose(table, host, from->host_port, known != NULL) : NULL;
        if (!entry)
            return SHARED_PORT_OTHER_PORT;
    }
    if (entry->references > SHARED_PORT_UNDER_WAY_MAX)
        return SHARED_PORT_FULL;
    if (entry != known && !entry_keeps_client(entry) && !entry_take_client(table, entry, from))
        return SHARED_PORT_OTHER_PORT;
    assert(entry->host); /* only then is its owner there */
    entry->references++;
    *out = entry;
    return SHARED_PORT_FOUND;
}

enum shared_port_match shared_port_table_find(struct shared_port_table *table, const union netaddr *relay,
                                              const union netaddr *from, bool valid, uint64_t now_ms,
                                              struct shared_port_entry **entry)
{
    const struct client_key key = client_key_of(relay, from);
    if (key.host_port == 0) /* no answer can be sent there */
        return SHARED_PORT_STRANGER;
    pthread_mutex_lock(&table->lock);
    forget_rested(table, now_ms);
    const enum shared_port_match match = find_entry(table, &key, valid, entry);
    pthread_mutex_unlock(&table->lock);
    return match;
}

void shared_port_table_release(struct shared_port_table *table, struct shared_port_entry *entry)
{
    pthread_mutex_lock(&table->lock);
    entry_unreference(table, entry);
    pthread_mutex_unlock(&table->lock);
}

/* ---- associations ---- */

static bool entry_join_groups(struct shared_port_table *table, struct shared_port_entry *entry)
{
    entry->host = group_join(table, entry->client, 0);
    if (entry->host && entry->hint_port && !(entry->hint = group_join(table, entry->client, entry->hint_port))) {
        group_leave(table, entry->host);
        entry->host = NULL;
    }
    if (!entry->host)
        return false;
    if (has_network(&entry->client)) /* without memory for it, what comes from there counts as a stranger's */
        entry->network = group_join(table, network_of(entry->client), 0);
    entry_arrange(entry);
    table->entries++;
    return true;
}

struct shared_port_entry *shared_port_table_add(struct shared_port_table *table, const union netaddr *relay,
                                                const union netaddr *host, uint16_t hint_port, void *worker,
                                                void *owner)
{
    assert(worker && owner);
    struct client_key key = client_key_of(relay, host);
    struct shared_port_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    key.host_port = 0;
    *entry = (struct shared_port_entry){.client = key,
                                        .state = SHARED_PORT_WAITING,
                                        .references = 1,
                                        .hint_port = hint_port,
                                        .worker = worker,
                                        .owner = owner};
    entry->by_host.entry = entry->by_hint.entry = entry;
    pthread_mutex_lock(&table->lock);
    const bool joined = entry_join_groups(table, entry);
    pthread_mutex_unlock(&table->lock);
    if (joined)
        return entry;
    free(entry);
    return NULL;
}

void shared_port_table_remove(struct shared_port_table *table, struct shared_port_entry *entry, uint64_t now_ms)
{
    pthread_mutex_lock(&table->lock);
    assert(entry->host);
    forget_rested(table, now_ms);
    entry_move_to(&entry->by_hint, NULL);
    entry_move_to(&entry->by_host, entry->client.host_port ? &table->resting : NULL);
    group_leave(table, entry->hint);
    group_leave(table, entry->host);
    group_leave(table, entry->network);
    entry->owner = NULL;
    entry->host = entry->hint = entry->network = NULL;
    entry->rests_until_ms = now_ms + SHARED_PORT_REST_MS;
    if (entry->client.host_port == 0)
        entry_unreference(table, entry);
    pthread_mutex_unlock(&table->lock);
}

void shared_port_table_set_client(struct shared_port_table *table, struct shared_port_entry *entry,
                                  const union netaddr *client, enum shared_port_state state)
{
    pthread_mutex_lock(&table->lock);
    struct client_key key = entry->client;
    key.host_port = netaddr_port(client);
    (void)entry_set_client(table, entry, &key);
    entry->state = state;
    entry_arrange(entry);
    pthread_mutex_unlock(&table->lock);
}

void shared_port_table_set_room(struct shared_port_table *table, struct shared_port_entry *entry, bool has_room)
{
    pthread_mutex_lock(&table->lock);
    entry->has_room = has_room;
    entry_arrange(entry);
    pthread_mutex_unlock(&table->lock);
}

void *shared_port_entry_worker(const struct shared_port_entry *entry)
{
    return entry->worker;
}

void *shared_port_entry_owner(const struct shared_port_entry *entry)
{
    return entry->owner;
}

/* ---- life ---- */

struct shared_port_table *shared_port_table_new(void)
{
    struct shared_port_table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    TAILQ_INIT(&table->resting);
    return table;
}

void shared_port_table_free(struct shared_port_table *table)
{
    if (!table)
        return;
    forget_rested(table, UINT64_MAX);
    assert(table->entries == 0 && !table->groups && !table->clients);
    pthread_mutex_destroy(&table->lock);
    free(table);
}
