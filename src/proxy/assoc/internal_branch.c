#include "proxy/assoc/internal_branch.h"

#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/internal_udp.h"

static void internal_branch_do_nothing(struct assoc *branch)
{
    (void)branch;
}

static bool internal_branch_set_client(struct assoc *branch, const union netaddr *client, bool hold)
{
    (void)branch, (void)client, (void)hold;
    return true;
}

static size_t internal_branch_memory(const struct assoc *branch)
{
    (void)branch;
    return 0;
}

static const struct internal_ops internal_branch_ops = {
    .start = internal_branch_do_nothing,
    .send = internal_udp_send,
    .send_named = internal_udp_send_named,
    .set_client = internal_branch_set_client,
    .set_buffers = internal_udp_set_buffers,
    .memory = internal_branch_memory,
    .close = internal_branch_do_nothing,
};

/* An exit has its owner's client, wherever that is reached: also over TCP. */
static void internal_exit_send(struct assoc *exit, struct dgram_batch *batch, struct dgram_tally *tally)
{
    struct assoc *assoc = exit->owner;
    assoc->internal.ops->send(assoc, batch, tally);
}

static void internal_exit_send_named(struct assoc *exit, struct dgram_run *payloads, uint16_t header_len,
                                     struct dgram_tally *tally)
{
    struct assoc *assoc = exit->owner;
    assoc->internal.ops->send_named(assoc, payloads, header_len, tally);
}

static void internal_exit_set_buffers(struct assoc *exit, int bytes)
{
    (void)exit, (void)bytes;
}

static const struct internal_ops internal_exit_ops = {
    .start = internal_branch_do_nothing,
    .send = internal_exit_send,
    .send_named = internal_exit_send_named,
    .set_buffers = internal_exit_set_buffers,
    .memory = internal_branch_memory,
    .close = internal_branch_do_nothing,
};

int internal_branch_open(struct assoc *branch, const struct assoc *owner)
{
    branch->internal.ops = branch->is_exit ? &internal_exit_ops : &internal_branch_ops;
    branch->internal.socket = owner->internal.socket;
    return 0;
}
