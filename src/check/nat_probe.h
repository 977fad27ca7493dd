/* Measures a NAT's mapping and filtering with a STUN server (RFC 5780 sections 4.3 and 4.4). */
#ifndef CONESOCKS_CHECK_NAT_PROBE_H
#define CONESOCKS_CHECK_NAT_PROBE_H

#include "check/nat.h"
#include "check/peer/ask.h"

struct nat_probe {
    bool answered;               /* by the primary place, or there is nothing else */
    const char *lacks;           /* what the server lacks to measure more; NULL: nothing */
    bool one_address;            /* that is what it lacks: its two ports have measured what they can */
    union netaddr other_address; /* AF_UNSPEC: it has none */
    union netaddr disguise;      /* the wrong origin that an answer from elsewhere names; AF_UNSPEC: none does */
    struct nat_observations seen;
};

/* Over a channel that has not sent anything yet. Takes up to three times STUN_PATIENCE where much is filtered. */
void nat_probe(struct nat_probe *probe, const struct server_line *line);
/* What is missing in a server at `primary`, whose other address is `other` by its own account; NULL: nothing. */
const char *nat_probe_lacks(const union netaddr *primary, const union netaddr *other);

#endif
