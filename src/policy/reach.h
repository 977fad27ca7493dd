/*
 * Where a client may go when no rule says otherwise: what it could reach without us, and never by accident the
 * proxy's own host or network. See "Reach" in conesocks.yaml(5).
 */
#ifndef CONESOCKS_POLICY_REACH_H
#define CONESOCKS_POLICY_REACH_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* What kind of place an address is (RFC 6890 and its registries). Of a canonical address. */
enum reach_place {
    REACH_PUBLIC,
    REACH_PRIVATE,     /* RFC 1918, RFC 4193, and 100.64.0.0/10 (RFC 6598) */
    REACH_LOOPBACK,    /* 127.0.0.0/8, ::1 */
    REACH_LINK_LOCAL,  /* 169.254.0.0/16, fe80::/10 */
    REACH_METADATA,    /* 169.254.169.254 and its like: a cloud's services for the host itself, with its secrets */
    REACH_UNSPECIFIED, /* 0.0.0.0/8, ::: they reach the host itself */
    REACH_MULTICAST,
    REACH_BROADCAST,
    REACH_RESERVED, /* documentation, benchmarking, 240.0.0.0/4, discard, deprecated site-local and the like */
};

enum reach_place reach_place_of(const union netaddr *canonical);
/* How many bits the prefix has that makes an address such a place; 0: none does. */
unsigned reach_place_bits(const union netaddr *canonical);
/* The i-th address at which such a prefix begins, or that is the first behind one; false: there are no more. */
bool reach_piece(size_t i, union netaddr *address);
const char *reach_place_name(enum reach_place place);

/* What a setting comes to for a client: `auto` is settled by where it is. */
enum config_reach reach_for(enum config_reach reach, const union netaddr *client);

/* Whether nobody may send there, whatever the configuration says. */
bool reach_never(enum reach_place place);

/*
 * May `client` reach `destination`? Multicast, broadcast, the unspecified address and no address at all are denied to
 * everybody under every setting. On "no", `*place` says what kind of place was refused.
 *
 * The destination is made canonical here, the client only unmapped: an IPv4 address inside a 6to4 or NAT64 address says
 * where a packet to it ends, but not where one from it began.
 */
bool reach_allowed(enum config_reach reach, const union netaddr *client, const union netaddr *destination,
                   enum reach_place *place);

#endif
