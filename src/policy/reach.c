#include "policy/reach.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/util.h"
#include "policy/key.h"

/*
 * The IANA special-purpose address registries (RFC 6890 and its updates), multicast, and the addresses where clouds
 * serve their hosts. The first prefix that matches decides, so longer ones come first.
 */
static const struct {
    uint32_t prefix;
    unsigned bits;
    enum reach_place place;
} places_v4[] = {
    {0xa9fea9fe, 32, REACH_METADATA},  /* 169.254.169.254, of nearly every cloud */
    {0x646464c8, 32, REACH_METADATA},  /* 100.100.100.200, Alibaba's */
    {0xa83f8110, 32, REACH_METADATA},  /* 168.63.129.16, Azure's */
    {0xc00000c0, 32, REACH_METADATA},  /* 192.0.0.192, Oracle's in its older cloud */
    {0xffffffff, 32, REACH_BROADCAST}, /* 255.255.255.255 */
    {0x00000000, 8, REACH_UNSPECIFIED}, {0x0a000000, 8, REACH_PRIVATE},
    {0x64400000, 10, REACH_PRIVATE}, /* 100.64.0.0/10 */
    {0x7f000000, 8, REACH_LOOPBACK},    {0xa9fe0000, 16, REACH_LINK_LOCAL},
    {0xac100000, 12, REACH_PRIVATE},    {0xc0000000, 24, REACH_RESERVED}, /* 192.0.0.0/24, IETF protocols */
    {0xc0000200, 24, REACH_RESERVED},                                     /* 192.0.2.0/24, documentation */
    {0xc0586300, 24, REACH_RESERVED},                                     /* 192.88.99.0/24, 6to4 relays */
    {0xc0a80000, 16, REACH_PRIVATE},    {0xc6120000, 15, REACH_RESERVED}, /* 198.18.0.0/15, benchmarks */
    {0xc6336400, 24, REACH_RESERVED},                                     /* 198.51.100.0/24, documentation */
    {0xcb007100, 24, REACH_RESERVED},                                     /* 203.0.113.0/24, documentation */
    {0xe0000000, 4, REACH_MULTICAST},   {0xf0000000, 4, REACH_RESERVED},
};

/* The last two end the search: IANA has assigned 2000::/3 only. */
static const struct {
    uint64_t prefix[2];
    unsigned bits;
    enum reach_place place;
} places_v6[] = {
    {{0, 0}, 128, REACH_UNSPECIFIED},
    {{0, 1}, 128, REACH_LOOPBACK},
    {{0xfd000ec200000000, 0x0254}, 128, REACH_METADATA},     /* fd00:ec2::254, Amazon's */
    {{0xfd000ec200000000, 0x0023}, 128, REACH_METADATA},     /* fd00:ec2::23, Amazon's for containers */
    {{0xfd2000ce00000000, 0x0254}, 128, REACH_METADATA},     /* fd20:ce::254, Google's */
    {{0xfd00004200000000, 0x0042}, 128, REACH_METADATA},     /* fd00:42::42, Scaleway's */
    {{0xfd0000c100000000, 0xa9fea9fe}, 128, REACH_METADATA}, /* fd00:c1::a9fe:a9fe, Oracle's */
    {{0xfc00000000000000, 0}, 7, REACH_PRIVATE},
    {{0xfe80000000000000, 0}, 10, REACH_LINK_LOCAL},
    {{0xff00000000000000, 0}, 8, REACH_MULTICAST},
    {{0x2001000000000000, 0}, 23, REACH_RESERVED}, /* IETF protocols; Teredo, which ends at any IPv4 address */
    {{0x20010db800000000, 0}, 32, REACH_RESERVED}, /* documentation */
    {{0x2002000000000000, 0}, 16, REACH_RESERVED}, /* 6to4; canonical addresses are not */
    {{0x3fff000000000000, 0}, 20, REACH_RESERVED}, /* documentation */
    {{0x2000000000000000, 0}, 3, REACH_PUBLIC},
    {{0, 0}, 0, REACH_RESERVED},
};

/* The place of most datagrams' addresses follows from the first byte alone. false: it does not. */
static bool place_of_first_byte(uint32_t host, enum reach_place *place, unsigned *bits)
{
    *bits = 8;
    switch (host >> 24) {
    case 10:
        *place = REACH_PRIVATE;
        return true;
    case 127:
        *place = REACH_LOOPBACK;
        return true;
    case 0:
    case 100:
    case 168:
    case 169:
    case 172:
    case 192:
    case 198:
    case 203:
        return false;
    default:
        *bits = 0;
        *place = REACH_PUBLIC;
        return host >> 24 < 224;
    }
}

static enum reach_place place_of_v4(uint32_t host, unsigned *bits)
{
    enum reach_place place;
    if (place_of_first_byte(host, &place, bits))
        return place;
    *bits = 0;
    for (size_t i = 0; i < ARRAY_LEN(places_v4); i++)
        if ((host ^ places_v4[i].prefix) >> (32 - places_v4[i].bits) == 0) {
            *bits = places_v4[i].bits;
            return places_v4[i].place;
        }
    return REACH_PUBLIC;
}

static bool prefix_fits_v6(const uint64_t host[2], const uint64_t prefix[2], unsigned bits)
{
    uint64_t high = host[0] ^ prefix[0];
    if (bits == 128)
        return high == 0 && host[1] == prefix[1];
    return bits == 0 || high >> (64 - bits) == 0; /* none between 65 and 127 */
}

static enum reach_place place_of_v6(const struct in6_addr *address, unsigned *bits)
{
    uint64_t host[2];
    memcpy(host, address, sizeof(host));
    host[0] = be64toh(host[0]);
    host[1] = be64toh(host[1]);
    size_t i = 0;
    for (; !prefix_fits_v6(host, places_v6[i].prefix, places_v6[i].bits); i++)
        assert(i + 1 < ARRAY_LEN(places_v6));
    *bits = places_v6[i].bits;
    return places_v6[i].place;
}

static enum reach_place place_find(const union netaddr *canonical, unsigned *bits)
{
    switch (canonical->sa.sa_family) {
    case AF_INET:
        return place_of_v4(ntohl(canonical->v4.sin_addr.s_addr), bits);
    case AF_INET6:
        return place_of_v6(&canonical->v6.sin6_addr, bits);
    default:
        *bits = 0;
        return REACH_UNSPECIFIED;
    }
}

enum reach_place reach_place_of(const union netaddr *canonical)
{
    unsigned bits;
    return place_find(canonical, &bits);
}

unsigned reach_place_bits(const union netaddr *canonical)
{
    unsigned bits;
    place_find(canonical, &bits);
    return bits;
}

bool reach_piece(size_t i, union netaddr *address)
{
    const size_t v4_count = ARRAY_LEN(places_v4), at = i / 2;
    if (at >= v4_count + ARRAY_LEN(places_v6))
        return false;
    const bool v4 = at < v4_count;
    const uint64_t *v6 = v4 ? NULL : places_v6[at - v4_count].prefix;
    struct key key = v4 ? (struct key){(uint64_t)places_v4[at].prefix << 32, 0} : (struct key){v6[0], v6[1]};
    if (i % 2 == 0)
        key = key_next(key_last(key, v4 ? places_v4[at].bits : places_v6[at - v4_count].bits));
    *address = key_address(key, v4 ? AF_INET : AF_INET6);
    return true;
}

const char *reach_place_name(enum reach_place place)
{
    switch (place) {
    case REACH_PUBLIC:
        return "public";
    case REACH_PRIVATE:
        return "private";
    case REACH_LOOPBACK:
        return "loopback";
    case REACH_LINK_LOCAL:
        return "link-local";
    case REACH_METADATA:
        return "metadata service";
    case REACH_UNSPECIFIED:
        return "unspecified";
    case REACH_MULTICAST:
        return "multicast";
    case REACH_BROADCAST:
        return "broadcast";
    case REACH_RESERVED:
        break;
    }
    return "reserved";
}

/* What a client could reach without the proxy. */
static enum config_reach reach_of_client(const union netaddr *client)
{
    union netaddr plain = *client;
    netaddr_unmap(&plain);
    switch (reach_place_of(&plain)) {
    case REACH_LOOPBACK:
        return CONFIG_REACH_ALL;
    case REACH_PRIVATE:
    case REACH_LINK_LOCAL:
        return CONFIG_REACH_PRIVATE;
    default:
        return CONFIG_REACH_PUBLIC;
    }
}

enum config_reach reach_for(enum config_reach reach, const union netaddr *client)
{
    return reach == CONFIG_REACH_AUTO ? reach_of_client(client) : reach;
}

bool reach_never(enum reach_place place)
{
    return place == REACH_UNSPECIFIED || place == REACH_MULTICAST || place == REACH_BROADCAST;
}

bool reach_allowed(enum config_reach reach, const union netaddr *client, const union netaddr *destination,
                   enum reach_place *place)
{
    union netaddr canonical = netaddr_canonical(destination);
    *place = reach_place_of(&canonical);
    if (*place == REACH_PUBLIC)
        return true;
    if (reach_never(*place))
        return false;
    reach = reach_for(reach, client);
    return reach == CONFIG_REACH_ALL || (reach == CONFIG_REACH_PRIVATE && *place == REACH_PRIVATE);
}
