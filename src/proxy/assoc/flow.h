/*
 * What an association has carried: its addresses, when datagrams last passed, how many did and how many were dropped.
 * Plain values, for the code that shows or logs an association.
 */
#ifndef CONESOCKS_PROXY_ASSOC_FLOW_H
#define CONESOCKS_PROXY_ASSOC_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "base/netaddr.h"
#include "net/dgram_io.h"
#include "proxy/env.h"

struct assoc_flow {
    union netaddr relay;                  /* where the client sends to, on this host; over TCP: the connection's end */
    union netaddr client;                 /* where the client sends from; AF_UNSPEC until its first valid datagram */
    union netaddr external[FAMILY_COUNT]; /* where the internet sees the client; port 0 until opened */
    uint64_t learned_ms, last_up_ms, last_down_ms;
    uint64_t up_datagrams, up_bytes, down_datagrams, down_bytes; /* payload bytes */
    uint64_t destinations;                                       /* how many distinct ones: see sketch.h */
    const uint32_t *dropped;                                     /* by drop reason; NULL only in copies */
};

/* A port that the client sends from, and the external ports that it has for that; 0: not opened. */
struct assoc_mapping {
    uint16_t client_port, external_port[FAMILY_COUNT];
};

void assoc_flow_init(struct assoc_flow *flow, const union netaddr *relay, uint64_t now_ms);
void assoc_flow_deinit(struct assoc_flow *flow);

/* Counts datagrams that go nowhere, here and for the process. */
void assoc_flow_drop(struct assoc_flow *flow, struct metrics *metrics, enum drop_reason reason, uint32_t count);
/* Moves the counts of `from` to `flow`. */
void assoc_flow_move(struct assoc_flow *flow, struct assoc_flow *from);
/* Count the datagrams that a send has sent or lost: up to the internet, down to the client. */
void assoc_flow_count_up(struct assoc_flow *flow, struct metrics *metrics, const struct dgram_tally *tally);
void assoc_flow_count_down(struct assoc_flow *flow, struct metrics *metrics, const struct dgram_tally *tally,
                           uint64_t now_ms);

/* When the last datagram passed, either way. */
static inline uint64_t assoc_flow_last_ms(const struct assoc_flow *flow)
{
    return flow->last_up_ms > flow->last_down_ms ? flow->last_up_ms : flow->last_down_ms;
}

/* Whether anything has come from the client's own address, even if it was not a valid datagram. */
static inline bool assoc_flow_has_heard_client(const struct assoc_flow *flow)
{
    return flow->client.sa.sa_family != AF_UNSPEC || flow->dropped[DROP_BAD_HEADER] || flow->dropped[DROP_FRAGMENT];
}

#endif
