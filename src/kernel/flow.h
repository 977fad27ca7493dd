/*
 * The memory that the kernel path's program (flow.bpf.c) shares with this process: what its maps contain.
 *
 * Included by both, so it knows only the kernel's integer types. Addresses are in network byte order; IPv4 ones are
 * written as ::ffff:a.b.c.d, so that one map serves both families.
 */
#ifndef CONESOCKS_KERNEL_FLOW_H
#define CONESOCKS_KERNEL_FLOW_H

#include <linux/types.h>

#define FLOW_SLOTS   16384  /* associations with established flows */
#define FLOW_MAX     131072 /* established flows; the one that was idle longest gives way (LRU) */
#define FLOW_WORKERS 256

enum flow_way { FLOW_UP, FLOW_DOWN, FLOW_WAYS };

/* Why the program leaves a datagram of an association to user space. */
enum flow_pass {
    FLOW_PASS_FORM,      /* IP options, a first fragment, or lengths that disagree */
    FLOW_PASS_JOINED,    /* several datagrams that the kernel has joined (GRO, GSO) */
    FLOW_PASS_SENDER,    /* up: not the client's address and port, or not from its interface */
    FLOW_PASS_HEADER,    /* up: a fragment, a name, the other address family, or no valid SOCKS5 UDP header */
    FLOW_PASS_NEW,       /* user space has not decided about this peer yet, or up: it has not answered yet */
    FLOW_PASS_REVOKED,   /* it has, but before a reload or a change of routes */
    FLOW_PASS_INTERFACE, /* down: from another interface, or to another address, than answers of this peer take */
    FLOW_PASS_BEHIND,    /* user space still has earlier datagrams of this direction: nothing overtakes them */
    FLOW_PASS_RATE,      /* its rate limit's credit is used up: user space drops it, or grants more */
    FLOW_PASS_TOO_LARGE, /* for the path: user space fragments it */
    FLOW_PASS_NO_ROOM,   /* the kernel could not resize the packet */
    FLOW_PASS_IPSEC,     /* this host has IPsec policies, which only its own stack applies */
    FLOW_PASS_REASONS
};

struct flow_endpoint {
    __u32 address[4];
    __u16 port;
    __u16 zero;
};

/* Map `ports`: whose a local endpoint is. */
struct flow_port {
    __u32 slot;
    __u32 way; /* enum flow_way: UP is a relay port, DOWN an external one */
};

/* Map `flows` (LRU): user space has allowed this association to exchange datagrams with this peer. */
struct flow_key {
    __u32 slot;
    __u32 life; /* of the slot: entries of an earlier association never match */
    struct flow_endpoint peer;
};
struct flow {
    __u32 generation;  /* valid while it equals flow_shared.generation[slot's worker] */
    __u32 interface;   /* the way to the peer, and the only one that its answers come by */
    __u32 mtu;         /* of the path to the peer */
    __u32 next_hop[4]; /* the gateway, or the peer */
    __u32 local[4];    /* the address that the peer sees */
    __u32 answered;    /* 1: the program has seen a datagram of the peer, so the packet filter does not translate (NAT)
                        * what is sent to it */
};

/* What one direction of an association has carried. Written by the program (atomically: several CPUs may work for one
 * association), read by user space. A cache line each. */
struct flow_count {
    __u64 datagrams, bytes; /* relayed by the program; payload bytes */
    __u64 last_ns;          /* CLOCK_MONOTONIC_COARSE */
    __u64 passed;           /* datagrams left to user space (UP: of the client alone; DOWN: all to the external port) */
    __u64 unused[4];
};

/* Map `slots`, an array that user space maps into its memory: one entry for each association. */
struct flow_slot {
    __u32 life;   /* 0: free; the program leaves everything to user space */
    __u32 worker; /* index into flow_shared.generation */
    struct flow_endpoint client, relay;
    __u16 external_port; /* network byte order */
    __u16 zero;
    __u32 client_interface, client_mtu, client_next_hop[4]; /* the way to the client, as in struct flow */
    struct {
        __u8 keep, set; /* new TOS byte or traffic class = (received & keep) | set */
    } tos[FLOW_WAYS];
    /* How many of `passed` user space has received *and* sent. The program relays only while both are equal. */
    __u64 received[FLOW_WAYS] __attribute__((aligned(64)));
    /* The program relays only up to these values of `count`: what the rate limits allow, paid in advance. */
    struct {
        __u64 datagrams, bytes; /* UINT64_MAX: no limit */
    } limit[FLOW_WAYS];
    struct flow_count count[FLOW_WAYS] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

/* Map `shared`, an array with one entry, mapped likewise. */
struct flow_shared {
    __u32 generation[FLOW_WORKERS]; /* of each worker's rules and of the routes; see kernel_path_revoke() */
    __u64 passed[FLOW_PASS_REASONS];
    __u32 ipsec; /* 1: with its last datagram the program has seen IPsec policies, so it relays nothing */
    __u32 zero;
};

#endif
