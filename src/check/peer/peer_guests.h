/*
 * The clients of a test server that have shown its key, and how many bytes each has paid for.
 *
 * A guest is sent no more bytes than came from it (attack row 35), and all together at most PEER_BYTES_PER_SECOND.
 * Pure: no clock, no allocation.
 */
#ifndef CONESOCKS_CHECK_PEER_GUESTS_H
#define CONESOCKS_CHECK_PEER_GUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define PEER_GUESTS_MAX       128
#define PEER_STAY_MS          60000 /* how long a guest stays after its last request */
#define PEER_CREDIT_MAX       (256 * 1024)
#define PEER_BYTES_PER_SECOND (8 * 1024 * 1024)

struct peer_guest {
    union netaddr address; /* and its port */
    uint64_t until_ms;
    uint32_t credit; /* bytes that came in and were not answered */
    uint32_t plain_count;
    uint16_t plain_last, fragment;
};

/* All zero: no guests. */
struct peer_guests {
    struct peer_guest rows[PEER_GUESTS_MAX];
    uint64_t second, sent; /* bytes sent in that second */
};

/* Admits the sender of a request with the key for at least `stay_ms` from now. When all rows are taken, the guest that
 * would leave first makes room. Never NULL. */
struct peer_guest *peer_guests_admit(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms,
                                     uint64_t stay_ms);
/* NULL: the address is no guest's. */
struct peer_guest *peer_guests_find(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms);

/* Adds the bytes that came in to its credit. */
void peer_guest_pays(struct peer_guest *guest, size_t len);
/* Takes bytes from its credit to send them. false: there is not enough, send nothing. */
bool peer_guests_spend(struct peer_guests *guests, struct peer_guest *guest, size_t len, uint64_t now_ms);

#endif
