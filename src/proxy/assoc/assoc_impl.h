/*
 * What an association is, for the units that make it up:
 *
 *            client's end                                                     the internet's ends
 *   up:      internal -> is it the client's? -> strip its header -> may it go there? -> external      up.c
 *   down:    internal <- put the sender's address in front <- may it answer? <- external              down.c
 *
 * Both ways take runs as they come: what the kernel has joined stays joined, cut only where the destination changes.
 * Buffers are the worker's. No datagram is copied, except those that wait for a name, those that another worker's
 * shared socket has received (shared_socket.h), those that go to an upstream by name, and frames that the control
 * connection brings or takes in parts. No lock is taken, except by shared_socket.h, and by own_ports.h while a port is
 * being added or removed.
 */
#ifndef CONESOCKS_PROXY_ASSOC_ASSOC_IMPL_H
#define CONESOCKS_PROXY_ASSOC_ASSOC_IMPL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/rates.h"
#include "policy/rules.h"
#include "proxy/assoc/ends.h"
#include "proxy/assoc/flow.h"
#include "proxy/env.h"

/* One event's share: a flood on one association waits its turn after this many datagrams. */
#define ASSOC_RECEIVE_MAX 32

struct branches;
struct filter;
struct kernel_relay;
struct names;
struct sock_egress;
struct socks5_addr;

enum assoc_state {
    ASSOC_OPENING, /* the client has not been told that it may send */
    ASSOC_GRANTED, /* datagrams pass */
    ASSOC_ENDING,  /* in assoc_free() */
};

struct assoc {
    struct env *env;
    struct assoc_flow flow;
    struct subject subject;         /* its client: the control connection's peer; only it may send */
    uint64_t generation;            /* of the snapshot that it was last reviewed under */
    bool (*may_go_on)(void *owner); /* see assoc_set_review(); NULL: nobody is asked */
    void *owner;
    enum assoc_state state : 6;
    bool is_branch : 1, is_exit : 1;      /* of another association: see branch.h; each exit is a branch */
    bool holds_client;                    /* the internal end takes datagrams from flow.client only */
    uint16_t hint_port;                   /* the client's port as its request names it; 0: not named */
    uint16_t open_failed_s[FAMILY_COUNT]; /* the second of the last failure to open an end, modulo 2^16; 0: none */
    struct internal internal;
    struct branches *branches; /* NULL: it has had none */
    /* By the destination's family. A direct end is NULL until it opens. An upstream's is there from the beginning and
     * serves both. */
    struct external *external[FAMILY_COUNT];
    struct names *names;         /* NULL until the first name */
    struct loan *loan, own_loan; /* charged for what it holds besides its sockets; see assoc_borrow() */
    struct filter *filter;       /* NULL: endpoint-independent */
    struct rates *rates;         /* NULL: no limit */
    struct sock_egress *egress;  /* of the external sockets; NULL: the system decides */
    struct kernel_relay *kernel; /* NULL: it has had no slot of the kernel path */
};

/* ---- what both ways need ---- */

/* To be asked before datagrams are taken: after a reload they may have to be refused. The association does not end
 * here, but later, from the event loop. */
static inline bool assoc_may_go_on(struct assoc *assoc)
{
    return assoc->generation == assoc->env->generation || !assoc->may_go_on || assoc->may_go_on(assoc->owner);
}

/* Counts datagrams that go nowhere. */
static inline void assoc_drop(struct assoc *assoc, enum drop_reason reason, uint32_t count)
{
    assoc_flow_drop(&assoc->flow, &assoc->env->metrics, reason, count);
}

/* The worker's batches hold datagrams of one association at a time: what fills them sends them before it returns to the
 * event loop or turns to another association. */
static inline void assoc_assert_batches_are_empty(const struct env *env)
{
    assert(env->to_client.count == 0);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assert(env->to_external[slot].count == 0);
}

/* Whether names leave by its upstream as they are. */
static inline bool assoc_sends_names(const struct assoc *assoc)
{
    return assoc->external[FAMILY_V4] && assoc->external[FAMILY_V4]->ops->send_named;
}

/* The end in a slot of assoc->external; NULL when there is none, or an earlier slot has the same one. */
static inline struct external *assoc_external_once(const struct assoc *assoc, int slot)
{
    struct external *external = assoc->external[slot];
    return slot > 0 && external == assoc->external[slot - 1] ? NULL : external;
}

/* Cuts a run to what may pass now. false: nothing is left of it. */
bool assoc_within_rates(struct assoc *assoc, enum rates_way way, struct dgram_run *run);

/* ---- up.c ---- */

/* Takes datagrams from the client's host. Their bytes have to stay where they are until assoc_flush_up(). */
void assoc_take_from_client(struct assoc *assoc, const struct dgram_run *run, uint64_t now);
/* Takes the client's datagrams for one destination, without their headers. */
void assoc_take_up(struct assoc *assoc, const struct socks5_addr *destination, struct dgram_run *payloads,
                   uint64_t now);
void assoc_flush_up(struct assoc *assoc);
/* Sends to an address, if the policy allows it. `name` is what the client asked for, NULL when that was the address. */
void assoc_send_up(struct assoc *assoc, const char *name, const union netaddr *to, const struct dgram_run *payloads);
/* The end for destinations of a family. NULL: it cannot be opened, or is not yet. */
struct external *assoc_find_external(struct assoc *assoc, int family);

/* ---- up_names.c ---- */

/* Takes the client's datagrams for a name (lower case). */
void assoc_take_up_named(struct assoc *assoc, const char *name, uint16_t port, const struct dgram_run *payloads);

/* ---- assoc.c ---- */

/* Frees it, and all that it owns. What a branch shares with the association that has it is not its own. */
void assoc_discard(struct assoc *assoc);

/* ---- down.c ---- */

/* Receives from an external socket into env->received. Returns how many runs are to be taken. */
size_t assoc_receive_external(struct external *external);
/* Takes datagrams from their `peer`. */
void assoc_take_down(struct assoc *assoc, const struct dgram_run *run);
/* The same where the origin is known by name alone: the SOCKS5 UDP header in front of each payload contains it, and has
 * `header_len` bytes. They are sent at once. */
void assoc_take_down_named(struct assoc *assoc, const struct dgram_run *payloads, uint16_t header_len);
void assoc_flush_down(struct assoc *assoc);

#endif
