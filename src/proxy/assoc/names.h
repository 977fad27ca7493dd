/*
 * The host names that one association sends datagrams to, each with the address in use. Datagrams wait in a short queue
 * until the first address is known.
 *
 * A name keeps its address while datagrams come back from there, so that a flow does not hop between the addresses of a
 * name. An address that has never answered gives way to the name's next one, while the client keeps sending.
 */
#ifndef CONESOCKS_PROXY_ASSOC_NAMES_H
#define CONESOCKS_PROXY_ASSOC_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "base/netaddr.h"

struct env;
struct loan;
struct names;

/* What becomes of datagrams that had to wait. They are called from the event loop; only `dropped` may be called from
 * inside names_route(), for the queue of a name that had to make room. */
struct names_hooks {
    /* Whether datagrams for `name` may be sent to this address of it, and have a way to leave. */
    bool (*can_reach)(void *arg, const char *name, const union netaddr *to);
    /* A name uses this address from now on: names_mark_answered() has to be called for what comes from there. */
    void (*uses)(void *arg, const union netaddr *address);
    void (*deliver)(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len);
    void (*delivered)(void *arg); /* after the last of a queue */
    void (*dropped)(void *arg, enum drop_reason reason, uint32_t count);
    void *arg;
};

#define NAMES_MAX             64           /* remembered for one association; the longest unused goes first */
#define NAMES_KEPT_MS         (300 * 1000) /* after its last use a name keeps its address this long */
#define NAMES_FAILURE_KEPT_MS 2000         /* and a failure this long, so that a burst asks once */
#define NAMES_TRY_MS          3000         /* how long an address may be silent before the next one is tried */
#define NAMES_TRIED_MAX       8            /* addresses of one name that are remembered as silent */
#define NAMES_FREE            8            /* not charged; few associations have more */

/* `client` and `user` are charged for the lookups; `user`, NULL without a login, outlives the names. `loan` is charged
 * for the memory. NULL: no memory. */
struct names *names_new(struct env *env, struct loan *loan, const union netaddr *client, const char *user,
                        const struct names_hooks *hooks);
void names_free(struct names *names);

enum names_verdict {
    NAMES_KNOWN,  /* `to` is the address, with the port */
    NAMES_WAITS,  /* the datagram is queued; a hook tells its fate */
    NAMES_DROPPED /* `reason` says why */
};

/* Where a datagram for `name` (valid, lower case) and `port` goes. */
enum names_verdict names_route(struct names *names, const char *name, uint16_t port, const uint8_t *payload, size_t len,
                               union netaddr *to, enum drop_reason *reason);

/* Forgets the names that are charged, the longest unused first, except those that are being resolved. Not to be called
 * from inside a hook. */
void names_shrink(struct names *names);

/* A datagram came from `peer`: names that use this address keep it. Constant time. */
void names_mark_answered(struct names *names, const union netaddr *peer);

/* Whether a name uses this address. */
bool names_has_address(const struct names *names, const union netaddr *address);

/* The rules have changed: a name whose address is denied now looks for another one at its next datagram. */
void names_review(struct names *names);

#endif
