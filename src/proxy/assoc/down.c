/*
 * From the internet to the client.
 *
 * An external end receives with assoc_receive_external() and calls assoc_take_down() with each run's `peer` as the
 * origin; what the client may get waits in the worker's batch until the external end calls assoc_flush_down().
 */
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/client_port.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/names.h"

static void down_count(struct assoc *assoc, const struct dgram_tally *tally)
{
    struct env *env = assoc->env;
    assoc_flow_count_down(&assoc->flow, &env->metrics, tally, tally->datagrams ? env_now(env) : 0);
}

void assoc_flush_down(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct dgram_tally tally = {0};
    if (env->to_client.count)
        assoc->internal.ops->send(assoc, &env->to_client, &tally);
    down_count(assoc, &tally);
    assoc_assert_batches_are_empty(env);
}

/* Leaves of a run what the client may get. false: nothing. */
static bool down_admits(struct assoc *assoc, struct dgram_run *run)
{
    if (!client_port_is_known(&assoc->flow.client)) {
        assoc_drop(assoc, DROP_NO_CLIENT, run->count);
        return false;
    }
    if (assoc->filter && !filter_admits(assoc->filter, &run->peer)) {
        assoc_drop(assoc, DROP_FILTERED, run->count);
        return false;
    }
    if (assoc->names)
        names_mark_answered(assoc->names, &run->peer);
    return assoc_within_rates(assoc, RATES_DOWN, run);
}

void assoc_take_down(struct assoc *assoc, const struct dgram_run *run)
{
    struct dgram_batch *batch = &assoc->env->to_client;
    assert(assoc->state != ASSOC_ENDING && run->count > 0);
    if (batch->count == DGRAM_BATCH_MAX)
        assoc_flush_down(assoc);
    struct dgram_run *out = &batch->runs[batch->count];
    *out = *run;
    if (down_admits(assoc, out))
        batch->count++;
}

void assoc_take_down_named(struct assoc *assoc, const struct dgram_run *payloads, uint16_t header_len)
{
    struct dgram_run run = *payloads;
    struct dgram_tally tally = {0};
    assert(header_len > 0 && payloads->count > 0);
    if (!down_admits(assoc, &run))
        return;
    assoc_flush_down(assoc);
    assoc->internal.ops->send_named(assoc, &run, header_len, &tally);
    down_count(assoc, &tally);
}

size_t assoc_receive_external(struct external *external)
{
    struct assoc *assoc = external->assoc;
    struct env *env = assoc->env;
    assoc_assert_batches_are_empty(env);
    const size_t count = dgram_io_recv(env->dgrams, &external->socket, env->received, ASSOC_RECEIVE_MAX);
    if (count)
        external->carried_ms = env_now(env);
    if (assoc_may_go_on(assoc))
        return count;
    for (size_t i = 0; i < count; i++)
        assoc_drop(assoc, DROP_REFUSED, env->received[i].count);
    return 0;
}
