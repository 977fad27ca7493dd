#include "proxy/assoc/names.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "proxy/assoc/dgram_queue.h"
#include "proxy/env.h"
#include "proxy/lookup.h"

/* Lists of silent addresses: a power of two. */
#define SILENT_LISTS 32
static_assert((SILENT_LISTS & (SILENT_LISTS - 1)) == 0, "a hash is reduced to a list by its low bits");

/* How good an address is for a name. A NEW one is taken at once, else the best one of both families. */
enum fitness {
    FITNESS_NONE,
    FITNESS_UNUSABLE, /* denied or unreachable: what is sent there is dropped, and counted with the reason */
    FITNESS_CURRENT,  /* in use, and silent */
    FITNESS_TRIED,    /* was silent when it was in use */
    FITNESS_NEW,
};

struct name {
    struct names *names;
    enum { RESOLVING, KNOWN, FAILED } state;
    struct lookup *lookup; /* NULL: none is under way; while KNOWN: for the next address */
    uint64_t used_ms;
    uint16_t port; /* of the datagram that was the reason for the lookup */

    union netaddr address;
    uint64_t address_since_ms;
    bool answered;   /* a datagram has come from the address, while it was usable */
    bool usable;     /* it was neither denied nor unreachable when last checked: else an answer does not keep it */
    uint32_t review; /* of the rules, under which the address was checked last */
    LIST_ENTRY(name) silent;

    size_t tried_count;
    union netaddr tried[NAMES_TRIED_MAX]; /* the address and those before it, none of which has answered */

    enum fitness best; /* of the addresses that the lookup has found so far; none of them is NEW */
    union netaddr best_address;

    struct dgram_queue waiting; /* the tag is the port */
    UT_hash_handle hh;
    char text[];
};

/* What one name takes at most, with what malloc and the hash table add. */
#define NAME_BYTES (sizeof(struct name) + 320)

struct names {
    struct env *env;
    union netaddr client;
    const char *user;
    struct names_hooks hooks;
    struct name *table;
    uint32_t resolving;
    struct loan *loan; /* charged for what waits, and for the names beyond the first few */
    uint32_t review;   /* counts changes of the rules */
    uint32_t silent_count;
    LIST_HEAD(, name) silent[SILENT_LISTS]; /* names whose address has not answered, by a hash of the address */
};

struct names *names_new(struct env *env, struct loan *loan, const union netaddr *client, const char *user,
                        const struct names_hooks *hooks)
{
    struct names *names = calloc(1, sizeof(*names));
    if (names)
        *names = (struct names){.env = env, .loan = loan, .client = *client, .user = user, .hooks = *hooks};
    return names;
}

/* ---- which addresses have answered ---- */

static size_t silent_list_of(const union netaddr *address)
{
    size_t len, hash = 0;
    const uint8_t *host = netaddr_host(address, &len);
    for (size_t i = 0; host && i < len; i++)
        hash = hash * 31 + host[i];
    return hash % SILENT_LISTS;
}

static void name_add_to_silent(struct name *name)
{
    name->answered = false;
    name->names->silent_count++;
    LIST_INSERT_HEAD(&name->names->silent[silent_list_of(&name->address)], name, silent);
}

static void name_remove_from_silent(struct name *name)
{
    if (name->state != KNOWN || name->answered)
        return;
    assert(name->names->silent_count > 0);
    name->names->silent_count--;
    LIST_REMOVE(name, silent);
}

static void name_end_lookup(struct name *name)
{
    lookup_cancel(name->lookup);
    name->lookup = NULL;
}

void names_mark_answered(struct names *names, const union netaddr *peer)
{
    if (names->silent_count == 0)
        return;
    struct name *next, *name = LIST_FIRST(&names->silent[silent_list_of(peer)]);
    for (; name; name = next) {
        next = LIST_NEXT(name, silent);
        if (!name->usable || !netaddr_equal_host(&name->address, peer))
            continue;
        name_remove_from_silent(name);
        name->answered = true;
        name->tried_count = 0;
        name_end_lookup(name);
    }
}

bool names_has_address(const struct names *names, const union netaddr *address)
{
    struct name *name, *next;
    HASH_ITER(hh, names->table, name, next)
    if (name->state == KNOWN && netaddr_equal_host(&name->address, address))
        return true;
    return false;
}

/* ---- life ---- */

/* To be called when a name has left the table, or did not get there. */
static void names_uncharge_one(struct names *names)
{
    if (HASH_COUNT(names->table) >= NAMES_FREE)
        loan_give_back(names->loan, NAME_BYTES);
}

static void names_forget(struct names *names, struct name *name)
{
    name_end_lookup(name);
    name_remove_from_silent(name);
    if (name->state == RESOLVING)
        names->resolving--;
    dgram_queue_clear(&name->waiting, names->loan);
    HASH_DEL(names->table, name);
    assert(name->waiting.count == 0 && !name->lookup);
    names_uncharge_one(names);
    free(name);
}

void names_free(struct names *names)
{
    if (!names)
        return;
    struct name *name, *next;
    HASH_ITER(hh, names->table, name, next)
    names_forget(names, name);
    free(names);
}

/* ---- its address ---- */

/* Datagrams may wait for seconds until the other family is tried. So they begin with the family that the client itself
 * uses, unless the configuration prefers IPv4: its mapping is open already, and the client can read its addresses. */
static int names_first_family(const struct names *names)
{
    return env_first_family(names->env) == AF_INET ? AF_INET : names->client.sa.sa_family;
}

static void name_deliver_queue(struct name *name)
{
    assert(name->state == KNOWN);
    const struct names_hooks *hooks = &name->names->hooks;
    for (const struct queued_dgram *dgram = name->waiting.first; dgram; dgram = dgram->next) {
        union netaddr to = name->address;
        netaddr_set_port(&to, dgram->tag);
        hooks->deliver(hooks->arg, name->text, &to, dgram->bytes, dgram->len);
    }
    hooks->delivered(hooks->arg);
    dgram_queue_clear(&name->waiting, name->names->loan);
}

static void name_use_address(struct name *name, const union netaddr *address, enum fitness fitness)
{
    const bool awaited = name->state == RESOLVING;
    if (!awaited && !netaddr_equal_host(&name->address, address))
        metrics_add(&name->names->env->metrics.names_moved_total, 1);
    name_remove_from_silent(name);
    assert(name->tried_count <= NAMES_TRIED_MAX);
    if (name->tried_count == NAMES_TRIED_MAX)
        name->tried_count = 0;
    name->tried[name->tried_count++] = *address;
    name->address = *address;
    name->usable = fitness != FITNESS_UNUSABLE;
    name->address_since_ms = env_now(name->names->env);
    name->review = name->names->review;
    name->state = KNOWN;
    name_add_to_silent(name);
    name->names->hooks.uses(name->names->hooks.arg, address);
    if (!awaited)
        return;
    assert(name->names->resolving > 0);
    name->names->resolving--;
    name->used_ms = name->address_since_ms;
    name_deliver_queue(name);
}

static enum fitness name_fitness_of(const struct name *name, const union netaddr *address)
{
    const struct names_hooks *hooks = &name->names->hooks;
    union netaddr to = *address;
    netaddr_set_port(&to, name->port);
    if (!hooks->can_reach(hooks->arg, name->text, &to))
        return FITNESS_UNUSABLE;
    if (name->state == KNOWN && netaddr_equal_host(&name->address, address))
        return FITNESS_CURRENT;
    for (size_t i = 0; i < name->tried_count; i++)
        if (netaddr_equal_host(&name->tried[i], address))
            return FITNESS_TRIED;
    return FITNESS_NEW;
}

static void name_on_addresses(void *arg, const union netaddr *addresses, size_t count)
{
    struct name *name = arg;
    for (size_t i = 0; i < count; i++) {
        const enum fitness fitness = name_fitness_of(name, &addresses[i]);
        if (fitness == FITNESS_NEW) {
            name_use_address(name, &addresses[i], fitness);
            name_end_lookup(name); /* after which there are no `addresses` */
            return;
        }
        if (fitness > name->best) {
            name->best = fitness;
            name->best_address = addresses[i];
        }
    }
}

static void name_fail(struct name *name)
{
    struct names *names = name->names;
    assert(name->state == RESOLVING && names->resolving > 0);
    names->resolving--;
    name->state = FAILED;
    name->used_ms = env_now(names->env);
    if (name->waiting.count)
        names->hooks.dropped(names->hooks.arg, DROP_UNRESOLVED, name->waiting.count);
    dgram_queue_clear(&name->waiting, name->names->loan);
}

static void name_on_lookup_end(void *arg, bool timed_out)
{
    (void)timed_out;
    struct name *name = arg;
    name->lookup = NULL;
    if (name->best != FITNESS_NONE) { /* all have been tried: begin again */
        name->tried_count = 0;
        name_use_address(name, &name->best_address, name->best);
    } else if (name->state == RESOLVING) {
        name_fail(name);
    } else {
        name->address_since_ms = env_now(name->names->env);
    }
}

static bool name_look_up(struct name *name, uint16_t port)
{
    struct names *names = name->names;
    assert(!name->lookup);
    const struct lookup_hooks hooks = {name_on_addresses, name_on_lookup_end, name};
    name->port = port;
    name->best = FITNESS_NONE;
    name->lookup = lookup_begin(names->env, &names->client, names->user, name->text, names_first_family(names), &hooks);
    return name->lookup != NULL;
}

/* Starts anew, as if the name had never been asked for. */
static bool name_resolve(struct name *name, uint16_t port)
{
    name_end_lookup(name);
    name_remove_from_silent(name);
    name->tried_count = 0;
    name->used_ms = env_now(name->names->env);
    name->state = FAILED;
    if (!name_look_up(name, port))
        return false;
    name->state = RESOLVING;
    name->names->resolving++;
    return true;
}

/* Looks for another address when this one has been silent for long enough while the client sends. The resolver's cache
 * answers for as long as the records live: asking again costs little, and finds addresses that have changed. */
static void name_try_next_address(struct name *name, uint16_t port, uint64_t now)
{
    if (name->answered || name->lookup || now - name->address_since_ms < NAMES_TRY_MS)
        return;
    if (!name_look_up(name, port))
        name->address_since_ms = now;
}

/* Treats an address that the rules deny now like a silent one, although it has answered. */
static void name_review_address(struct name *name)
{
    if (name->review == name->names->review)
        return;
    name->review = name->names->review;
    name->usable = name_fitness_of(name, &name->address) != FITNESS_UNUSABLE;
    if (name->usable)
        return;
    name_remove_from_silent(name);
    name_add_to_silent(name);
    name->address_since_ms = 0;
}

void names_review(struct names *names)
{
    names->review++;
}

/* ---- the table ---- */

/* NULL: there is none. `settled`: those that are being resolved do not count. */
static struct name *names_longest_unused(const struct names *names, bool settled)
{
    struct name *oldest = NULL, *name, *next;
    HASH_ITER(hh, names->table, name, next)
    if ((!oldest || name->used_ms < oldest->used_ms) && !(settled && name->state == RESOLVING))
        oldest = name;
    return oldest;
}

void names_shrink(struct names *names)
{
    struct name *oldest;
    while (HASH_COUNT(names->table) > NAMES_FREE && (oldest = names_longest_unused(names, true)))
        names_forget(names, oldest);
}

static bool names_charge_one(struct names *names)
{
    return HASH_COUNT(names->table) < NAMES_FREE || loan_take(names->loan, NAME_BYTES);
}

/* Makes room for one more name. false: there is no memory to spare. */
static bool names_make_room(struct names *names)
{
    struct name *oldest = HASH_COUNT(names->table) < NAMES_MAX ? NULL : names_longest_unused(names, false);
    if (oldest && oldest->waiting.count)
        names->hooks.dropped(names->hooks.arg, DROP_QUEUE_FULL, oldest->waiting.count);
    if (oldest)
        names_forget(names, oldest);
    if (names_charge_one(names))
        return true;
    oldest = names_longest_unused(names, true);
    if (oldest)
        names_forget(names, oldest);
    return oldest && names_charge_one(names);
}

static struct name *names_remember(struct names *names, const char *text)
{
    if (!names_make_room(names))
        return NULL;
    size_t len = strlen(text);
    struct name *name = calloc(1, sizeof(*name) + len + 1);
    if (!name) {
        names_uncharge_one(names);
        return NULL;
    }
    name->names = names;
    name->state = FAILED;
    dgram_queue_init(&name->waiting);
    memcpy(name->text, text, len + 1);
    HASH_ADD_KEYPTR(hh, names->table, name->text, len, name);
    if (name->hh.tbl)
        return name;
    names_uncharge_one(names);
    free(name);
    return NULL;
}

static bool name_is_fresh(const struct name *name, uint64_t now)
{
    uint64_t kept = name->state == KNOWN ? NAMES_KEPT_MS : NAMES_FAILURE_KEPT_MS;
    return name->state == RESOLVING || (name->used_ms != 0 && now - name->used_ms < kept);
}

static bool name_enqueue(struct name *name, uint16_t port, const uint8_t *payload, size_t len)
{
    assert(name->state == RESOLVING && name->lookup);
    if (name->names->env->memory != MEMORY_AMPLE)
        return false;
    struct queued_dgram *dgram = dgram_queue_add(&name->waiting, name->names->loan, port, len);
    if (!dgram)
        return false;
    memcpy(dgram->bytes, payload, len);
    return true;
}

enum names_verdict names_route(struct names *names, const char *text, uint16_t port, const uint8_t *payload, size_t len,
                               union netaddr *to, enum drop_reason *reason)
{
    uint64_t now = env_now(names->env);
    struct name *name;
    HASH_FIND_STR(names->table, text, name);
    *reason = DROP_QUEUE_FULL;
    if (!name || !name_is_fresh(name, now)) {
        if (names->resolving >= names->env->config->limits.lookups_per_association)
            return NAMES_DROPPED;
        if (!name && !(name = names_remember(names, text)))
            return NAMES_DROPPED;
        if (!name_resolve(name, port))
            return NAMES_DROPPED;
    }
    if (name->state == RESOLVING)
        return name_enqueue(name, port, payload, len) ? NAMES_WAITS : NAMES_DROPPED;
    if (name->state == FAILED) {
        *reason = DROP_UNRESOLVED;
        return NAMES_DROPPED;
    }
    name_review_address(name);
    name_try_next_address(name, port, now);
    name->used_ms = now;
    *to = name->address;
    netaddr_set_port(to, port);
    return NAMES_KNOWN;
}
