/*
 * What all workers of this process share: one object, which the server makes before its workers and frees after them. A
 * session finds it at env->host.
 */
#ifndef CONESOCKS_HOST_HOST_H
#define CONESOCKS_HOST_HOST_H

#include <stdatomic.h>
#include <stdbool.h>

struct addresses;
struct descriptor_reserve;
struct event_base;
struct kernel_path;
struct own_hosts;
struct own_ports;
struct ports;
struct quota;
struct shared_port_table;
struct usage;
struct user_rates;

/* With one UDP port, while one process takes over from another: the connections to both. -1: none. */
struct host_handover {
    atomic_int previous, next;
};

struct host {
    /* The main thread's, which sends changes to the workers. NULL: nobody watches them. */
    struct addresses *addresses;
    /* The server's, which opens it before the workers and closes it after them. NULL: it is off, or cannot work. */
    struct kernel_path *kernel_path;
    /* With locks of their own, taken when a session, an association or an account begins or ends: */
    struct ports *ports;           /* local ports in use, by address: net/ports.h */
    struct quota *quota;           /* what each client and user holds: policy/quota.h */
    struct usage *usage;           /* what each user has used this month: policy/usage.h */
    struct user_rates *user_rates; /* what the sessions of a user share of its rate: policy/rates.h */
    /* Likewise, but read for datagrams to this host's own addresses, without a lock while nothing changes. */
    struct own_ports *own_ports; /* where this process has UDP sockets: policy/own_ports.h */
    /* Locked for each datagram that comes to the shared UDP port and to no association's socket. */
    struct shared_port_table *shared_port;
    /* Atomic: */
    struct descriptor_reserve *reserve;   /* descriptors that sessions leave free: net/reserve.h */
    struct host_handover handover;        /* see proxy/assoc/handover_link.h */
    atomic_uint_fast64_t last_session_id; /* the sessions of all workers are in one order */
    atomic_uint_fast64_t files_told;      /* which news of resolv.conf and hosts the log has: net/resolver.h */
};

/* Knows no addresses yet. NULL: no memory. */
struct host *host_new(void);
/* After all sessions have ended and given back what they held here. NULL is fine. */
void host_free(struct host *host);

/* Reads this host's addresses and follows their changes, as addresses_new() does. Once. false: they cannot be read, or
 * there is no memory (errno). */
bool host_watch_addresses(struct host *host, struct event_base *base,
                          void (*changed)(void *arg, struct own_hosts *hosts), void *arg);

#endif
