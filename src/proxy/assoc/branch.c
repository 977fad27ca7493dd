#include "proxy/assoc/branch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/assoc/assoc.h"
#include "proxy/assoc/external_upstream.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/internal_branch.h"
#include "proxy/assoc/internal_shared.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/loan.h"
#include "proxy/assoc/names.h"

/* The memory of a branch, with the overhead of malloc(). */
#define BRANCH_BYTES (sizeof(struct assoc) + FAMILY_COUNT * sizeof(struct external) + 64)
/* RFC 4787 REQ-5: a mapping lives for at least two minutes. */
#define BRANCH_KEPT_MS (2 * 60 * 1000)

/* ---- one branch ---- */

static bool branch_may_go_on(void *owner)
{
    return assoc_may_go_on(owner);
}

/* How the association's direct ends leave, or would. */
static struct external_way branch_way(const struct assoc *owner)
{
    struct external_way way = {.filtering = CONFIG_FILTERING_ENDPOINT_INDEPENDENT};
    if (assoc_sends_names(owner))
        return external_upstream_way(owner);
    if (owner->filter)
        way.filtering = filter_mode(owner->filter);
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        way.from[slot] = owner->flow.external[slot];
        netaddr_set_port(&way.from[slot], 0);
    }
    return way;
}

/* `upstream` NULL: it leaves directly. */
static bool branch_init_external(struct assoc *branch, const char *upstream, const struct external_way *way)
{
    memcpy(branch->flow.external, way->from, sizeof(way->from));
    if (upstream)
        return external_upstream_begin(branch, upstream, way) == 0;
    if (way->filtering <= CONFIG_FILTERING_ENDPOINT_INDEPENDENT)
        return true;
    branch->filter = filter_new(way->filtering);
    return branch->filter != NULL;
}

/* Takes the terms of the association, as they are. */
static void branch_init(struct assoc *branch, struct assoc *owner, bool is_exit)
{
    struct env *env = owner->env;
    *branch = (struct assoc){
        .env = env,
        .generation = owner->generation,
        .may_go_on = branch_may_go_on,
        .owner = owner,
        .state = ASSOC_GRANTED,
        .is_branch = true,
        .is_exit = is_exit,
        .subject = owner->subject,
        .loan = owner->loan,
        .rates = owner->rates,
        .egress = owner->egress,
    };
    assoc_flow_init(&branch->flow, &owner->flow.relay, env_now(env));
    if (is_exit)
        branch->flow.client = owner->flow.client;
}

static int branch_open_internal(struct assoc *branch, const struct assoc *owner)
{
    if (branch->is_exit || owner->internal.ops->has_own_port)
        return internal_branch_open(branch, owner);
    if (netaddr_port(&owner->flow.relay) != owner->env->shared_port) /* a reload has changed it */
        return -EADDRNOTAVAIL;
    return internal_shared_open(branch);
}

/* NULL: no memory, or no descriptor. */
static struct assoc *branch_new(struct assoc *owner, const char *upstream, bool is_exit)
{
    const struct external_way way = branch_way(owner);
    struct assoc *branch = calloc(1, sizeof(*branch));
    if (!branch)
        return NULL;
    branch_init(branch, owner, is_exit);
    if (branch_init_external(branch, upstream, &way) && branch_open_internal(branch, owner) == 0) {
        branch->internal.ops->start(branch);
        return branch;
    }
    assoc_discard(branch);
    return NULL;
}

static bool branches_allocate(struct assoc *owner)
{
    if (!owner->branches)
        owner->branches = calloc(1, sizeof(*owner->branches));
    return owner->branches != NULL;
}

static void branch_end(struct assoc *owner, size_t i)
{
    struct branches *branches = owner->branches;
    struct assoc *branch = branches->list[i];
    assert(branch->owner == owner && i < branches->count);
    branches->exits -= branch->is_exit;
    branches->list[i] = branches->list[--branches->count];
    branches_take(branch);
    assoc_flow_move(&owner->flow, &branch->flow);
    assoc_discard(branch);
    loan_give_back(owner->loan, BRANCH_BYTES);
}

/* Sends what waits to be sent first: the worker's batches belong to one association at a time. */
static struct assoc *branch_add(struct assoc *owner, const char *upstream, bool is_exit)
{
    if (!branches_allocate(owner) || !loan_take(owner->loan, BRANCH_BYTES))
        return NULL;
    assoc_flush_up(owner);
    struct assoc *branch = branch_new(owner, upstream, is_exit);
    if (!branch) {
        loan_give_back(owner->loan, BRANCH_BYTES);
        return NULL;
    }
    assert(owner->branches->count < BRANCHES_MAX);
    owner->branches->list[owner->branches->count++] = branch;
    owner->branches->exits += is_exit;
    return branch;
}

/* ---- which one serves a port ---- */

static bool branch_has_port(const struct assoc *assoc, const union netaddr *peer)
{
    return netaddr_port(&assoc->flow.client) == netaddr_port(peer);
}

static struct assoc *branch_begin(struct assoc *owner, const union netaddr *peer, uint64_t now)
{
    struct assoc *branch = branch_add(owner, external_upstream_name(owner), false);
    if (!branch)
        return NULL;
    if (!client_port_accepts(branch, peer, now)) {
        branch_end(owner, branch_count(owner) - 1);
        return NULL;
    }
    owner->internal.ops->review_ports(owner);
    return branch;
}

/* The association or the branch that the client has not sent to for the longest time. */
static struct assoc *branch_find_quietest(struct assoc *assoc)
{
    struct assoc *quietest = assoc, *branch;
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++)
        if (!branch->is_exit && branch->flow.last_up_ms < quietest->flow.last_up_ms)
            quietest = branch;
    return quietest;
}

struct assoc *branch_find_or_begin(struct assoc *assoc, const union netaddr *peer, uint64_t now)
{
    struct assoc *taker = NULL, *branch;
    if (!client_port_is_known(&assoc->flow.client) || branch_has_port(assoc, peer))
        taker = assoc;
    for (size_t i = 0; !taker && (branch = branch_at(assoc, i)); i++)
        if (!branch->is_exit && branch_has_port(branch, peer))
            taker = branch;
    if (!taker && branch_has_room(assoc) && (branch = branch_begin(assoc, peer, now)))
        return branch;
    if (!taker && netaddr_port(peer) == assoc->hint_port)
        taker = assoc;
    if (!taker)
        taker = branch_find_quietest(assoc);
    return client_port_accepts(taker, peer, now) ? taker : NULL;
}

/* ---- which exit a destination uses ---- */

static bool branch_leaves_by(const struct assoc *assoc, const char *upstream)
{
    const char *own = external_upstream_name(assoc);
    return strcmp(own ? own : CONFIG_NO_UPSTREAM, upstream) == 0;
}

struct assoc *branch_find_exit(struct assoc *assoc, const char *upstream)
{
    struct assoc *branch;
    assert(!assoc->is_exit);
    if (branch_leaves_by(assoc, upstream))
        return assoc;
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++)
        if (branch->is_exit && branch_leaves_by(branch, upstream))
            return branch;
    if (assoc->branches && assoc->branches->exits == EXITS_MAX)
        return NULL;
    return branch_add(assoc, strcmp(upstream, CONFIG_NO_UPSTREAM) == 0 ? NULL : upstream, true);
}

const char *assoc_exits(const struct assoc *assoc, char *text, size_t size)
{
    const struct assoc *branch;
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; (branch = branch_at(assoc, i)) && len < size; i++) {
        const char *name = external_upstream_name(branch);
        if (branch->is_exit)
            len += (size_t)snprintf(text + len, size - len, "%s%s", len ? ", " : "", name ? name : CONFIG_NO_UPSTREAM);
    }
    return text;
}

/* ---- all branches ---- */

static struct assoc_mapping assoc_mapping_of(const struct assoc *assoc)
{
    struct assoc_mapping mapping = {.client_port = netaddr_port(&assoc->flow.client)};
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        mapping.external_port[slot] = netaddr_port(&assoc->flow.external[slot]);
    return mapping;
}

size_t assoc_mappings(const struct assoc *assoc, struct assoc_mapping *mappings)
{
    const struct assoc *branch;
    size_t count = 0;
    if (client_port_is_known(&assoc->flow.client))
        mappings[count++] = assoc_mapping_of(assoc);
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++)
        if (!branch->is_exit)
            mappings[count++] = assoc_mapping_of(branch);
    return count;
}

void branches_take(struct assoc *assoc)
{
    struct assoc *branch;
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++) {
        branches_take(branch);
        assoc_flow_move(&assoc->flow, &branch->flow);
    }
}

uint64_t branches_last_ms(const struct assoc *assoc)
{
    uint64_t last_ms = 0;
    const struct assoc *branch;
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++) {
        const uint64_t own_ms = assoc_flow_last_ms(&branch->flow), exits_ms = branches_last_ms(branch);
        const uint64_t branch_ms = own_ms > exits_ms ? own_ms : exits_ms;
        last_ms = branch_ms > last_ms ? branch_ms : last_ms;
    }
    return last_ms;
}

static void branches_note_end(struct assoc *assoc, size_t ports_before)
{
    if (branch_port_count(assoc) != ports_before)
        assoc->internal.ops->review_ports(assoc);
}

static bool branch_is_over(struct assoc *branch, uint64_t now_ms)
{
    return assoc_sweep(branch, now_ms) || (branch->is_exit && !external_upstream_is_configured(branch));
}

void branches_sweep(struct assoc *assoc, uint64_t now_ms)
{
    const size_t ports = branch_port_count(assoc);
    for (size_t i = branch_count(assoc); i-- > 0;)
        if (branch_is_over(assoc->branches->list[i], now_ms))
            branch_end(assoc, i);
    branches_note_end(assoc, ports);
}

void branches_review(struct assoc *assoc)
{
    struct assoc *branch;
    for (size_t i = 0; (branch = branch_at(assoc, i)); i++) {
        branch->subject = assoc->subject;
        branch->generation = assoc->env->generation;
        if (branch->names && !branch->is_exit)
            names_review(branch->names);
        branches_review(branch);
    }
    if (assoc->internal.ops->review_ports)
        assoc->internal.ops->review_ports(assoc);
}

void branches_shrink(struct assoc *assoc)
{
    const uint64_t now = env_now(assoc->env);
    const size_t ports = branch_port_count(assoc);
    for (size_t i = branch_count(assoc); i-- > 0;)
        if (assoc_idle_ms(assoc->branches->list[i], now) >= BRANCH_KEPT_MS)
            branch_end(assoc, i);
        else
            assoc_call_loans(assoc->branches->list[i]);
    branches_note_end(assoc, ports);
}

void branches_free(struct assoc *assoc)
{
    while (branch_count(assoc) > 0)
        branch_end(assoc, branch_count(assoc) - 1);
    free(assoc->branches);
    assoc->branches = NULL;
}
