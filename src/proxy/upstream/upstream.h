/*
 * Sends a request through another SOCKS5 server, an upstream: connects, logs in, asks, and hands over the connection
 * with the answer. Without an answer the code is "general failure", as the other reply codes are about the destination,
 * of which nothing is known. An upstream that has accepted a CONNECT and does not answer in time is waiting for the
 * destination: that is "TTL expired".
 */
#ifndef CONESOCKS_PROXY_UPSTREAM_UPSTREAM_H
#define CONESOCKS_PROXY_UPSTREAM_UPSTREAM_H

#include "base/netaddr.h"
#include "conesocks/socks5.h"

struct env;
struct terms;
struct upstream;

struct upstream_answer {
    enum socks5_reply code;
    int fd;               /* the connection, the callee's from now on; -1 unless it has succeeded */
    union netaddr server; /* the upstream's address */
    union netaddr bound;  /* what it has bound; 0.0.0.0 and the port when it answers with a name */
};

/* The upstream is gone afterwards. */
typedef void upstream_done(void *arg, const struct upstream_answer *answer);

/*
 * Asks `terms->upstream` for `command` and `destination`, which is copied. A name of the upstream's own is resolved at
 * the charge of `client` and `user` (NULL: no login), who must outlive this. `done` comes from the event loop, never
 * from inside the call, within timeouts.connect. NULL: no memory.
 */
struct upstream *upstream_ask(struct env *env, const union netaddr *client, const char *user, const struct terms *terms,
                              enum socks5_command command, const struct socks5_addr *destination, upstream_done *done,
                              void *arg);
/* How many descriptors it holds. */
size_t upstream_descriptors(const struct upstream *upstream);
/* Gives up without calling `done`. NULL is fine. */
void upstream_cancel(struct upstream *upstream);

#endif
