/*
 * Happy eyeballs (RFC 8305): reaches one host through whichever of its addresses answers first. Addresses may come
 * family by family while attempts are under way; families alternate, a new attempt starts every 250 ms or as soon as
 * one fails. A few attempts run at once; further addresses are tried as these fail or stay silent for two seconds.
 */
#ifndef CONESOCKS_NET_DIAL_H
#define CONESOCKS_NET_DIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

struct descriptor_reserve;
struct dial;
struct event_base;
struct sock_way;

struct dial_options {
    uint64_t timeout_ms;                /* for everything together, from dial_new() on */
    struct descriptor_reserve *reserve; /* that its sockets leave free */
    bool ipv4_first;                    /* else IPv6 is tried first */
    /* NULL, or called with the connected socket right before `done`: the caller adds its own event for it while that of
     * the dial is still there, which saves a system call. It deletes that event before it closes the socket. */
    void (*watch)(void *arg, int fd);
};

struct dial_outcome {
    int fd;              /* the connected socket, the caller's from now on; -1: no address was reached */
    int error;           /* then the most telling errno of the attempts; 0: there was no address to try */
    union netaddr to;    /* the address it has reached */
    union netaddr local; /* the socket's own */
};

/* The dial is gone afterwards. */
typedef void dial_done(void *arg, const struct dial_outcome *outcome);

/* `done` comes from the event loop, never from inside one of these calls. NULL: no memory. */
struct dial *dial_new(struct event_base *base, const struct dial_options *options, dial_done *done, void *arg);
/* Adds the addresses (with port) of one family, preferred first; `way` as for sock_connect(). */
void dial_add(struct dial *dial, int family, const union netaddr *addresses, size_t count, const struct sock_way *way);
/* No more addresses will come. */
void dial_all_added(struct dial *dial);
/* How many descriptors it holds now, one for each attempt. */
size_t dial_descriptors(const struct dial *dial);
/* Gives up without calling `done`. */
void dial_cancel(struct dial *dial);

#endif
