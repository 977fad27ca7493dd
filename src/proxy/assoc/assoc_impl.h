/*
 * What an association is, to assoc.c, which begins and ends one, and to the two ways that datagrams take through it:
 *
 * up:   the client's datagram -> is it the client's? -> strip the SOCKS5 header -> may it go there? -> external socket
 * down: anybody's datagram -> may he answer? -> put the sender's address in front -> relay socket
 *
 * Over TCP both of the client's ends are assoc_frames.c.
 *
 * Both take runs as they come: what the kernel has joined stays joined, cut only where the destination changes. Buffers
 * are the worker's; a datagram is neither copied nor allocated for, but for those that wait for a name.
 */
#ifndef CONESOCKS_PROXY_ASSOC_ASSOC_IMPL_H
#define CONESOCKS_PROXY_ASSOC_ASSOC_IMPL_H

#include <assert.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/dgram_io.h"
#include "policy/rates.h"
#include "policy/rules.h"
#include "proxy/assoc/assoc.h"
#include "proxy/env.h"

/* One event's share: a flood on one association waits its turn after this many datagrams. */
#define RECEIVE_MAX 32

struct filter;
struct frames;
struct names;
struct outlet;
struct share;
struct sock_egress;

/* The socket that the internet sees, of one family. */
struct external {
    struct assoc *assoc;
    struct dgram_socket socket;
    struct event readable;
    struct port_lease port;
    uint64_t carried_ms; /* when its last datagram came or went; 0: none did */
};

enum assoc_state {
    ASSOC_OPENING, /* the client has not been told that it may send; only what an upstream says is read */
    ASSOC_GRANTED, /* datagrams pass */
    ASSOC_ENDING,  /* in assoc_free(): nothing may be sent or counted any more */
};

struct assoc {
    struct env *env;
    struct assoc_flow flow;
    struct subject subject;         /* its client: the control connection's peer; only it may send */
    uint64_t generation;            /* of the snapshot that it was last reviewed under */
    bool (*may_go_on)(void *owner); /* see assoc_set_review(); NULL: nobody is asked */
    void *owner;
    struct dgram_socket client;
    uint16_t hint_port;     /* the request's idea of the client's port; 0 = none */
    enum assoc_state state; /* see assoc_start() */
    bool connected;         /* the client's socket takes datagrams from flow.client only */
    struct event client_readable;
    struct port_lease relay_port;            /* none over TCP, or with a shared port */
    struct frames *frames;                   /* over TCP: in place of `client`; else NULL */
    struct external *external[FAMILY_COUNT]; /* NULL: not opened yet */
    uint64_t open_failed_ms[FAMILY_COUNT];
    struct names *names;         /* NULL until the first name */
    struct loan *loan, own_loan; /* what it holds besides its sockets, at whose charge */
    struct filter *filter;       /* NULL: endpoint-independent */
    struct outlet *outlet;       /* NULL: straight to the destinations */
    struct rates *rates;         /* NULL: no limit */
    struct sock_egress *egress;  /* of the external sockets; NULL: nothing is said */
    struct share *share;         /* of the port of all associations; NULL: it has one of its own */
};

/* ---- assoc.c ---- */

/* To be asked before datagrams are taken: after a reload they may have to be refused. The association does not end in
 * here, but soon. */
static inline bool assoc_may_go_on(struct assoc *assoc)
{
    return assoc->generation == assoc->env->generation || !assoc->may_go_on || assoc->may_go_on(assoc->owner);
}
/* Opens the external socket of a family. 0 or a negative errno. */
int assoc_open_external(struct assoc *assoc, int family);
/* Whether those sockets are bound to an interface. */
bool assoc_is_bound(const struct assoc *assoc);
/* Counts datagrams that go nowhere. */
static inline void assoc_drop(struct assoc *assoc, enum drop_reason reason, uint32_t count)
{
    assoc_flow_drop(&assoc->flow, &assoc->env->metrics, reason, count);
}
/* The worker's batches hold datagrams of one association at a time: whoever fills them sends them before it returns to
 * the event loop or to another association. */
static inline void assoc_assert_batches_are_empty(const struct env *env)
{
    assert(env->to_client.count == 0);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assert(env->to_external[slot].count == 0);
}
/* Cuts a run to what may pass now. false: nothing is left of it. */
bool assoc_within_rates(struct assoc *assoc, enum rates_way way, struct dgram_run *run);

/* ---- assoc_up.c, assoc_down.c ---- */

/* Cuts those datagrams off a run that begin with the same SOCKS5 header as the `first`: `payloads` is what follows it.
 * Returns how many they are; when the header is none they are counted as dropped, and payloads->count is 0. */
uint16_t assoc_cut(struct assoc *assoc, const struct dgram_run *run, size_t first, struct socks5_udp_header *header,
                   struct dgram_run *payloads);

/* The client has been silent: it may come back from another port. */
void assoc_allow_rebind(struct assoc *assoc);

/* Takes the client's datagrams for one destination. Their bytes have to stay where they are until the flush. */
void assoc_take_up(struct assoc *assoc, const struct socks5_addr *destination, struct dgram_run *payloads,
                   uint64_t now);
void assoc_flush_up(struct assoc *assoc);
/* A share_deliver. */
void assoc_take_shared(void *assoc, const struct dgram_run *run);
/* The same the other way: datagrams from their `peer`. */
void assoc_take_down(struct assoc *assoc, const struct dgram_run *run);
/* The same where the origin is known by name alone: the SOCKS5 UDP header in front of each payload contains it, has
 * `header_len` bytes, and is passed on as it came. */
void assoc_pass_down(struct assoc *assoc, const struct dgram_run *payloads, uint16_t header_len);
void assoc_flush_down(struct assoc *assoc);

/* ---- the two ways: event callbacks of the sockets ---- */

void assoc_on_client(evutil_socket_t fd, short what, void *assoc);
void assoc_on_external(evutil_socket_t fd, short what, void *external);

#endif
