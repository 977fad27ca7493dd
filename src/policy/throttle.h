/*
 * Limits failed logins: a client that fails too often has to wait. It is a token bucket for each client address, where
 * an IPv6 /64 counts as one, and a larger one for each network, against clients with many addresses. It has no
 * lock.
 */
#ifndef CONESOCKS_POLICY_THROTTLE_H
#define CONESOCKS_POLICY_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

/* How many addresses and networks are remembered. Beyond, the one whose last failure is longest ago is forgotten. */
#define THROTTLE_ADDRESSES_MAX 4096

/* What counts as one client. */
enum throttle_width {
    THROTTLE_ADDRESS, /* an IPv4 address or IPv6 /64 */
    THROTTLE_NETWORK, /* an IPv4 /24 or IPv6 /48, as one customer can have */
};
/* A network may fail so many times more often than an address. */
#define THROTTLE_NETWORK_TIMES 8

struct throttle;

/* `per_minute`: how many failures of an address are free in a minute, at once or spread; 0: any number. NULL: no
 * memory.
 */
struct throttle *throttle_new(uint32_t per_minute);
void throttle_free(struct throttle *throttle);
/* Another number from now on; earlier failures still count. */
void throttle_set(struct throttle *throttle, uint32_t per_minute);
/* Counts a failure, for the address and for its network. */
void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms);
/* Whether the address, or its network, has used up its free failures. */
bool throttle_blocks(const struct throttle *throttle, enum throttle_width width, const union netaddr *client,
                     uint64_t now_ms);

#endif
