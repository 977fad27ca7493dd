/*
 * A UDP ASSOCIATE of ours: the control connection, and the channel that goes with it.
 */
#ifndef CONESOCKS_CHECK_ASSOCIATION_H
#define CONESOCKS_CHECK_ASSOCIATION_H

#include "check/channel.h"
#include "check/client.h"

struct association {
    struct negotiation negotiation; /* what the server has said; its `fd` keeps the association alive */
    union netaddr relay;            /* where datagrams go, see association_open(); AF_UNSPEC: nobody knows where */
    struct channel channel;         /* its fd is -1 when there is none */
    uint16_t port;                  /* that our socket has to have; 0: any */
};

/*
 * Asks for an association and opens a socket for it. `hint` is what DST says; NULL: 0.0.0.0:0, or its IPv6 like.
 * Granted with a wildcard, the proxy's own address is meant, as clients take it; with a name, that is looked up. true:
 * the channel can be used.
 */
bool association_open(struct association *association, const struct proxy_url *url, const union netaddr *proxy,
                      const union netaddr *hint, uint64_t deadline);
/* The same with the datagrams in the control connection (command 5 of hev-socks5-server and others). */
bool association_open_framed(struct association *association, const struct proxy_url *url, const union netaddr *proxy,
                             uint64_t deadline);
/* Another relay address from now on, and a new socket if the family is another. */
bool association_redirect(struct association *association, const union netaddr *relay);
void association_close(struct association *association);

#endif
