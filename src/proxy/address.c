#include "proxy/address.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "net/resolver.h"

static_assert(NAME_TEXT_MAX > UINT8_MAX, "a name's length on the wire is one byte");

static enum address_kind address_read_name(const struct socks5_addr *in, union netaddr *addr, char *name)
{
    size_t len = in->host_len;
    if (memchr(in->host, '\0', len))
        return ADDRESS_BAD;
    const uint8_t *host = in->host;
    bool bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    if (bracketed) {
        host++;
        len -= 2;
    }
    memcpy(name, host, len);
    name[len] = '\0';
    /* A scope would name one of our own interfaces. */
    if (!strchr(name, '%') && netaddr_parse(addr, name, in->port)) {
        netaddr_unmap(addr);
        return bracketed && addr->sa.sa_family == AF_INET ? ADDRESS_BAD : ADDRESS_IP;
    }
    if (bracketed || !resolver_name_valid(name, len))
        return ADDRESS_BAD;
    for (size_t i = 0; i < len; i++)
        name[i] = (char)tolower((unsigned char)name[i]);
    if (name[len - 1] == '.')
        name[len - 1] = '\0';
    return ADDRESS_NAME;
}

enum address_kind address_read(const struct socks5_addr *in, union netaddr *addr, char *name)
{
    if (in->atyp == SOCKS5_ATYP_NAME)
        return address_read_name(in, addr, name);
    *addr = netaddr_from_bytes(in->host, in->host_len, in->port);
    netaddr_unmap(addr);
    return ADDRESS_IP;
}

struct socks5_addr address_to_wire(const union netaddr *addr)
{
    static const uint8_t nowhere[4];
    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    if (!host)
        return (struct socks5_addr){.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = nowhere};
    assert(len == 4 || len == 16);
    return (struct socks5_addr){
        .atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6,
        .host_len = (uint8_t)len,
        .port = netaddr_port(addr),
        .host = host,
    };
}

enum socks5_reply address_reply_of(int error)
{
    switch (error) {
    case ENETUNREACH:
    case ENETDOWN:
    case ENODEV: /* outbound.interface */
    case EAFNOSUPPORT:
        return SOCKS5_REPLY_NETWORK_UNREACHABLE;
    case 0:
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return SOCKS5_REPLY_HOST_UNREACHABLE;
    case ECONNREFUSED:
    case ECONNRESET:
        return SOCKS5_REPLY_CONNECTION_REFUSED;
    case ETIMEDOUT:
        return SOCKS5_REPLY_TTL_EXPIRED;
    case EACCES:
    case EPERM:
        return SOCKS5_REPLY_NOT_ALLOWED;
    default:
        return SOCKS5_REPLY_GENERAL_FAILURE;
    }
}

uint16_t address_hint(const struct socks5_addr *hint, const union netaddr *client_host)
{
    if (hint->atyp == SOCKS5_ATYP_NAME)
        return 0;
    union netaddr addr = netaddr_from_bytes(hint->host, hint->host_len, 0);
    netaddr_unmap(&addr);
    return netaddr_is_any(&addr) || netaddr_equal_host(&addr, client_host) ? hint->port : 0;
}

union netaddr address_readable_by(const union netaddr *client, const union netaddr *bound)
{
    if (client->sa.sa_family != AF_INET || bound->sa.sa_family == AF_INET)
        return *bound;
    union netaddr port_only = netaddr_any(AF_INET);
    netaddr_set_port(&port_only, netaddr_port(bound));
    return port_only;
}
