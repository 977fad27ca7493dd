/*
 * Asks the proxy under test for something, as a SOCKS5 client, and notes what came of it.
 */
#ifndef CONESOCKS_CHECK_CLIENT_H
#define CONESOCKS_CHECK_CLIENT_H

#include <stdint.h>

#include "base/netaddr.h"
#include "check/channel.h"
#include "check/proxy_url.h"
#include "conesocks/socks5.h"
#include "wire/client_handshake.h"

#define PROXY_TIMEOUT 10000 /* ms, for one request over TCP */

struct tested_proxy {
    struct proxy_url url;
    union netaddr address; /* the one of its addresses that is used, with the port */
};

enum proxy_outcome {
    PROXY_GRANTED,
    PROXY_REFUSED,     /* `handshake.code` is the reason */
    PROXY_UNREACHABLE, /* no connection: `error` */
    PROXY_SILENT,      /* no answer in time, at `stage` */
    PROXY_CLOSED,      /* it closed the connection, or reset it, at `stage` */
    PROXY_NOT_SOCKS5,  /* an answer that is not SOCKS5, at `stage`: the beginning is in `handshake.in` */
    PROXY_NO_METHOD,   /* it accepts no login method that was offered */
    PROXY_BAD_LOGIN,   /* it does not accept the user and password */
};

/* What came of one request. */
struct proxy_answer {
    enum proxy_outcome outcome;
    int fd; /* after PROXY_GRANTED, or -1; the owner's to close */
    enum client_state stage;
    int error;                         /* a positive errno */
    struct client_handshake handshake; /* its pointers are not to be followed any more */
    union netaddr local;               /* our end of the connection */
    union netaddr bound;               /* AF_UNSPEC when it is a name */
    char bound_name[256];              /* "" when it is none */
    uint16_t bound_port;
};

void proxy_ask(struct proxy_answer *answer, const struct tested_proxy *proxy, uint8_t command,
               const struct socks5_addr *destination, unsigned timeout_ms);
/* Whether it asks for a user name and password when only that is offered. */
bool proxy_wants_password(const struct tested_proxy *proxy);
/* For any outcome but PROXY_GRANTED: what happened, after which message. Static text, or in `text` (of `size`). */
const char *proxy_answer_explain(const struct proxy_answer *answer, char *text, size_t size);

/* A UDP ASSOCIATE of ours. */
struct check_association {
    struct proxy_answer granted; /* its `fd` is the control connection, which keeps the association alive */
    union netaddr relay;         /* where datagrams are sent; AF_UNSPEC: unknown */
    struct channel channel;      /* its fd is -1 when there is none */
    uint16_t port;               /* that our socket has to have; 0: any */
};

#define CHECK_ASSOCIATION_NONE                                                                                         \
    {                                                                                                                  \
        .granted.fd = -1, .channel.fd = -1                                                                             \
    }

/*
 * Asks for an association and opens a socket for it. `hint` is sent as DST; NULL: 0.0.0.0:0, or [::]:0.
 * A wildcard in the reply stands for the proxy's own address, as clients take it; a name is looked up. true: the
 * channel can be used. Always to be closed.
 */
bool association_open(struct check_association *association, const struct tested_proxy *proxy,
                      const union netaddr *hint);
/* The same with the datagrams in the control connection (command 5 of hev-socks5-server and others). */
bool association_open_framed(struct check_association *association, const struct tested_proxy *proxy);
/* Sends to another relay address from now on, from a new socket if the family is another. */
bool association_redirect(struct check_association *association, const union netaddr *relay);
/* Whether the server has ended its control connection. */
bool association_has_ended(const struct check_association *association);
void association_close(struct check_association *association);

#endif
