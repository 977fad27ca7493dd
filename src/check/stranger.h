/*
 * Finds out whether strangers reach an association: sends to its external address from sockets of this machine,
 * without the proxy, or from another association of the same proxy.
 */
#ifndef CONESOCKS_CHECK_STRANGER_H
#define CONESOCKS_CHECK_STRANGER_H

#include "check/nat_evidence.h"
#include "check/peer/ask.h"

/* The association that is tested. */
struct stranger_target {
    struct server_line line;  /* to a STUN server */
    union netaddr external;   /* as the servers see it */
    union netaddr relay;      /* where its client sends to; AF_UNSPEC inside TCP */
    union netaddr servers[2]; /* STUN servers that answer, of different addresses if possible */
    size_t server_count;
};

/* What one trial found. */
struct stranger_found {
    struct nat_stranger seen;
    struct nat_own_way way; /* of this machine */
    struct nat_view view;   /* the association's address as this machine sees it; AF_UNSPEC: unknown */
    union netaddr disguise; /* the wrong origin that the proxy names for this machine's datagrams; AF_UNSPEC: none */
};

/* From sockets of this machine. The association must not have sent anything to this machine's address. */
void stranger_from_here(struct stranger_found *found, const struct stranger_target *target);
/* From another association, whose line has a channel of its own. */
void stranger_from_client(struct nat_stranger *seen, const struct stranger_target *target,
                          const struct server_line *other);

#endif
