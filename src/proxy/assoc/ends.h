/*
 * The two kinds of ends that an association has: one internal end, where its client's datagrams come and go, and
 * external ends, where the internet's do. A table of operations makes the difference between their kinds.
 *
 * Operations take batches: there is no indirect call for each datagram.
 */
#ifndef CONESOCKS_PROXY_ASSOC_ENDS_H
#define CONESOCKS_PROXY_ASSOC_ENDS_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "net/dgram_io.h"
#include "net/ports.h"

struct assoc;
struct external;
struct internal_shared;
struct internal_tcp;

struct internal_ops {
    /* From now on it takes what the client sends: into assoc_take_from_client() or assoc_take_up(). */
    void (*start)(struct assoc *assoc);
    /* Sends each run to the client with its `peer` as the origin, counts what became of each datagram, and empties the
     * batch. */
    void (*send)(struct assoc *assoc, struct dgram_batch *batch, struct dgram_tally *tally);
    /* Sends a run whose origin is a name: the SOCKS5 UDP header that contains it stands in front of each payload. */
    void (*send_named)(struct assoc *assoc, struct dgram_run *payloads, uint16_t header_len, struct dgram_tally *tally);
    /* Sets the address that the client sends from. `hold`: take datagrams from no other port; assoc->holds_client tells
     * whether that has worked. false: the system does not let us answer there, and nothing has changed. NULL: the
     * client never changes. */
    bool (*set_client)(struct assoc *assoc, const union netaddr *client, bool hold);
    /* The client has been silent: it may come back from another port. To be called as often as one likes. NULL: as
     * above.
     */
    void (*allow_rebind)(struct assoc *assoc);
    /* How many ports its client may use, or uses, has changed (branch_list.h). NULL: as above. */
    void (*review_ports)(struct assoc *assoc);
    /* About once a second: gives up what has waited for too long. NULL: nothing waits. */
    void (*sweep)(struct assoc *assoc, uint64_t now_ms);
    /* Drops what is charged to assoc->loan, as far as it can. NULL: nothing is. */
    void (*call_loans)(struct assoc *assoc);
    /* How many bytes may wait in its socket. */
    void (*set_buffers)(struct assoc *assoc, int bytes);
    /* What it holds, ours and the kernel's. */
    size_t (*memory)(const struct assoc *assoc);
    void (*close)(struct assoc *assoc);
    uint8_t descriptors; /* how many it has, besides the control connection */
    bool over_tcp;
    bool has_own_port; /* it uses internal.port */
};

struct internal {
    const struct internal_ops *ops; /* NULL: not opened */
    struct dgram_socket socket;     /* over TCP: the control connection */
    struct event readable;
    union {
        struct port_lease port;         /* with a port of its own */
        struct internal_shared *shared; /* with the port of all associations */
        struct internal_tcp *tcp;       /* over TCP */
    };
};

struct external_ops {
    /* Sends each run to its `peer`, counts what became of each datagram, and empties the batch. */
    void (*send)(struct external *external, struct dgram_batch *batch, struct dgram_tally *tally);
    /* Sends a run to a name. NULL: names are resolved here. */
    void (*send_named)(struct external *external, const char *name, uint16_t port, const struct dgram_run *payloads,
                       struct dgram_tally *tally);
    /* What it holds besides its socket, ours and the kernel's. NULL: nothing. */
    size_t (*memory)(const struct external *external);
    uint8_t descriptors; /* besides its socket */
    /* Closes and frees it. */
    void (*close)(struct external *external);
};

/* Each kind of external end has a struct of its own, with this one as its first member. */
struct external {
    const struct external_ops *ops;
    struct assoc *assoc;
    struct dgram_socket socket; /* fd -1: not opened yet */
    struct event readable;
    struct port_lease port;
    uint64_t carried_ms; /* when its last datagram came or went; 0: none did */
};

#endif
