/*
 * Finds the addresses of a host name, of both families: for CONNECT, for datagrams and for the name of an upstream.
 *
 * Both families are asked at once. The second family's addresses wait for the first family's answer, but no longer
 * than 50 ms (RFC 8305 section 3).
 */
#ifndef CONESOCKS_PROXY_LOOKUP_H
#define CONESOCKS_PROXY_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/netaddr.h"

struct config;
struct env;
struct lookup;
struct resolver_options;

/* They are called from the event loop. The lookup may be cancelled in them. */
struct lookup_hooks {
    /* Addresses of one family, without port and unmapped; at most once for each family. They live during the call, and
     * no longer than the lookup. */
    void (*found)(void *arg, const union netaddr *addresses, size_t count);
    /* No more will come, and the lookup is gone. `timed_out`: a family has not been answered in time. */
    void (*ended)(void *arg, bool timed_out);
    void *arg;
};

/*
 * Asks for `name`; `first_family` is the one whose addresses should come first. outbound.prefer may rule out the other.
 * The questions are charged to the client and to the user (NULL: no login). NULL: neither question could be asked, as
 * too many are under way for one of these two or in all (limits.lookups_per_...), or there is no memory.
 */
struct lookup *lookup_begin(struct env *env, const union netaddr *client, const char *user, const char *name,
                            int first_family, const struct lookup_hooks *hooks);
/* Forgets it: no hook will be called. NULL is none. */
void lookup_cancel(struct lookup *lookup);

/* For the resolver's options: gives back what a question was charged. */
void lookup_release(void *charge);
/* What a worker's resolver takes from the configuration. */
struct resolver_options lookup_resolver_options(const struct config *config);

#endif
