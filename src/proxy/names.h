/*
 * The host names that one association's datagrams are sent to. Each is resolved once and stays on its address while it
 * is in use, so that a flow does not hop between the addresses of a name. Datagrams wait for the answer in a short
 * queue.
 */
#ifndef CONESOCKS_PROXY_NAMES_H
#define CONESOCKS_PROXY_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "base/netaddr.h"

struct env;
struct names;

/* What becomes of datagrams that had to wait. They are told from the event loop; only `dropped` may come from inside
 * names_route(), for the queue of a name that had to make room. */
struct names_hooks {
    void (*deliver)(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len);
    void (*delivered)(void *arg); /* after the last of a queue */
    void (*dropped)(void *arg, enum drop_reason reason, uint32_t count);
    void *arg;
};

#define NAMES_MAX              64           /* remembered for one association; the longest unused goes first */
#define NAMES_KEPT_MS          (300 * 1000) /* after its last use a name keeps its address this long */
#define NAMES_FAILURE_KEPT_MS  2000         /* and a failure this long, so that a burst asks once */
#define NAMES_QUEUED_DATAGRAMS 16           /* waiting for one name */
#define NAMES_QUEUED_BYTES     (128 * 1024) /* waiting for one name */
/* Waiting in all of a worker's associations. Each may have as much as it leaves to the others: one alone half of it, n
 * of them all but 1/(n+1), so that there is always room for the next. */
#define NAMES_WAITING_BYTES (4 * 1024 * 1024)

/* `client` and `user` are charged for the lookups; `user`, NULL without a login, outlives the names. NULL: no memory.
 */
struct names *names_new(struct env *env, const union netaddr *client, const char *user,
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

#endif
