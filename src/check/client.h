/*
 * A negotiation with the proxy, to its end, whatever that is.
 */
#ifndef CONESOCKS_CHECK_CLIENT_H
#define CONESOCKS_CHECK_CLIENT_H

#include <stdint.h>

#include "base/netaddr.h"
#include "check/proxy_url.h"
#include "conesocks/socks5.h"
#include "wire/client_handshake.h"

enum negotiation_end {
    NEGOTIATION_GRANTED,
    NEGOTIATION_REFUSED,     /* `code` says why */
    NEGOTIATION_UNREACHABLE, /* no connection: `error` */
    NEGOTIATION_SILENT,      /* no answer in time, at `stage` */
    NEGOTIATION_CLOSED,      /* it has closed the connection, or reset it, at `stage` */
    NEGOTIATION_STRANGE,     /* an answer that is not SOCKS5, at `stage`: `strange` */
    NEGOTIATION_METHOD,      /* it takes none of the ways to log in that we have offered: `method` */
    NEGOTIATION_LOGIN,       /* it does not accept the login */
};

struct negotiation {
    enum negotiation_end end;
    int fd; /* after NEGOTIATION_GRANTED, or -1; the owner's to close */
    enum client_state stage;
    uint8_t method, code;
    int error; /* a positive errno */
    uint8_t strange[16];
    size_t strange_len;
    union netaddr local;  /* our end of the connection */
    union netaddr bound;  /* AF_UNSPEC when it is a name */
    char bound_name[256]; /* ended by NUL; "" when it is none */
    uint16_t bound_port;
};

/* `url` has the login; `proxy` is which of its addresses to talk to. */
void negotiate(struct negotiation *negotiation, const struct proxy_url *url, const union netaddr *proxy,
               uint8_t command, const struct socks5_addr *destination, uint64_t deadline);

/* What the server chooses when only a user name and password are offered; -1: no answer that says. */
int negotiate_password_only(const union netaddr *proxy, uint64_t deadline);

/* For any end but NEGOTIATION_GRANTED: what has happened, after which message. Static text, or in `text` (of `size`).
 */
const char *negotiation_explain(const struct negotiation *negotiation, char *text, size_t size);
/* RFC 1928 section 6, in words. */
const char *reply_name(uint8_t code);

#endif
