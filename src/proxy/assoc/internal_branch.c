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

int internal_branch_open(struct assoc *branch, const struct assoc *trunk)
{
    branch->internal.ops = &internal_branch_ops;
    branch->internal.socket = trunk->internal.socket;
    return 0;
}
