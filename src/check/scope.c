#include "check/scope.h"

#include "base/util.h"
#include "check/io.h"

static enum scope scope_of_v4(const uint8_t *host)
{
    if (host[0] == 127)
        return SCOPE_HOST;
    bool is_private = host[0] == 10 || (host[0] == 172 && host[1] >> 4 == 1) || (host[0] == 192 && host[1] == 168) ||
                      (host[0] == 100 && host[1] >> 6 == 1) || (host[0] == 169 && host[1] == 254);
    return is_private ? SCOPE_PRIVATE : SCOPE_PUBLIC;
}

enum scope scope_of(const union netaddr *address)
{
    union netaddr plain = *address;
    size_t len;
    netaddr_unmap(&plain);
    const uint8_t *host = netaddr_host(&plain, &len);
    if (!host || netaddr_is_any(&plain))
        return SCOPE_NONE;
    if (len == 4)
        return scope_of_v4(host);
    if (IN6_IS_ADDR_LOOPBACK(&plain.v6.sin6_addr))
        return SCOPE_HOST;
    return (host[0] & 0xfe) == 0xfc || IN6_IS_ADDR_LINKLOCAL(&plain.v6.sin6_addr) ? SCOPE_PRIVATE : SCOPE_PUBLIC;
}

bool scope_is_ours(const union netaddr *address)
{
    union netaddr source = io_source_for(address);
    return netaddr_equal_host(&source, address);
}
