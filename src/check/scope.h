/* Where an address means something. */
#ifndef CONESOCKS_CHECK_SCOPE_H
#define CONESOCKS_CHECK_SCOPE_H

#include "base/netaddr.h"

/* `SCOPE_PRIVATE`: of one network: RFC 1918, 6598 (carrier-grade NAT), 3927 and 4193, and link-local. */
enum scope { SCOPE_NONE, SCOPE_HOST, SCOPE_PRIVATE, SCOPE_PUBLIC };

enum scope scope_of(const union netaddr *address);
/* Whether it is one of this machine's own. */
bool scope_is_ours(const union netaddr *address);

#endif
