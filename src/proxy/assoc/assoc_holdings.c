/* What an association holds that may become short: descriptors, ports, memory. */
#include "net/sock.h"
#include "proxy/assoc/assoc.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch.h"
#include "proxy/assoc/external_socket.h"
#include "proxy/assoc/filter.h"
#include "proxy/assoc/kernel_relay.h"
#include "proxy/assoc/names.h"

void assoc_set_room(struct assoc *assoc, int bytes)
{
    assoc->internal.ops->set_buffers(assoc, bytes);
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        const struct external *external = assoc_external_once(assoc, slot);
        if (external && external_socket_is_open(external))
            sock_udp_set_room(external->socket.fd, bytes);
    }
    for (size_t i = 0; branch_at(assoc, i); i++)
        assoc_set_room(branch_at(assoc, i), bytes);
}

size_t assoc_descriptors(const struct assoc *assoc)
{
    size_t count = assoc->internal.ops->descriptors;
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        const struct external *external = assoc_external_once(assoc, slot);
        count += external ? external->ops->descriptors + (size_t)external_socket_is_open(external) : 0;
    }
    for (size_t i = 0; branch_at(assoc, i); i++)
        count += assoc_descriptors(branch_at(assoc, i));
    return count;
}

bool assoc_holds_port(const struct assoc *assoc, const struct port_place *place)
{
    const struct internal *internal = &assoc->internal;
    bool holds = internal->ops->has_own_port && ports_is_at(&internal->port, place);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        holds = holds || (assoc->external[slot] && ports_is_at(&assoc->external[slot]->port, place));
    for (size_t i = 0; !holds && branch_at(assoc, i); i++)
        holds = assoc_holds_port(branch_at(assoc, i), place);
    return holds;
}

void assoc_borrow(struct assoc *assoc, struct loan *loan)
{
    assert(loan->all == assoc->own_loan.all);
    assert(loan == assoc->loan || (!assoc->names && !assoc->branches)); /* they have taken note of the loan */
    loan->bytes += assoc->own_loan.bytes;
    assoc->own_loan.bytes = 0;
    assoc->loan = loan;
}

void assoc_call_loans(struct assoc *assoc)
{
    if (assoc->internal.ops->call_loans)
        assoc->internal.ops->call_loans(assoc);
    if (assoc->filter)
        filter_shrink(assoc->filter, assoc->loan);
    if (assoc->names)
        names_shrink(assoc->names);
    branches_shrink(assoc);
}

size_t assoc_memory(const struct assoc *assoc)
{
    size_t held = sizeof(*assoc) + assoc->internal.ops->memory(assoc) + (assoc->kernel ? sizeof(*assoc->kernel) : 0);
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        const struct external *external = assoc_external_once(assoc, slot);
        held += external && external->ops->memory ? external->ops->memory(external) : 0;
        held += external && external_socket_is_open(external) ? sock_memory(external->socket.fd) : 0;
    }
    held += assoc->branches ? sizeof(*assoc->branches) : 0;
    for (size_t i = 0; branch_at(assoc, i); i++)
        held += assoc_memory(branch_at(assoc, i));
    return held;
}
