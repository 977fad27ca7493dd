/*
 * Which addresses a client may reach where no rule decides: by default those that it could reach without the proxy, and
 * not the proxy's own host or network by accident. See `reach` in conesocks.yaml(5).
 */
#ifndef CONESOCKS_POLICY_REACH_H
#define CONESOCKS_POLICY_REACH_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* What kind of address it is (RFC 6890 and its registries). All below take canonical addresses. */
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
/* The length of the prefix that makes the address that kind; 0: no prefix does. */
unsigned reach_place_bits(const union netaddr *canonical);
/* The i-th of all addresses at which such a prefix begins, or which follow its last address; false: no more. */
bool reach_piece(size_t i, union netaddr *address);
const char *reach_place_name(enum reach_place place);

/* What `reach` means for a client: `auto` depends on its address. */
enum config_reach reach_for(enum config_reach reach, const union netaddr *client);

/* Whether nothing allows such a destination. */
bool reach_never(enum reach_place place);

/*
 * Whether `client` may reach `destination`; `*place` gets the kind of address that it is. Multicast, broadcast, the
 * unspecified address and no address at all are always denied.
 *
 * The destination is made canonical here, the client only unmapped: an IPv4 address inside a 6to4 or NAT64 address
 * shows where a packet to it arrives, but not where one from it comes from.
 */
bool reach_allowed(enum config_reach reach, const union netaddr *client, const union netaddr *destination,
                   enum reach_place *place);

#endif
