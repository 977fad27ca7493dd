/*
 * An IPv4 or IPv6 socket address: parse, format, compare, make canonical.
 *
 * A union that the socket calls take as it is; `sa.sa_family` says which member holds. AF_UNSPEC (all zero) means
 * "none". Ports are in network byte order inside, in host order through netaddr_port() and netaddr_set_port().
 */
#ifndef CONESOCKS_BASE_NETADDR_H
#define CONESOCKS_BASE_NETADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

union netaddr {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Room for any formatted address with scope, port, brackets and the final NUL. */
#define NETADDR_TEXT_MAX 80

/* The index of AF_INET or AF_INET6 in arrays that have one member for each family. */
enum { FAMILY_V4, FAMILY_V6, FAMILY_COUNT };
static inline int family_index(int family)
{
    return family == AF_INET ? FAMILY_V4 : FAMILY_V6;
}

/* Parses an IPv4 or IPv6 literal (with %scope for link-local; no brackets, no port, no octal or short forms). */
bool netaddr_parse(union netaddr *addr, const char *text, uint16_t port);

/* Builds an address from 4 or 16 bytes in network order. */
union netaddr netaddr_from_bytes(const uint8_t *host, size_t host_len, uint16_t port);

/* The wildcard address of AF_INET or AF_INET6, port 0. */
union netaddr netaddr_any(int family);

/* "192.0.2.1:80", "[2001:db8::1%eth0]:80" or "none", into `text` (NETADDR_TEXT_MAX bytes), which is returned. */
const char *netaddr_format(const union netaddr *addr, char *text);
/* The same without port and brackets. */
const char *netaddr_format_host(const union netaddr *addr, char *text);

socklen_t netaddr_len(const union netaddr *addr);
uint16_t netaddr_port(const union netaddr *addr);
void netaddr_set_port(union netaddr *addr, uint16_t port);
/* The address bytes (4 or 16, in `*len`); NULL when there is none. */
const uint8_t *netaddr_host(const union netaddr *addr, size_t *len);
bool netaddr_is_any(const union netaddr *addr);

/* Same host and port; scope counts for link-local addresses when both name one, and always for "::": a listener at an
 * interface has that address, with the interface as its scope. */
bool netaddr_equal(const union netaddr *a, const union netaddr *b);
/* Whether one TCP listener's port is part of another's: equal, or the same port at a wildcard; :: covers IPv4 too. */
bool netaddr_overlaps(const union netaddr *a, const union netaddr *b);
bool netaddr_equal_host(const union netaddr *a, const union netaddr *b);
/* An order for sorting: by port, then by family, then by host. Scopes count for "::" only. */
int netaddr_compare(const union netaddr *a, const union netaddr *b);

/* Two IPv6 addresses of one network (/64), not link-local: they may be one host's, as temporary addresses are. */
bool netaddr_equal_network(const union netaddr *a, const union netaddr *b);

/* ::ffff:a.b.c.d becomes a.b.c.d; everything else stays. What a dual-stack socket reports is unmapped before any use.
 */
void netaddr_unmap(union netaddr *addr);

/* Who counts as one where clients are counted: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.
 * Plain bytes, to be compared by memcmp. */
struct netaddr_subscriber {
    uint8_t bytes[9];
};
struct netaddr_subscriber netaddr_subscriber(const union netaddr *addr);
/* Its address, with the port 0; of a /64 the first. */
union netaddr netaddr_of_subscriber(const struct netaddr_subscriber *subscriber);

/*
 * The address that a packet to `addr` reaches in the end, for policy: IPv4-mapped and -compatible (RFC 4291), 6to4
 * (RFC 3056) and NAT64 (RFC 6052, 64:ff9b::/96) become the IPv4 address inside. Not for sending to.
 */
union netaddr netaddr_canonical(const union netaddr *addr);

#endif
