/* The probes of RFC 5780 sections 4.3 and 4.4, over a channel that has not sent anything yet; `key` as a stun_question
 * has it. */
#ifndef CONESOCKS_CHECK_NAT_PROBE_H
#define CONESOCKS_CHECK_NAT_PROBE_H

#include "check/channel.h"
#include "check/nat.h"

struct nat_probe {
    bool answered;               /* by the primary place, or there is nothing else */
    const char *lacks;           /* why a server cannot tell more; NULL: it can */
    bool one_address;            /* that is what it lacks: its two ports have told what they can */
    union netaddr other_address; /* AF_UNSPEC: it has none */
    union netaddr disguise;      /* whom an answer from elsewhere names as its origin, wrongly; AF_UNSPEC: none does */
    struct nat_observations seen;
};

/* Takes up to three times STUN_PATIENCE where much is filtered. */
void nat_probe(struct nat_probe *probe, struct channel *channel, const union netaddr *stun_server, const char *key,
               struct datagram *room);

#endif
