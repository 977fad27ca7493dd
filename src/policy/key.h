/* An address as a number of 128 bits, to compare and sort addresses of one family. */
#ifndef CONESOCKS_POLICY_KEY_H
#define CONESOCKS_POLICY_KEY_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/netaddr.h"

struct key {
    uint64_t high, low;
};

/* An IPv4 address is in the upper 32 bits. */
static inline struct key key_of(const union netaddr *address)
{
    if (address->sa.sa_family == AF_INET)
        return (struct key){(uint64_t)be32toh(address->v4.sin_addr.s_addr) << 32, 0};
    struct key key;
    memcpy(&key, &address->v6.sin6_addr, sizeof(key));
    return (struct key){be64toh(key.high), be64toh(key.low)};
}

/* The address of a family that has this key; port 0. */
static inline union netaddr key_address(struct key key, int family)
{
    const uint64_t bytes[2] = {htobe64(key.high), htobe64(key.low)};
    return netaddr_from_bytes((const uint8_t *)bytes, family == AF_INET ? 4 : 16, 0);
}

static inline bool key_less(struct key a, struct key b)
{
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

static inline bool key_equal(struct key a, struct key b)
{
    return a.high == b.high && a.low == b.low;
}

/* The last address whose first `bits` are those of `key`. */
static inline struct key key_last(struct key key, unsigned bits)
{
    if (bits < 64)
        return (struct key){key.high | UINT64_MAX >> bits, UINT64_MAX};
    if (bits < 128)
        key.low |= UINT64_MAX >> (bits - 64);
    return key;
}

/* The one after; zero after the last of all. */
static inline struct key key_next(struct key key)
{
    key.low++;
    key.high += key.low == 0;
    return key;
}

#endif
