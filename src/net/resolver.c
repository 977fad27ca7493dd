#include "net/resolver.h"

#include <assert.h>
#include <ctype.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/metrics.h"
#include "net/reserve.h"
#include "net/resolver_cache.h"
#include "net/resolver_clients.h"
#include "net/resolver_local.h"
#include "net/resolver_question.h"
#include "net/resolver_sources.h"

/* Queries under way in all, here. One client may have as many as are left for others, so that however few clients want
 * all, there is one for the next. */
#define QUERIES_MAX 1024
/* In the process they are fewer where descriptors are few: each question has a socket of its own at each server that it
 * asks, so that none waits for another. All sockets together have a share of the descriptors, but so many at least. */
#define DESCRIPTORS_SHARE 8
#define SOCKETS_MIN       64

/* A name that is being asked for, once for all queries that want it: many questions for one name at once would make a
 * forged answer more likely to fit one of them. */
struct pending_name {
    UT_hash_handle hh;
    struct resolver *resolver;
    struct resolver_question *question;
    LIST_HEAD(, resolver_query) queries;
    int family;
    char key[NAME_TEXT_MAX + 2]; /* the family, the name in lower case without a final dot */
};

struct resolver_query {
    LIST_ENTRY(resolver_query) entry; /* of its name's, or of those with an answer */
    struct resolver *resolver;
    struct pending_name *pending; /* NULL: it has its answer */
    struct resolver_client *client;
    void *charge;        /* NULL: none */
    resolver_done *done; /* NULL: forgotten, but the name is still being asked for */
    void *arg;
    struct event event; /* hands the answer over */
    enum resolver_status status;
    uint64_t begun_us;
    size_t count;
    union netaddr addresses[RESOLVER_ADDRESSES_MAX];
};

struct resolver {
    struct event_base *base;
    struct name_servers *name_servers;
    struct resolver_cache cache;
    uint64_t timeout_ms;
    void (*release)(void *charge);
    struct descriptor_reserve *reserve;
    struct metrics *metrics;
    struct resolver_sources sources;
    struct resolver_clients clients;
    struct pending_name *pending;
    LIST_HEAD(, resolver_query) answered;
    size_t query_count;
};

/* Queries in all. */

/* How many more there may be. */
static size_t queries_left(const struct resolver *resolver)
{
    const size_t here = QUERIES_MAX - resolver->query_count;
    const size_t limit = reserve_limit(resolver->reserve);
    if (limit == 0)
        return here;
    const size_t servers = resolver->name_servers->count, sends = RESOLVER_SENDS_MAX;
    const size_t share = limit / DESCRIPTORS_SHARE;
    const size_t most = (share < SOCKETS_MIN ? SOCKETS_MIN : share) / (servers < sends ? servers : sends);
    const size_t taken = reserve_queries(resolver->reserve);
    const size_t everywhere = taken < most ? most - taken : 0;
    return here < everywhere ? here : everywhere;
}

static void queries_change(struct resolver *resolver, int change)
{
    assert(change > 0 || resolver->query_count > 0);
    resolver->query_count += (size_t)change;
    reserve_count_query(resolver->reserve, change);
}

/* Queries. */

static void query_unlink(struct resolver_query *query)
{
    event_del(&query->event);
    LIST_REMOVE(query, entry);
    queries_change(query->resolver, -1);
    resolver_client_give_back(&query->resolver->clients, query->client);
    if (query->charge)
        query->resolver->release(query->charge);
}

static void query_delete(struct resolver_query *query)
{
    query_unlink(query);
    free(query);
}

/* Hands the answer over from the event loop: never before resolver_lookup() returns, and one by one, since a `done` may
 * cancel others. */
static void query_settle(struct resolver_query *query, enum resolver_status status, const union netaddr *addresses,
                         size_t count)
{
    assert(count <= RESOLVER_ADDRESSES_MAX);
    assert(status != RESOLVER_FOUND || count > 0);
    assert(query->done);
    query->pending = NULL;
    query->status = status;
    query->count = count;
    for (size_t i = 0; i < count; i++)
        query->addresses[i] = addresses[i];
    LIST_INSERT_HEAD(&query->resolver->answered, query, entry);
    event_active(&query->event, EV_TIMEOUT, 0);
}

void resolver_charge(struct resolver_query *query, void *charge)
{
    assert(charge && !query->charge);
    query->charge = charge;
}

/* One whose name is being asked for keeps its client's place until that has ended: else a client could have any number
 * of questions under way by giving each up at once. */
void resolver_cancel(struct resolver_query *query)
{
    event_del(&query->event);
    query->done = NULL;
    if (!query->pending)
        query_delete(query);
}

static void query_on_settled(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct resolver_query *query = arg;
    if (query->resolver->metrics)
        metrics_lookup(query->resolver->metrics, clock_us() - query->begun_us);
    query_unlink(query); /* `done` may free the resolver */
    query->done(query->arg, query->status, query->addresses, query->count);
    free(query);
}

/* Names that are being asked for. */

static void pending_free(struct pending_name *pending)
{
    HASH_DEL(pending->resolver->pending, pending);
    resolver_question_free(pending->question);
    free(pending);
}

/* Answers all who want it. */
static void pending_settle(struct pending_name *pending, const struct resolver_answer *answer)
{
    struct resolver_query *query;
    while ((query = LIST_FIRST(&pending->queries)) != NULL) {
        if (!query->done) {
            query_delete(query);
            continue;
        }
        LIST_REMOVE(query, entry);
        query_settle(query, answer->status, answer->addresses, answer->count);
    }
}

static void pending_on_answer(void *arg, const struct resolver_answer *answer)
{
    struct pending_name *pending = arg;
    struct resolver *resolver = pending->resolver;
    assert(pending->question);
    pending->question = NULL;
    if (answer->status == RESOLVER_FOUND || answer->status == RESOLVER_NOT_FOUND)
        resolver_cache_keep(&resolver->cache, pending->key + 1, pending->family, clock_ms(), answer);
    pending_settle(pending, answer);
    pending_free(pending);
}

static bool pending_ask(struct pending_name *pending)
{
    const struct resolver *resolver = pending->resolver;
    pending->question = resolver_question_ask(resolver->name_servers, pending->key + 1, pending->family,
                                              resolver->timeout_ms, pending_on_answer, pending);
    return pending->question;
}

static void pending_write_key(char *key, const char *name, int family)
{
    *key++ = family == AF_INET6 ? '6' : '4';
    for (; *name && (*name != '.' || name[1]); name++)
        *key++ = (char)tolower((unsigned char)*name);
    *key = '\0';
}

static struct pending_name *pending_find(struct resolver *resolver, const char *key)
{
    struct pending_name *pending;
    HASH_FIND_STR(resolver->pending, key, pending);
    return pending;
}

static struct pending_name *pending_new(struct resolver *resolver, const char *key, int family)
{
    struct pending_name *pending = calloc(1, sizeof(*pending));
    if (!pending)
        return NULL;
    pending->resolver = resolver;
    pending->family = family;
    strcpy(pending->key, key);
    HASH_ADD_STR(resolver->pending, key, pending);
    if (pending->hh.tbl && pending_ask(pending))
        return pending;
    if (pending->hh.tbl)
        pending_free(pending);
    else
        free(pending);
    return NULL;
}

static bool query_answer_locally(struct resolver_query *query, const char *name, int family)
{
    union netaddr addresses[RESOLVER_ADDRESSES_MAX];
    size_t count;
    if (!resolver_find_local(&query->resolver->sources.hosts, name, family, addresses, &count))
        return false;
    query_settle(query, count > 0 ? RESOLVER_FOUND : RESOLVER_NOT_FOUND, addresses, count);
    return true;
}

static bool query_answer_from_cache(struct resolver_query *query, const char *name, int family)
{
    struct resolver_cached_answer found;
    if (!resolver_cache_find(&query->resolver->cache, name, family, query->begun_us / 1000, &found))
        return false;
    query_settle(query, found.status, found.addresses, found.count);
    return true;
}

static void query_answer(struct resolver_query *query, const char *name, int family)
{
    struct resolver *resolver = query->resolver;
    char key[NAME_TEXT_MAX + 2];
    pending_write_key(key, name, family);
    if (query_answer_locally(query, key + 1, family) || query_answer_from_cache(query, key + 1, family))
        return;
    query->pending = pending_find(resolver, key);
    if (!query->pending)
        query->pending = pending_new(resolver, key, family);
    if (query->pending)
        LIST_INSERT_HEAD(&query->pending->queries, query, entry);
    else
        query_settle(query, RESOLVER_FAILED, NULL, 0);
}

/* The resolver. */

static bool pending_is_forgotten(const struct pending_name *pending)
{
    const struct resolver_query *query;
    LIST_FOREACH(query, &pending->queries, entry)
    if (query->done)
        return false;
    return true;
}

/* Moves to other servers: what the ones before have answered is forgotten, what is under way is asked again. Without
 * memory all stays as it is. */
static bool resolver_use_servers(struct resolver *resolver, const union netaddr *servers, size_t count)
{
    static const struct resolver_answer failed = {.status = RESOLVER_FAILED};
    struct name_servers *new = name_servers_new(resolver->base, servers, count, resolver->metrics, resolver->reserve),
                        *old = resolver->name_servers;
    if (!new)
        return false;
    resolver->name_servers = new;
    resolver_cache_clear(&resolver->cache);
    struct pending_name *pending, *next;
    HASH_ITER(hh, resolver->pending, pending, next)
    {
        resolver_question_free(pending->question);
        pending->question = NULL;
        if (!pending_is_forgotten(pending) && pending_ask(pending))
            continue;
        pending_settle(pending, &failed);
        pending_free(pending);
    }
    free(old);
    return true;
}

/* Before each lookup, like libc: a laptop moves, an administrator edits. */
static void resolver_follow_files(struct resolver *resolver)
{
    struct resolver_sources *sources = &resolver->sources;
    struct resolv_conf before;
    hosts_follow(&sources->hosts, sources->hosts_path, &sources->hosts_stamp, sources->told);
    if (sources->configured_count > 0 || !resolver_sources_changed(sources, &before))
        return;
    const struct resolv_conf *conf = &sources->resolv_conf;
    if (!resolver_use_servers(resolver, conf->servers, conf->server_count))
        resolver_sources_undo(sources, &before);
}

/* None: those of resolv.conf. On failure all stays as it is. */
static bool resolver_take_servers(struct resolver *resolver, const union netaddr *servers, size_t count)
{
    struct resolver_sources *sources = &resolver->sources;
    union netaddr *copy = calloc(count + 1, sizeof(*copy));
    if (!copy)
        return false;
    for (size_t i = 0; i < count; i++)
        copy[i] = servers[i];
    if (count == 0)
        resolv_conf_follow(&sources->resolv_conf, sources->resolv_conf_path, &sources->resolv_conf_stamp,
                           sources->told);
    const struct resolv_conf *conf = &sources->resolv_conf;
    if (!resolver_use_servers(resolver, count ? copy : conf->servers, count ? count : conf->server_count)) {
        free(copy);
        return false;
    }
    resolver_sources_configure(sources, copy, count);
    return true;
}

static void resolver_take_limits(struct resolver *resolver, const struct resolver_options *options)
{
    resolver->timeout_ms = options->timeout_ms;
    resolver->clients.share = options->per_client;
}

bool resolver_change(struct resolver *resolver, const struct resolver_options *options)
{
    resolver_take_limits(resolver, options); /* first, for what is asked again */
    const struct resolver_sources *sources = &resolver->sources;
    return resolver_servers_equal(options->servers, options->server_count, sources->configured,
                                  sources->configured_count) ||
           resolver_take_servers(resolver, options->servers, options->server_count);
}

const union netaddr *resolver_servers(const struct resolver *resolver, size_t *count)
{
    return resolver_sources_servers(&resolver->sources, count);
}

size_t resolver_waiting(const struct resolver *resolver)
{
    return resolver->query_count;
}

struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (!resolver)
        return NULL;
    resolver->base = base;
    resolver_take_limits(resolver, options);
    resolver->release = options->release;
    resolver->reserve = options->reserve;
    resolver->metrics = options->metrics;
    resolver->sources.told = options->files_told;
    if (!resolver_sources_init(&resolver->sources, options->hosts_file, options->resolv_conf) ||
        !resolver_take_servers(resolver, options->servers, options->server_count)) {
        resolver_free(resolver);
        return NULL;
    }
    resolver_follow_files(resolver);
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    struct pending_name *pending, *next;
    HASH_ITER(hh, resolver->pending, pending, next)
    {
        while (!LIST_EMPTY(&pending->queries))
            query_delete(LIST_FIRST(&pending->queries));
        pending_free(pending);
    }
    while (!LIST_EMPTY(&resolver->answered))
        query_delete(LIST_FIRST(&resolver->answered));
    resolver_cache_clear(&resolver->cache);
    assert(resolver->query_count == 0);
    resolver_sources_clear(&resolver->sources);
    free(resolver->name_servers);
    free(resolver);
}

struct resolver_query *resolver_lookup(struct resolver *resolver, const union netaddr *client, const char *name,
                                       int family, resolver_done *done, void *arg)
{
    if (queries_left(resolver) == 0 || !resolver_name_valid(name, strlen(name)))
        return NULL;
    struct resolver_query *query = calloc(1, sizeof(*query));
    if (!query)
        return NULL;
    query->client = resolver_client_take(&resolver->clients, client, queries_left(resolver));
    if (!query->client) {
        free(query);
        return NULL;
    }
    query->resolver = resolver;
    query->done = done;
    query->arg = arg;
    query->begun_us = clock_us();
    evtimer_assign(&query->event, resolver->base, query_on_settled, query);
    queries_change(resolver, 1);
    resolver_follow_files(resolver);
    query_answer(query, name, family);
    return query;
}
