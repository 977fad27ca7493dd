/*
 * The messages of an upgrade between the running server and the new one, over a Unix socket (SOCK_SEQPACKET). Each is a
 * struct handover_message; some carry descriptors (SCM_RIGHTS).
 *
 * The running server sends what it has, HANDOVER_ALL last. The new one answers HANDOVER_SERVES as soon as it serves,
 * and the running one confirms with HANDOVER_GONE. From then on the connection carries datagrams: see
 * proxy/assoc/handover_link.h.
 *
 * If the new server closes the connection before HANDOVER_SERVES, nothing has changed. If the running one closes it,
 * it has ended, and the new one serves alone. If the running one has waited for too long, it sends HANDOVER_TOO_LATE
 * before it closes, and the new one ends.
 */
#ifndef CONESOCKS_DAEMON_HANDOVER_WIRE_H
#define CONESOCKS_DAEMON_HANDOVER_WIRE_H

#include <stdint.h>

#define HANDOVER_VERSION 1
/* In one message; the kernel takes up to 253. */
#define HANDOVER_DESCRIPTORS_MAX 100

enum handover_kind {
    HANDOVER_LISTENERS,    /* for clients, of all workers; in as many messages as needed */
    HANDOVER_UDP,          /* the shared port's (udp.ports: 1080), for clients without a connected socket; likewise */
    HANDOVER_ADMIN_TCP,    /* one descriptor, here and below; not sent if there is none */
    HANDOVER_ADMIN_SOCKET, /* in the file system */
    HANDOVER_PID_FILE,     /* with its lock */
    HANDOVER_SOCKET,       /* run.handover, where the next new server will ask */
    HANDOVER_ALL,          /* no descriptor; `count` is the number of those sent before */
    HANDOVER_SERVES,
    HANDOVER_GONE,     /* the running server's answer: it accepts nothing any more */
    HANDOVER_TOO_LATE, /* or this answer: it continues to serve, or a third process does */
    HANDOVER_FOLLOWER, /* before HANDOVER_ALL: a connection to the running server, or to one that follows it (follow.h)
                        */
};

struct handover_message {
    uint32_t version;
    uint32_t kind;  /* enum handover_kind */
    uint32_t count; /* descriptors */
};

#endif
