/*
 * Resolves names to addresses without blocking: a stub resolver on the worker's event base, with a cache, TCP fallback,
 * random ports and numbers. Servers from the configuration or resolv.conf; /etc/hosts is honoured. One for each thread.
 *
 * It is our own because it has to work with the servers that people have. libunbound, which it replaced, sends a slow
 * server new questions and ignores its answers to the earlier ones. It also keeps using EDNS with a server that drops
 * such questions.
 */
#ifndef CONESOCKS_NET_RESOLVER_H
#define CONESOCKS_NET_RESOLVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "net/resolver_name.h" /* for those who look names up */
#include "net/resolver_types.h"

struct event_base;
struct metrics;
struct descriptor_reserve;
struct resolver;
struct resolver_query;

struct resolver_options {
    const union netaddr *servers; /* with port; none: resolv.conf's, or 127.0.0.1 when that names none, like libc */
    size_t server_count;
    uint64_t timeout_ms;                /* an answer that takes longer is RESOLVER_TIMED_OUT */
    uint32_t per_client;                /* queries under way at once for one IPv4 address or IPv6 /64 (0 = no limit) */
    void (*release)(void *charge);      /* called with what resolver_charge() was given; NULL: it will not be called */
    struct descriptor_reserve *reserve; /* descriptors that its sockets leave free; also limits the number of queries */
    struct metrics *metrics;            /* count how long answers take; NULL: nothing is counted */
    atomic_uint_fast64_t *files_told;   /* shared: only one of several resolvers logs a changed file; NULL: each does */
    const char *hosts_file;             /* NULL: /etc/hosts */
    const char *resolv_conf;            /* NULL: /etc/resolv.conf */
};

/* `addresses` (port 0) live during the call only. The query is gone afterwards. */
typedef void resolver_done(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count);

/* NULL: no memory. The base must outlive it. */
struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options);
/* Other servers, timeout and share from now on; the files stay. If the servers have changed,
 * lookups under way ask the new ones. false: no memory, and the servers stay as they were. */
bool resolver_change(struct resolver *resolver, const struct resolver_options *options);
/* Cancels what is under way: no `done` is called. */
void resolver_free(struct resolver *resolver);

/*
 * Asks for the addresses of `name` in AF_INET or AF_INET6. `done` is never called before this returns. The
 * hosts file goes first. Names are absolute: resolv.conf's search domains would ask for another name than the one
 * that the rules have checked. Both files are read again when they change.
 * NULL: too many queries are under way, for `client` (its host counts, not its port) or in all, or the name is no host
 * name, or no memory.
 */
struct resolver_query *resolver_lookup(struct resolver *resolver, const union netaddr *client, const char *name,
                                       int family, resolver_done *done, void *arg);
/* Attaches a charge (not NULL) to the query: the option `release` is called with it when the query no longer counts. */
void resolver_charge(struct resolver_query *query, void *charge);
/* Forgets a query: its `done` will not be called. It counts for its client until the question has ended. */
void resolver_cancel(struct resolver_query *query);

/* The servers that are asked, until the next lookup or change. */
const union netaddr *resolver_servers(const struct resolver *resolver, size_t *count);
/* Queries under way. */
size_t resolver_waiting(const struct resolver *resolver);

#endif
