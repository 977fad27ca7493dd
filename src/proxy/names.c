#include "proxy/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/lookup.h"

struct waiting {
    struct waiting *next;
    size_t len;
    uint16_t port;
    uint8_t payload[];
};

/* One family's half of a lookup. */
struct half {
    struct name *name;
    struct resolver_query *query; /* NULL: answered, or not asked */
    union netaddr found;          /* AF_UNSPEC: no address */
};

struct name {
    struct names *names;
    enum { RESOLVING, KNOWN, FAILED } state;
    uint64_t used_ms;
    union netaddr address;
    struct half halves[FAMILY_COUNT];
    struct waiting *first, **last;
    uint32_t waiting_count;
    size_t waiting_bytes;
    UT_hash_handle hh;
    char text[];
};

struct names {
    struct env *env;
    union netaddr client;
    const char *user;
    struct names_hooks hooks;
    struct name *table;
    uint32_t resolving;
    size_t waiting_bytes; /* of all its names; counted in env->names_waiting too */
};

struct names *names_new(struct env *env, const union netaddr *client, const char *user, const struct names_hooks *hooks)
{
    struct names *names = calloc(1, sizeof(*names));
    if (names)
        *names = (struct names){.env = env, .client = *client, .user = user, .hooks = *hooks};
    return names;
}

static void clear_queue(struct name *name)
{
    for (struct waiting *waiting = name->first, *next; waiting; waiting = next) {
        next = waiting->next;
        free(waiting);
    }
    name->names->waiting_bytes -= name->waiting_bytes;
    name->names->env->names_waiting -= name->waiting_bytes;
    name->first = NULL;
    name->last = &name->first;
    name->waiting_count = 0;
    name->waiting_bytes = 0;
}

static void forget(struct names *names, struct name *name)
{
    for (int i = 0; i < FAMILY_COUNT; i++)
        if (name->halves[i].query)
            resolver_cancel(name->halves[i].query);
    if (name->state == RESOLVING)
        names->resolving--;
    clear_queue(name);
    HASH_DEL(names->table, name);
    free(name);
}

void names_free(struct names *names)
{
    if (!names)
        return;
    struct name *name, *next;
    HASH_ITER(hh, names->table, name, next)
    forget(names, name);
    free(names);
}

/*
 * Unlike a CONNECT, a datagram has no second try at another family: so it takes the one the client itself speaks, whose
 * mapping is open already and whose addresses the client can surely read, unless the configuration prefers IPv4.
 */
static int first_family(const struct names *names)
{
    switch (names->env->config->outbound.prefer) {
    case CONFIG_PREFER_IPV4:
    case CONFIG_PREFER_IPV4_ONLY:
        return FAMILY_V4;
    case CONFIG_PREFER_IPV6_ONLY:
        return FAMILY_V6;
    case CONFIG_PREFER_IPV6:
        break;
    }
    return family_index(names->client.sa.sa_family);
}

/* The preferred family's address if a route leads there, else the other's. */
static union netaddr choose(const struct name *name)
{
    int first = first_family(name->names);
    const union netaddr *preferred = &name->halves[first].found, *other = &name->halves[1 - first].found;
    if (preferred->sa.sa_family == AF_UNSPEC)
        return *other;
    if (other->sa.sa_family == AF_UNSPEC || sock_has_route(preferred))
        return *preferred;
    return *other;
}

static void settle(struct name *name)
{
    struct names *names = name->names;
    const struct names_hooks *hooks = &names->hooks;
    names->resolving--;
    name->address = choose(name);
    name->used_ms = env_now(names->env);
    name->state = name->address.sa.sa_family == AF_UNSPEC ? FAILED : KNOWN;
    if (name->state == FAILED) {
        metrics_add(&names->env->metrics.lookups_failed_total, 1);
        if (name->waiting_count)
            hooks->dropped(hooks->arg, DROP_UNRESOLVED, name->waiting_count);
    } else {
        for (const struct waiting *waiting = name->first; waiting; waiting = waiting->next) {
            union netaddr to = name->address;
            netaddr_set_port(&to, waiting->port);
            hooks->deliver(hooks->arg, name->text, &to, waiting->payload, waiting->len);
        }
        hooks->delivered(hooks->arg);
    }
    clear_queue(name);
}

static void on_answer(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    struct half *half = arg;
    half->query = NULL;
    if (status == RESOLVER_FOUND && count > 0) {
        half->found = addresses[0];
        netaddr_unmap(&half->found);
    }
    struct name *name = half->name;
    if (!name->halves[FAMILY_V4].query && !name->halves[FAMILY_V6].query)
        settle(name);
}

static bool ask(struct name *name)
{
    struct names *names = name->names;
    static const int families[FAMILY_COUNT] = {[FAMILY_V4] = AF_INET, [FAMILY_V6] = AF_INET6};
    enum config_prefer prefer = names->env->config->outbound.prefer;
    bool asked = false;
    for (int i = 0; i < FAMILY_COUNT; i++) {
        struct half *half = &name->halves[i];
        *half = (struct half){.name = name};
        if ((prefer == CONFIG_PREFER_IPV4_ONLY && i == FAMILY_V6) ||
            (prefer == CONFIG_PREFER_IPV6_ONLY && i == FAMILY_V4))
            continue;
        half->query = lookup_begin(names->env, &names->client, names->user, name->text, families[i], on_answer, half);
        asked |= half->query != NULL;
    }
    metrics_add(&names->env->metrics.lookups_total, 1);
    return asked;
}

static void make_room(struct names *names)
{
    if (HASH_COUNT(names->table) < NAMES_MAX)
        return;
    struct name *oldest = names->table, *name, *next;
    HASH_ITER(hh, names->table, name, next)
    if (name->used_ms < oldest->used_ms)
        oldest = name;
    if (oldest->waiting_count)
        names->hooks.dropped(names->hooks.arg, DROP_QUEUE_FULL, oldest->waiting_count);
    forget(names, oldest);
}

static struct name *remember(struct names *names, const char *text)
{
    make_room(names);
    size_t len = strlen(text);
    struct name *name = calloc(1, sizeof(*name) + len + 1);
    if (!name)
        return NULL;
    name->names = names;
    name->state = FAILED;
    name->last = &name->first;
    memcpy(name->text, text, len + 1);
    HASH_ADD_KEYPTR(hh, names->table, name->text, len, name);
    if (name->hh.tbl)
        return name;
    free(name);
    return NULL;
}

static bool is_fresh(const struct name *name, uint64_t now)
{
    uint64_t kept = name->state == KNOWN ? NAMES_KEPT_MS : NAMES_FAILURE_KEPT_MS;
    return name->state == RESOLVING || (name->used_ms != 0 && now - name->used_ms < kept);
}

static bool has_room(const struct name *name, size_t len)
{
    const struct env *env = name->names->env;
    return env->memory == MEMORY_AMPLE && name->waiting_count < NAMES_QUEUED_DATAGRAMS &&
           name->waiting_bytes + len <= NAMES_QUEUED_BYTES &&
           name->names->waiting_bytes + env->names_waiting + len <= NAMES_WAITING_BYTES;
}

static bool enqueue(struct name *name, uint16_t port, const uint8_t *payload, size_t len)
{
    if (!has_room(name, len))
        return false;
    struct waiting *waiting = malloc(sizeof(*waiting) + len);
    if (!waiting)
        return false;
    waiting->next = NULL;
    waiting->port = port;
    waiting->len = len;
    memcpy(waiting->payload, payload, len);
    *name->last = waiting;
    name->last = &waiting->next;
    name->waiting_count++;
    name->waiting_bytes += len;
    name->names->waiting_bytes += len;
    name->names->env->names_waiting += len;
    return true;
}

enum names_verdict names_route(struct names *names, const char *text, uint16_t port, const uint8_t *payload, size_t len,
                               union netaddr *to, enum drop_reason *reason)
{
    uint64_t now = env_now(names->env);
    struct name *name;
    HASH_FIND_STR(names->table, text, name);
    *reason = DROP_QUEUE_FULL;
    if (!name || !is_fresh(name, now)) {
        if (names->resolving >= names->env->config->limits.lookups_per_association)
            return NAMES_DROPPED;
        if (!name && !(name = remember(names, text)))
            return NAMES_DROPPED;
        name->used_ms = now;
        if (!ask(name)) {
            name->state = FAILED;
            return NAMES_DROPPED;
        }
        name->state = RESOLVING;
        names->resolving++;
    }
    if (name->state == RESOLVING)
        return enqueue(name, port, payload, len) ? NAMES_WAITS : NAMES_DROPPED;
    if (name->state == FAILED) {
        *reason = DROP_UNRESOLVED;
        return NAMES_DROPPED;
    }
    name->used_ms = now;
    *to = name->address;
    netaddr_set_port(to, port);
    return NAMES_KNOWN;
}
