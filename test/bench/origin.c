#include "origin.h"

#include <string.h>

struct origin origin_of(const union netaddr *address)
{
    struct origin origin = {.address = *address};
    size_t host_len;
    const uint8_t *host = netaddr_host(address, &host_len);
    struct socks5_udp_header header = {
        0, {host_len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6, (uint8_t)host_len, netaddr_port(address), host}};
    origin.header_len = socks5_udp_header_encode(origin.header, sizeof(origin.header), &header);
    return origin;
}

struct origin origin_direct(const union netaddr *address)
{
    return (struct origin){.address = *address};
}

int origin_check(const struct origin *origin, const uint8_t *datagram, size_t len, bool *match)
{
    *match = len >= origin->header_len && memcmp(datagram, origin->header, origin->header_len) == 0;
    if (*match)
        return (int)origin->header_len;
    struct socks5_udp_header header;
    int header_len = socks5_udp_header_decode(datagram, len, &header);
    if (header_len <= 0 || header.fragment != 0)
        return -1;
    if (header.destination.atyp != SOCKS5_ATYP_NAME) {
        /* A dual-stack server may say ::ffff:127.0.0.1, which is the same place. */
        union netaddr named =
            netaddr_from_bytes(header.destination.host, header.destination.host_len, header.destination.port);
        netaddr_unmap(&named);
        *match = netaddr_equal(&named, &origin->address);
    }
    return header_len;
}
