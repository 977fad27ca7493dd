/*
 * What a server and the one that takes its place say to each other, over a Unix socket that keeps messages apart
 * (SOCK_SEQPACKET). Each is a struct handover_message, some with descriptors beside it (SCM_RIGHTS). The running one
 * sends what it has, HANDOVER_ALL last; the new one answers HANDOVER_SERVES when it does. Whoever closes before that
 * has changed nothing, but for the running one, whose end leaves all to the new one: if it is only tired of waiting it
 * says HANDOVER_TOO_LATE before, and the new one ends. From HANDOVER_GONE on the connection is for datagrams: see
 * proxy/assoc/handover_link.h.
 */
#ifndef CONESOCKS_DAEMON_HANDOVER_WIRE_H
#define CONESOCKS_DAEMON_HANDOVER_WIRE_H

#include <stdint.h>

#define HANDOVER_VERSION 1
/* In one message; the kernel takes up to 253. */
#define HANDOVER_DESCRIPTORS_MAX 100

enum handover_kind {
    HANDOVER_LISTENERS,    /* for clients, of all workers; as many messages as it takes */
    HANDOVER_UDP,          /* for datagrams of clients that are not known yet: udp.ports as one port; likewise */
    HANDOVER_ADMIN_TCP,    /* one descriptor, here and below; not sent where there is none */
    HANDOVER_ADMIN_SOCKET, /* in the file system */
    HANDOVER_PID_FILE,     /* with its lock */
    HANDOVER_SOCKET,       /* at which the next one will ask */
    HANDOVER_ALL,          /* none; `count` is how many came before */
    HANDOVER_SERVES,
    HANDOVER_GONE,     /* the running one's answer: it accepts nothing more */
    HANDOVER_TOO_LATE, /* or this: it serves on, or somebody else does */
    HANDOVER_FOLLOWER, /* before HANDOVER_ALL: the running server, and each that follows it (follow.h); one descriptor
                        */
};

struct handover_message {
    uint32_t version;
    uint32_t kind;
    uint32_t count; /* of descriptors */
};

#endif
