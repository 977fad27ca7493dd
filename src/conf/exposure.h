/* Who can reach an address. */
#ifndef CONESOCKS_CONF_EXPOSURE_H
#define CONESOCKS_CONF_EXPOSURE_H

#include "base/netaddr.h"

/* Judged by the address alone. */
enum exposure { EXPOSURE_HOST, EXPOSURE_NETWORK, EXPOSURE_WORLD };

enum exposure exposure_of(const union netaddr *address);

#endif
