/*
 * Who fails too often has to wait: a token bucket per client address, where IPv6 counts by /64, which is what one
 * subscriber gets, and a larger one per network, for whoever has many addresses. Belongs to one thread.
 */
#ifndef CONESOCKS_POLICY_THROTTLE_H
#define CONESOCKS_POLICY_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

/* Addresses and networks remembered; beyond that the one whose last failure is longest ago is forgotten. */
#define THROTTLE_ADDRESSES_MAX 4096

/* What is counted as one. */
enum throttle_width {
    THROTTLE_ADDRESS, /* an IPv4 address or IPv6 /64 */
    THROTTLE_NETWORK, /* an IPv4 /24 or IPv6 /48: what a host can have for itself, or at its provider */
};
/* A network may fail so many times more often than an address. */
#define THROTTLE_NETWORK_TIMES 8

struct throttle;

/* So many failures of an address a minute are free, all at once or spread; 0: any number. NULL: no memory. */
struct throttle *throttle_new(uint32_t per_minute);
void throttle_free(struct throttle *throttle);
/* Another number from now on; failures of before go on counting. */
void throttle_set(struct throttle *throttle, uint32_t per_minute);
/* Takes note of a failure, of the address and of its network. */
void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms);
/* Has the address, or its network, used up what is free? */
bool throttle_blocks(const struct throttle *throttle, enum throttle_width width, const union netaddr *client,
                     uint64_t now_ms);
/* Do both count as one? */
bool throttle_same(enum throttle_width width, const union netaddr *a, const union netaddr *b);

#endif
