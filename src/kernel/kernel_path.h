/*
 * The kernel path: established UDP flows that a program in the kernel (flow.bpf.c) relays without waking this process.
 *
 * User space stays complete. It takes the first datagrams of each destination, decides, sends, and then installs the
 * flow; what the program does not recognize, it leaves to user space. So whatever fails here is slower, never wrong.
 *
 * Three objects: the path (one for the process), a worker's part of it, and an association's slot.
 * Errors are negative errno values. kernel_path_none.c stands here in builds without clang and libbpf.
 */
#ifndef CONESOCKS_KERNEL_KERNEL_PATH_H
#define CONESOCKS_KERNEL_KERNEL_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

/* ---- the process's: the main thread opens it before the sandbox, and closes it after the workers ---- */

struct kernel_path;
#define KERNEL_PATH_TEXT_MAX 256

/* Whether this build has it. */
bool kernel_path_is_built(void);

/* Loads the program and attaches it to every Ethernet interface that is up and has an address. Needs CAP_BPF,
 * CAP_NET_ADMIN and CAP_PERFMON; nothing later needs them. NULL: it cannot work here; `why` gets what is missing and
 * what to do. */
struct kernel_path *kernel_path_open(char why[KERNEL_PATH_TEXT_MAX]);
void kernel_path_close(struct kernel_path *path);
/* Addresses, routes or interfaces have changed: user space decides about each flow once more. Any thread. */
void kernel_path_revoke(struct kernel_path *path);

/* Why it leaves all datagrams to user space for now; NULL: it does not. The program has seen the reason, or its end,
 * with its last datagram. */
const char *kernel_path_why_paused(const struct kernel_path *path);

/* Interfaces that it would be attached to if it were opened now, and is not: "eth1"; empty: none. */
void kernel_path_missing(const struct kernel_path *path, char interfaces[KERNEL_PATH_TEXT_MAX]);

struct kernel_path_view {
    char interfaces[KERNEL_PATH_TEXT_MAX]; /* where it is attached: "eth0 eth1" */
    uint32_t slots_used, slots;
    uint64_t passed[16]; /* left to user space, by reason; see kernel_path_reason() */
    size_t reasons;
};
void kernel_path_view(const struct kernel_path *path, struct kernel_path_view *view);
/* The word for a reason in metrics and status: "joined". */
const char *kernel_path_reason(size_t reason);

/* ---- a worker's ---- */

struct kernel_worker;
/* NULL: no memory, or no netlink socket. */
struct kernel_worker *kernel_worker_new(struct kernel_path *path, unsigned index);
void kernel_worker_free(struct kernel_worker *worker);
/* The worker has new rules: user space decides about each of its flows once more. */
void kernel_worker_revoke(struct kernel_worker *worker);
/* See kernel_path_why_paused(). */
bool kernel_worker_is_paused(const struct kernel_worker *worker);

/* ---- an association's ---- */

/* What is needed to open a slot; all of one family. */
struct kernel_slot_setup {
    const union netaddr *client, *relay;
    const union netaddr *external; /* as its socket is bound: with port, perhaps at the wildcard address */
    struct {
        uint8_t keep, set;
    } tos_up, tos_down;
    bool is_limited; /* relays only what kernel_slot_allow() allows */
};
struct kernel_slot;
/* The client must be the only one that its relay port receives from. From now on the program counts what it leaves to
 * user space. NULL and an errno: ENOSPC: all slots are in use; ENETUNREACH: no interface of the path leads to the
 * client; or another. */
struct kernel_slot *kernel_slot_new(struct kernel_worker *worker, const struct kernel_slot_setup *setup);
/* Another port of the same client. As with a new slot, user space has to catch up before anything is relayed. */
void kernel_slot_move_client(struct kernel_slot *slot, uint16_t port);

/* User space has allowed a datagram to the peer, and has sent it. To be called for each run: system calls are made for
 * the second one and for every 32nd. true: the program knows the flow. */
bool kernel_slot_sent(struct kernel_worker *worker, struct kernel_slot *slot, const union netaddr *peer);

enum kernel_way { KERNEL_UP, KERNEL_DOWN, KERNEL_WAYS };

/* User space has received `count` datagrams of this direction and sent or dropped them. `fd`: the socket, which is
 * asked whether more waits, only while the counts disagree. */
void kernel_slot_caught_up(struct kernel_slot *slot, enum kernel_way way, uint32_t count, int fd);

/* Whether a packet filter drops what the program leaves to user space: nothing has arrived at the socket since the last
 * call. To be asked once a second. */
bool kernel_slot_is_stuck(struct kernel_slot *slot, enum kernel_way way, int fd);

/* What the program has relayed since the last call. */
struct kernel_carried {
    struct {
        uint64_t datagrams, bytes;
        uint64_t last_ms; /* of the monotonic clock; 0: none ever */
    } way[KERNEL_WAYS];
};
void kernel_slot_take(struct kernel_slot *slot, struct kernel_carried *carried);

/* What the program may relay of one direction of a limited slot. UINT64_MAX: any amount. */
struct kernel_credit {
    uint64_t datagrams, bytes;
};
/* In addition to what is left of earlier credit. */
void kernel_slot_allow(struct kernel_slot *slot, enum kernel_way way, const struct kernel_credit *credit);
/* Takes the credit back: the program relays nothing of this direction until the next kernel_slot_allow(). `unused`:
 * what was left of it. */
void kernel_slot_withdraw(struct kernel_slot *slot, enum kernel_way way, struct kernel_credit *unused);
/* Whether a datagram may come that the credit is too small for. */
bool kernel_slot_needs_credit(const struct kernel_slot *slot, enum kernel_way way);

/* Ends it: nothing is relayed any more. `carried` is what kernel_slot_take() has not told yet. The slot rests a second
 * before its next use. */
void kernel_slot_free(struct kernel_worker *worker, struct kernel_slot *slot, struct kernel_carried *carried);

#endif
