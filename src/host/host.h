/*
 * What all workers of this process share: one object, made by the server before its workers and freed after them. A
 * session finds it at env->host.
 *
 * Each member says how threads use it. Most are used when a session begins or ends, and take a lock of their own then.
 */
#ifndef CONESOCKS_HOST_HOST_H
#define CONESOCKS_HOST_HOST_H

#include <stdatomic.h>
#include <stdbool.h>

struct addresses;
struct descriptor_reserve;
struct event_base;
struct own_hosts;
struct own_ports;
struct ports;
struct quota;
struct shared_port_table;
struct user_rates;

/* With one UDP port, while one process takes over from another: the connections to both. -1: none. */
struct host_handover {
    atomic_int previous, next;
};

struct host {
    struct addresses *addresses; /* the main thread's: workers are told of changes; NULL: nobody watches them */
    struct ports *ports;         /* local ports in use, by address: see net/ports.h */
    struct own_ports *own_ports; /* where this process has UDP sockets: see policy/own_ports.h */
    struct shared_port_table *shared_port; /* associations at the one UDP port: see shared_port_table.h */
    struct host_handover handover;         /* see proxy/assoc/handover_link.h */
    struct descriptor_reserve *reserve;    /* descriptors that sessions leave free: see net/reserve.h */
    struct quota *quota;                   /* what each client and user holds: see policy/quota.h */
    struct user_rates *user_rates;         /* what sessions of one user share of its rate: see policy/rates.h */
    atomic_uint_fast64_t last_session_id;  /* sessions of all workers are in one order: any thread counts on */
};

/* Knows no addresses yet. NULL: no memory. */
struct host *host_new(void);
/* After all that uses it. NULL is fine. */
void host_free(struct host *host);

/* Reads this host's addresses and follows their changes, as addresses_new() does. Once. false: they cannot be read, or
 * there is no memory (errno). */
bool host_watch_addresses(struct host *host, struct event_base *base,
                          void (*changed)(void *arg, struct own_hosts *hosts), void *arg);

#endif
