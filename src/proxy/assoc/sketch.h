/*
 * Estimates in eight bytes how many distinct destinations an association has had.
 *
 * Each destination sets one of 64 bits, always the same one. The number of bits that are set tells about how many
 * destinations there were (linear counting).
 */
#ifndef CONESOCKS_PROXY_ASSOC_SKETCH_H
#define CONESOCKS_PROXY_ASSOC_SKETCH_H

#include <stdint.h>
#include <string.h>

#include "base/netaddr.h"

/* The last step of MurmurHash3. It spreads neighbouring addresses and ports evenly over the bits. */
static inline uint64_t sketch_mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdU;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53U;
    return x ^ x >> 33;
}

static inline void sketch_add_hash(uint64_t *sketch, uint64_t hash)
{
    *sketch |= (uint64_t)1 << (hash >> 58);
}

static inline void sketch_add(uint64_t *sketch, const union netaddr *to)
{
    uint64_t halves[2];
    if (to->sa.sa_family == AF_INET) {
        sketch_add_hash(sketch, sketch_mix((uint64_t)to->v4.sin_addr.s_addr << 16 | to->v4.sin_port));
        return;
    }
    memcpy(halves, &to->v6.sin6_addr, sizeof(halves));
    sketch_add_hash(sketch, sketch_mix(sketch_mix(halves[0]) + halves[1] + to->v6.sin6_port));
}

/* A destination that is a name, which an upstream resolves. */
void sketch_add_name(uint64_t *sketch, const char *name, uint16_t port);

/* The largest estimate: it means this many destinations, or more. */
#define SKETCH_FULL 304
/* Exact for none and one, and within about a tenth for what a game or a call has. */
uint32_t sketch_estimate(uint64_t sketch);

#endif
