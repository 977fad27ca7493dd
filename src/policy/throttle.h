/*
 * Who fails too often has to wait: a token bucket per client address, where IPv6 counts by /64, which is what one
 * subscriber gets. Belongs to one thread.
 */
#ifndef CONESOCKS_POLICY_THROTTLE_H
#define CONESOCKS_POLICY_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

/* Addresses remembered; beyond that the one whose last failure is longest ago is forgotten. */
#define THROTTLE_ADDRESSES_MAX 4096

struct throttle;

/* So many failures a minute are free, all at once or spread; 0: any number. NULL: no memory. */
struct throttle *throttle_new(uint32_t per_minute);
void throttle_free(struct throttle *throttle);
/* Another number from now on; failures of before go on counting. */
void throttle_set(struct throttle *throttle, uint32_t per_minute);
/* Takes note of a failure. */
void throttle_fail(struct throttle *throttle, const union netaddr *client, uint64_t now_ms);
/* Has the address used up what is free? */
bool throttle_blocks(const struct throttle *throttle, const union netaddr *client, uint64_t now_ms);
/* Do both count as one? */
bool throttle_same(const union netaddr *a, const union netaddr *b);

#endif
