/*
 * Has the kernel path (kernel/kernel_path.h) relay an association's established flows, and accounts for them.
 *
 * User space sends the first datagrams to each destination. Once it has sent to one of them again, it asks for a slot
 * and installs the flow. While the kernel path is off, each of these functions costs a branch.
 */
#ifndef CONESOCKS_PROXY_ASSOC_KERNEL_RELAY_H
#define CONESOCKS_PROXY_ASSOC_KERNEL_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel_path.h"
#include "net/icmp.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/kernel_reason.h"

/* What an association has of the kernel path, from its first slot on. */
struct kernel_relay {
    struct kernel_slot *slot;        /* NULL: none at the moment */
    enum kernel_reason failed;       /* why the last attempt to open one has failed; KERNEL_REASON_NONE: it has not */
    uint8_t carried_tos;             /* the bits of the TOS byte that the slot carries */
    bool has_flow;                   /* the program knows one */
    bool keeps_icmp;                 /* its sockets keep ICMP errors */
    uint64_t hosts;                  /* a bit for each host with a flow: see sketch.h */
    uint64_t retry_ms;               /* before that no slot is opened */
    uint64_t datagrams[KERNEL_WAYS]; /* that the kernel has relayed */
};

struct kernel_use kernel_relay_use(const struct assoc *assoc);

/* ---- with each event ---- */

/* User space has sent these runs, `sent` datagrams in all. */
void kernel_relay_install(struct assoc *assoc, const struct dgram_run *runs, size_t count, uint64_t sent);
static inline void kernel_relay_sent(struct assoc *assoc, const struct dgram_run *runs, size_t count, uint64_t sent)
{
    if (assoc->env->kernel)
        kernel_relay_install(assoc, runs, count, sent);
}

/* The client's socket (KERNEL_UP) or an external one has received the first `count` runs of env->received, and they
 * have been sent or dropped. To be called at the end of each event of the socket. */
void kernel_relay_publish(struct assoc *assoc, enum kernel_way way, size_t count, int fd);
static inline void kernel_relay_received(struct assoc *assoc, enum kernel_way way, size_t count, int fd)
{
    if (assoc->kernel)
        kernel_relay_publish(assoc, way, count, fd);
}

/* Whether errors have to be taken from its sockets (icmp_take()) before datagrams. They go to kernel_relay_heed(). */
static inline bool kernel_relay_keeps_icmp(const struct assoc *assoc)
{
    return assoc->kernel && assoc->kernel->keeps_icmp;
}
void kernel_relay_heed(struct assoc *assoc, const uint32_t icmp[ICMP_KIND_COUNT]);

/* ---- now and then ---- */

/* Brings assoc->flow and the counters up to date. */
void kernel_relay_take(struct assoc *assoc, uint64_t now_ms);
/* Once a second: the same, and credit is given anew; and user space takes over what it cannot catch up with, because it
 * got lost before the sockets. No event tells of that. */
void kernel_relay_sweep(struct assoc *assoc, uint64_t now_ms);
/* Its client has another port, or the client's socket receives from others, too. */
void kernel_relay_move_client(struct assoc *assoc);
/* It is under other rules. */
void kernel_relay_review(struct assoc *assoc);
/* A name is at this host now: user space has to see whether the host answers. */
void kernel_relay_release_host(struct assoc *assoc, const union netaddr *host);
/* Has user space relay everything until the next slot. */
void kernel_relay_stop(struct assoc *assoc);
void kernel_relay_free(struct assoc *assoc);

#endif
