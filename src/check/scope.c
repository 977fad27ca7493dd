#include "check/scope.h"

static bool is_link_local_v4(const uint8_t *host)
{
    return host[0] == 169 && host[1] == 254;
}

static enum address_scope scope_of_v4(const uint8_t *host)
{
    if (host[0] == 127)
        return SCOPE_HOST;
    bool is_private = host[0] == 10 || (host[0] == 172 && host[1] >> 4 == 1) || (host[0] == 192 && host[1] == 168) ||
                      (host[0] == 100 && host[1] >> 6 == 1) || is_link_local_v4(host);
    return is_private ? SCOPE_PRIVATE : SCOPE_PUBLIC;
}

enum address_scope scope_of(const union netaddr *address)
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

bool scope_is_beyond_link(const union netaddr *address)
{
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    if (scope_of(address) < SCOPE_PRIVATE)
        return false;
    return len == 4 ? !is_link_local_v4(host) : !IN6_IS_ADDR_LINKLOCAL(&address->v6.sin6_addr);
}
