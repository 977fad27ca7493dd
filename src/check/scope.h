/* How far an IP address is valid: on this host, in one private network, or everywhere. */
#ifndef CONESOCKS_CHECK_SCOPE_H
#define CONESOCKS_CHECK_SCOPE_H

#include "base/netaddr.h"

/* From the narrowest to the widest. `SCOPE_PRIVATE`: RFC 1918, 6598 (carrier-grade NAT), 3927 and 4193, and link-local.
 */
enum address_scope { SCOPE_NONE, SCOPE_HOST, SCOPE_PRIVATE, SCOPE_PUBLIC };

enum address_scope scope_of(const union netaddr *address);
/* Whether it is valid beyond this host and its links. */
bool scope_is_beyond_link(const union netaddr *address);

#endif
