/*
 * What answers on the other side of the proxy. Every far end answers STUN Binding requests (RFC 8489) at its addresses,
 * so that all steps that need no more run against all of them; a peer, which is another `conesocks check`, can do more.
 */
#ifndef CONESOCKS_CHECK_FAR_END_H
#define CONESOCKS_CHECK_FAR_END_H

#include "check/io.h"
#include "check/peer/peer_server.h"

enum far_end_kind {
    FAR_END_NONE,
    FAR_END_STUN, /* a STUN server, by --stun */
    FAR_END_PEER, /* another conesocks check, by --peer, or sockets of our own */
};

struct far_end {
    enum far_end_kind kind;
    char name[300]; /* as it was given, for people */
    struct io_addresses addresses;
    const char *key;         /* a peer's; NULL: it asks for none */
    struct peer_server *own; /* sockets of our own, or NULL */
    char own_key[PEER_KEY_LEN + 1];
};

#endif
