/*
 * What the kernel path is, for kernel_path.c (the process's part) and kernel_slot.c (a worker's and an association's).
 */
#ifndef CONESOCKS_KERNEL_KERNEL_PATH_IMPL_H
#define CONESOCKS_KERNEL_KERNEL_PATH_IMPL_H

#include "kernel/catch_up.h"
#include "kernel/flow.h"
#include "kernel/kernel_path.h"
#include "kernel/links.h"
#include "kernel/slot_pool.h"

/* Addresses of this host that the peers of one association may see. */
#define KERNEL_SLOT_LOCALS 4
/* Flows of one association that are installed in a second. */
#define KERNEL_SLOT_INSTALLS 1024

struct kernel_slot {
    struct flow_slot *memory; /* shared with the program */
    uint32_t index;
    uint32_t life;       /* of this association, or of the last one */
    uint32_t generation; /* of the routes that its client's is from */
    union netaddr client, relay, external;
    struct flow_endpoint ports[1 + KERNEL_SLOT_LOCALS]; /* its keys in the map: the relay's, and the external ones */
    size_t port_count;
    struct catch_up catch_up[FLOW_WAYS];
    uint32_t install_second, installs; /* flows that were installed in that second */
    uint8_t arrivals[FLOW_WAYS];       /* events with datagrams of this association, up to 2 */
    struct {
        uint64_t datagrams, bytes;
    } taken[FLOW_WAYS];
};

struct kernel_path {
    struct flow_bpf *program;
    int attachments[LINKS_MAX]; /* descriptors: the program stays attached while they are open */
    struct links links;
    int ports, flows; /* descriptors of maps */
    struct flow_slot *memory;
    struct flow_shared *shared;
    struct slot_pool *pool;
    struct kernel_slot *slots;
};

#endif
