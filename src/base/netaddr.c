#include "base/netaddr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

bool netaddr_parse(union netaddr *addr, const char *text, uint16_t port)
{
    union netaddr parsed = {0};
    if (inet_pton(AF_INET, text, &parsed.v4.sin_addr) == 1) {
        parsed.v4.sin_family = AF_INET;
        parsed.v4.sin_port = htons(port);
        *addr = parsed;
        return true;
    }
    char host[INET6_ADDRSTRLEN];
    const char *scope = strchr(text, '%');
    size_t host_len = scope ? (size_t)(scope - text) : strlen(text);
    if (host_len >= sizeof(host))
        return false;
    memcpy(host, text, host_len);
    host[host_len] = '\0';
    parsed = (union netaddr){0};
    if (inet_pton(AF_INET6, host, &parsed.v6.sin6_addr) != 1)
        return false;
    if (scope) {
        if (!IN6_IS_ADDR_LINKLOCAL(&parsed.v6.sin6_addr))
            return false;
        parsed.v6.sin6_scope_id = if_nametoindex(scope + 1);
        if (parsed.v6.sin6_scope_id == 0)
            return false;
    }
    parsed.v6.sin6_family = AF_INET6;
    parsed.v6.sin6_port = htons(port);
    *addr = parsed;
    return true;
}

static_assert(NETADDR_TEXT_MAX >= INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("[%]:65535"), "any address fits");

union netaddr netaddr_from_bytes(const uint8_t *host, size_t host_len, uint16_t port)
{
    union netaddr addr = {0};
    if (host_len == 4) {
        addr.v4.sin_family = AF_INET;
        addr.v4.sin_port = htons(port);
        memcpy(&addr.v4.sin_addr, host, 4);
    } else if (host_len == 16) {
        addr.v6.sin6_family = AF_INET6;
        addr.v6.sin6_port = htons(port);
        memcpy(&addr.v6.sin6_addr, host, 16);
    }
    return addr;
}

union netaddr netaddr_any(int family)
{
    static const uint8_t zero[16];
    return netaddr_from_bytes(zero, family == AF_INET ? 4 : 16, 0);
}

const char *netaddr_format_host(const union netaddr *addr, char *text)
{
    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    if (!host) {
        snprintf(text, NETADDR_TEXT_MAX, "none");
        return text;
    }
    inet_ntop(addr->sa.sa_family, host, text, INET6_ADDRSTRLEN);
    char name[IF_NAMESIZE];
    if (addr->sa.sa_family == AF_INET6 && addr->v6.sin6_scope_id && if_indextoname(addr->v6.sin6_scope_id, name)) {
        size_t used = strlen(text);
        snprintf(text + used, NETADDR_TEXT_MAX - used, "%%%s", name);
    }
    return text;
}

const char *netaddr_format(const union netaddr *addr, char *text)
{
    if (addr->sa.sa_family != AF_INET && addr->sa.sa_family != AF_INET6)
        return netaddr_format_host(addr, text);
    char host[NETADDR_TEXT_MAX];
    netaddr_format_host(addr, host);
    snprintf(text, NETADDR_TEXT_MAX, addr->sa.sa_family == AF_INET ? "%.70s:%u" : "[%.70s]:%u", host,
             (unsigned)netaddr_port(addr));
    return text;
}

socklen_t netaddr_len(const union netaddr *addr)
{
    return addr->sa.sa_family == AF_INET ? sizeof(addr->v4) : sizeof(addr->v6);
}

uint16_t netaddr_port(const union netaddr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return ntohs(addr->v4.sin_port);
    return addr->sa.sa_family == AF_INET6 ? ntohs(addr->v6.sin6_port) : 0;
}

void netaddr_set_port(union netaddr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET)
        addr->v4.sin_port = htons(port);
    else if (addr->sa.sa_family == AF_INET6)
        addr->v6.sin6_port = htons(port);
}

const uint8_t *netaddr_host(const union netaddr *addr, size_t *len)
{
    switch (addr->sa.sa_family) {
    case AF_INET:
        *len = 4;
        return (const uint8_t *)&addr->v4.sin_addr;
    case AF_INET6:
        *len = 16;
        return (const uint8_t *)&addr->v6.sin6_addr;
    default:
        *len = 0;
        return NULL;
    }
}

bool netaddr_is_any(const union netaddr *addr)
{
    static const uint8_t zero[16];
    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    return host && memcmp(host, zero, len) == 0;
}

bool netaddr_equal_host(const union netaddr *a, const union netaddr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    if (a->sa.sa_family != AF_INET6)
        return true;
    if (memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) != 0)
        return false;
    bool scoped = IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) ||
                  (IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr) && a->v6.sin6_scope_id && b->v6.sin6_scope_id);
    return !scoped || a->v6.sin6_scope_id == b->v6.sin6_scope_id;
}

bool netaddr_equal(const union netaddr *a, const union netaddr *b)
{
    return netaddr_equal_host(a, b) && netaddr_port(a) == netaddr_port(b);
}

int netaddr_compare(const union netaddr *a, const union netaddr *b)
{
    size_t len, other_len;
    const uint8_t *host = netaddr_host(a, &len), *other = netaddr_host(b, &other_len);
    if (netaddr_port(a) != netaddr_port(b))
        return netaddr_port(a) < netaddr_port(b) ? -1 : 1;
    if (len != other_len)
        return len < other_len ? -1 : 1;
    const int order = len ? memcmp(host, other, len) : 0;
    if (order != 0 || a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr))
        return order;
    return (a->v6.sin6_scope_id > b->v6.sin6_scope_id) - (a->v6.sin6_scope_id < b->v6.sin6_scope_id);
}

static bool netaddr_covers(const union netaddr *wide, const union netaddr *narrow)
{
    return netaddr_is_any(wide) && (wide->sa.sa_family == AF_INET6 || narrow->sa.sa_family == AF_INET);
}

bool netaddr_overlaps(const union netaddr *a, const union netaddr *b)
{
    return netaddr_port(a) == netaddr_port(b) && (netaddr_equal(a, b) || netaddr_covers(a, b) || netaddr_covers(b, a));
}

bool netaddr_equal_network(const union netaddr *a, const union netaddr *b)
{
    return a->sa.sa_family == AF_INET6 && b->sa.sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr) &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr) / 2) == 0;
}

void netaddr_unmap(union netaddr *addr)
{
    if (addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->v6.sin6_addr))
        *addr = netaddr_from_bytes(addr->v6.sin6_addr.s6_addr + 12, 4, netaddr_port(addr));
}

struct netaddr_subscriber netaddr_subscriber(const union netaddr *addr)
{
    struct netaddr_subscriber subscriber = {0};
    union netaddr plain = *addr;
    size_t len, room = sizeof(subscriber.bytes) - 1;
    netaddr_unmap(&plain);
    const uint8_t *host = netaddr_host(&plain, &len);
    subscriber.bytes[0] = (uint8_t)len; /* so that families do not meet */
    if (host)
        memcpy(&subscriber.bytes[1], host, len < room ? len : room);
    return subscriber;
}

union netaddr netaddr_of_subscriber(const struct netaddr_subscriber *subscriber)
{
    uint8_t host[16] = {0};
    memcpy(host, &subscriber->bytes[1], sizeof(subscriber->bytes) - 1);
    return netaddr_from_bytes(host, subscriber->bytes[0], 0);
}

union netaddr netaddr_canonical(const union netaddr *addr)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (addr->sa.sa_family != AF_INET6)
        return *addr;
    const uint8_t *host = addr->v6.sin6_addr.s6_addr;
    uint16_t port = netaddr_port(addr);
    if (IN6_IS_ADDR_V4MAPPED(&addr->v6.sin6_addr) || memcmp(host, nat64, sizeof(nat64)) == 0)
        return netaddr_from_bytes(host + 12, 4, port);
    if (IN6_IS_ADDR_V4COMPAT(&addr->v6.sin6_addr)) /* not :: and ::1, which are themselves */
        return netaddr_from_bytes(host + 12, 4, port);
    if (host[0] == 0x20 && host[1] == 0x02)
        return netaddr_from_bytes(host + 2, 4, port);
    return *addr;
}
