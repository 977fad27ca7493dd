/* The SOCKS header of the datagrams to and from one target. */
#ifndef CONESOCKS_BENCH_ORIGIN_H
#define CONESOCKS_BENCH_ORIGIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

struct origin {
    union netaddr address;
    uint8_t header[SOCKS5_UDP_HEADER_V6];
    size_t header_len;
};

struct origin origin_of(const union netaddr *address);

/* Of a target that is spoken to without a server: its header is empty. */
struct origin origin_direct(const union netaddr *address);

/* The length of the datagram's header, < 0 when it has none; `*match` says whether it names this target. */
int origin_check(const struct origin *origin, const uint8_t *datagram, size_t len, bool *match);

#endif
