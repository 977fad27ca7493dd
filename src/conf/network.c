#include "conf/network.h"

#include <assert.h>
#include <string.h>

/* htonl() for constant expressions. */
#define BE32(n) (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap32(n) : (n))
#define IPV4(host, bits_)                                                                                              \
    {                                                                                                                  \
        .address.v4 = {.sin_family = AF_INET, .sin_addr.s_addr = BE32(host)}, .bits = (bits_)                          \
    }
const struct config_network config_private_networks[CONFIG_PRIVATE_NETWORKS] = {
    IPV4(0x0a000000, 8),
    IPV4(0xac100000, 12),
    IPV4(0xc0a80000, 16),
    IPV4(0x64400000, 10),
    {.address.v6 = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {0xfc}}, .bits = 7},
};

bool config_network_contains(const struct config_network *network, const union netaddr *host)
{
    size_t len, other_len;
    const uint8_t *a = netaddr_host(&network->address, &len), *b = netaddr_host(host, &other_len);
    if (len != other_len)
        return false;
    assert(network->bits <= 8 * len);
    size_t whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}
