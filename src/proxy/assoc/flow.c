#include "proxy/assoc/flow.h"

#include <assert.h>
#include <stdlib.h>

/* Most associations never drop a datagram: those share this one. */
static const uint32_t nothing_dropped[DROP_REASON_COUNT];

void assoc_flow_init(struct assoc_flow *flow, const union netaddr *relay, uint64_t now_ms)
{
    *flow = (struct assoc_flow){
        .relay = *relay,
        .last_up_ms = now_ms,
        .last_down_ms = now_ms,
        .dropped = nothing_dropped,
    };
}

/* The association's own counters. NULL: it has none. */
static uint32_t *flow_own_drops(const struct assoc_flow *flow)
{
    return flow->dropped == nothing_dropped ? NULL : (uint32_t *)(uintptr_t)flow->dropped;
}

void assoc_flow_deinit(struct assoc_flow *flow)
{
    free(flow_own_drops(flow));
    flow->dropped = nothing_dropped;
}

static void flow_add_drops(struct assoc_flow *flow, enum drop_reason reason, uint32_t count)
{
    uint32_t *own = flow_own_drops(flow);
    assert(flow->dropped); /* see assoc_flow_init() */
    if (!own && (own = calloc(DROP_REASON_COUNT, sizeof(*own))))
        flow->dropped = own;
    if (own) /* without memory for it, only the process counts */
        own[reason] += count;
}

void assoc_flow_move(struct assoc_flow *flow, struct assoc_flow *from)
{
    uint32_t *dropped = flow_own_drops(from);
    flow->up_datagrams += from->up_datagrams;
    flow->up_bytes += from->up_bytes;
    flow->down_datagrams += from->down_datagrams;
    flow->down_bytes += from->down_bytes;
    flow->destinations |= from->destinations;
    from->up_datagrams = from->up_bytes = from->down_datagrams = from->down_bytes = 0;
    for (int i = 0; dropped && i < DROP_REASON_COUNT; i++) {
        if (dropped[i])
            flow_add_drops(flow, (enum drop_reason)i, dropped[i]);
        dropped[i] = 0;
    }
}

void assoc_flow_drop(struct assoc_flow *flow, struct metrics *metrics, enum drop_reason reason, uint32_t count)
{
    assert(reason < DROP_REASON_COUNT);
    flow_add_drops(flow, reason, count);
    metrics_add(&metrics->udp_dropped_total[reason], count);
}

static void flow_count_losses(struct assoc_flow *flow, struct metrics *metrics, const struct dgram_tally *tally)
{
    static const enum drop_reason reasons[] = {
        [DGRAM_LOST_FULL] = DROP_SEND_FULL,          [DGRAM_LOST_OVERSIZE] = DROP_OVERSIZE,
        [DGRAM_LOST_UNREACHABLE] = DROP_UNREACHABLE, [DGRAM_LOST_DENIED] = DROP_REFUSED,
        [DGRAM_LOST_FAILED] = DROP_SEND_FAILED,
    };
    static_assert(sizeof(reasons) / sizeof(reasons[0]) == DGRAM_LOSS_COUNT, "each loss has a reason");
    for (int i = 0; i < DGRAM_LOSS_COUNT; i++)
        if (tally->lost[i])
            assoc_flow_drop(flow, metrics, reasons[i], tally->lost[i]);
}

void assoc_flow_count_up(struct assoc_flow *flow, struct metrics *metrics, const struct dgram_tally *tally)
{
    flow->up_datagrams += tally->datagrams;
    flow->up_bytes += tally->bytes;
    metrics_add(&metrics->udp_up_datagrams_total, tally->datagrams);
    metrics_add(&metrics->udp_up_bytes_total, tally->bytes);
    flow_count_losses(flow, metrics, tally);
}

void assoc_flow_count_down(struct assoc_flow *flow, struct metrics *metrics, const struct dgram_tally *tally,
                           uint64_t now_ms)
{
    if (tally->datagrams) /* what was dropped is no traffic: strangers could keep an association that nobody uses */
        flow->last_down_ms = now_ms;
    flow->down_datagrams += tally->datagrams;
    flow->down_bytes += tally->bytes;
    metrics_add(&metrics->udp_down_datagrams_total, tally->datagrams);
    metrics_add(&metrics->udp_down_bytes_total, tally->bytes);
    flow_count_losses(flow, metrics, tally);
}
