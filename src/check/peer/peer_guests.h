/*
 * Who has shown the far end its key, and how many bytes they have paid for: nobody is sent more than has come from them
 * (attack row 35), and all together no more than PEER_BYTES_PER_SECOND. Pure: no clock, no allocation.
 */
#ifndef CONESOCKS_CHECK_PEER_GUESTS_H
#define CONESOCKS_CHECK_PEER_GUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define PEER_GUESTS_MAX       128
#define PEER_STAY_MS          60000 /* how long a guest is one after its last request */
#define PEER_CREDIT_MAX       (256 * 1024)
#define PEER_BYTES_PER_SECOND (8 * 1024 * 1024)

struct peer_guest {
    union netaddr address; /* and its port */
    uint64_t until_ms;
    uint32_t credit; /* bytes that have come and not been answered */
    uint32_t plain_count;
    uint16_t plain_last, fragment;
};

/* All zero: nobody. */
struct peer_guests {
    struct peer_guest rows[PEER_GUESTS_MAX];
    uint64_t second, sent; /* bytes sent in that second */
};

/* After a request under the key, which stays until `stay_ms` from now at least. The one who would have to leave first
 * makes room. Never NULL. */
struct peer_guest *peer_guests_admit(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms,
                                     uint64_t stay_ms);
/* NULL: that is none. */
struct peer_guest *peer_guests_find(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms);

/* So many bytes have come. */
void peer_guest_pays(struct peer_guest *guest, size_t len);
/* May so many be sent? They are then taken as sent. */
bool peer_guests_spend(struct peer_guests *guests, struct peer_guest *guest, size_t len, uint64_t now_ms);

#endif
