/*
 * Decides the type of a NAT (RFC 4787) from what was observed (RFC 5780). Pure: nat_probe.c does the measuring.
 *
 * What was not observed is unknown, and nothing is concluded from an answer that a server did not give for reasons of
 * its own. A STUN server with two addresses and two ports answers at four places:
 */
#ifndef CONESOCKS_CHECK_NAT_H
#define CONESOCKS_CHECK_NAT_H

#include <stdbool.h>

#include "base/netaddr.h"

enum nat_place {
    NAT_PRIMARY,       /* where the first question goes */
    NAT_OTHER_PORT,    /* the same address */
    NAT_OTHER_ADDRESS, /* the same port */
    NAT_OTHER_BOTH,
    NAT_PLACES,
};

/* Whether an answer came that the server was asked to send from elsewhere. */
enum nat_seen { NAT_NOT_ASKED, NAT_ARRIVED, NAT_SILENT };

struct nat_observations {
    union netaddr mapped[NAT_PLACES]; /* our address as each place sees it; AF_UNSPEC: no answer */
    /* From those two, before anything was sent there. */
    enum nat_seen from_other_both, from_other_port;
    /* Again, after something was sent there: then every filter lets it in, unless the server never sends it. */
    enum nat_seen proof_other_both, proof_other_port;
};

enum nat_behaviour {
    NAT_UNKNOWN,
    NAT_ENDPOINT_INDEPENDENT,
    NAT_ADDRESS_DEPENDENT,
    NAT_ADDRESS_AND_PORT_DEPENDENT,
    NAT_DEPENDENT, /* one of the last two */
    NAT_BEHAVIOURS,
};

enum nat_type { NAT_TYPE_UNKNOWN, NAT_OPEN, NAT_MODERATE, NAT_STRICT, NAT_TYPES };

struct nat_verdict {
    enum nat_behaviour mapping, filtering;
    enum nat_type type;
};

struct nat_verdict nat_judge(const struct nat_observations *seen);
enum nat_type nat_judge_type(enum nat_behaviour mapping, enum nat_behaviour filtering);

const char *nat_behaviour_name(enum nat_behaviour behaviour);
/* The name from before RFC 4787: "Full cone", "Port-restricted cone" ... */
const char *nat_cone_name(const struct nat_verdict *verdict);
/* The name on game consoles: "Open / A / 1". */
const char *nat_type_name(enum nat_type type);

#endif
