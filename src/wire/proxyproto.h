/*
 * Decodes the PROXY protocol, versions 1 and 2: the header by which a load balancer names the client of a connection
 * (HAProxy's proxy-protocol.txt). Pure: bytes in, struct out.
 */
#ifndef CONESOCKS_WIRE_PROXYPROTO_H
#define CONESOCKS_WIRE_PROXYPROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest header that is taken: any with addresses, and some hundred bytes of extensions (TLVs), which are skipped.
 */
#define PROXYPROTO_MAX 1024

enum proxyproto_error {
    PROXYPROTO_E_SIGNATURE = -1, /* another protocol's bytes */
    PROXYPROTO_E_LONG = -2,      /* longer than PROXYPROTO_MAX, or a line that does not end in time */
    PROXYPROTO_E_MALFORMED = -3, /* not what the version allows: a command, a family, an address, a port */
};

struct proxyproto_address {
    uint8_t host[16]; /* in network order */
    uint8_t host_len; /* 4 or 16 */
    uint16_t port;
};

struct proxyproto {
    /* false: the balancer speaks for itself (LOCAL, UNKNOWN), or for a client that has no IP address; the connection's
     * own addresses hold then. */
    bool announced;
    struct proxyproto_address source, destination;
};

/* Returns the header's length, with `out` filled in; 0 when more bytes are needed; or one of enum proxyproto_error. */
int proxyproto_decode(const uint8_t *in, size_t len, struct proxyproto *out);

#endif
