#include "conf/exposure.h"

#include <stdbool.h>

#include "conf/types.h"

enum exposure exposure_of(const union netaddr *address)
{
    union netaddr plain = *address;
    netaddr_unmap(&plain);
    if (config_is_interface(&plain))
        return EXPOSURE_NETWORK;
    size_t len;
    const uint8_t *host = netaddr_host(&plain, &len);
    if (len == 4) {
        if (host[0] == 127)
            return EXPOSURE_HOST;
        bool private =
            host[0] == 10 || (host[0] == 172 && (host[1] & 0xf0) == 16) || (host[0] == 192 && host[1] == 168);
        bool link_local = host[0] == 169 && host[1] == 254;
        return private || link_local ? EXPOSURE_NETWORK : EXPOSURE_WORLD;
    }
    if (IN6_IS_ADDR_LOOPBACK(&plain.v6.sin6_addr))
        return EXPOSURE_HOST;
    bool private = host[0] == 0xfd, link_local = IN6_IS_ADDR_LINKLOCAL(&plain.v6.sin6_addr);
    return private || link_local ? EXPOSURE_NETWORK : EXPOSURE_WORLD;
}
