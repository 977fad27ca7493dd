/* How the sockets that face the internet leave this host, as the terms of a session say: interface, mark, DSCP. */
#ifndef CONESOCKS_PROXY_EGRESS_H
#define CONESOCKS_PROXY_EGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "net/sock.h"
#include "policy/terms.h"

static inline struct sock_egress egress_of(const struct terms *terms)
{
    struct sock_egress egress = {.mark = terms->mark, .dscp = terms->dscp, .from_network = terms->from_network};
    if (terms->interface)
        snprintf(egress.interface, sizeof(egress.interface), "%s", terms->interface);
    return egress;
}

/* Whether the system decides all of it. */
static inline bool egress_is_default(const struct terms *terms)
{
    return terms->mark == 0 && !terms->interface && terms->dscp == 0 && !terms->from_network;
}

#endif
