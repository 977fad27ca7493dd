#include "check/peer/peer_guests.h"

#include <assert.h>

struct peer_guest *peer_guests_find(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms)
{
    for (size_t i = 0; i < PEER_GUESTS_MAX; i++)
        if (guests->rows[i].until_ms > now_ms && netaddr_equal(&guests->rows[i].address, address))
            return &guests->rows[i];
    return NULL;
}

struct peer_guest *peer_guests_admit(struct peer_guests *guests, const union netaddr *address, uint64_t now_ms,
                                     uint64_t stay_ms)
{
    struct peer_guest *guest = peer_guests_find(guests, address, now_ms);
    if (!guest) {
        guest = &guests->rows[0];
        for (size_t i = 1; i < PEER_GUESTS_MAX; i++)
            if (guests->rows[i].until_ms < guest->until_ms)
                guest = &guests->rows[i];
        *guest = (struct peer_guest){.address = *address};
    }
    if (guest->until_ms < now_ms + stay_ms)
        guest->until_ms = now_ms + stay_ms;
    return guest;
}

void peer_guest_pays(struct peer_guest *guest, size_t len)
{
    assert(guest->credit <= PEER_CREDIT_MAX);
    guest->credit = len > PEER_CREDIT_MAX - guest->credit ? PEER_CREDIT_MAX : guest->credit + (uint32_t)len;
}

bool peer_guests_spend(struct peer_guests *guests, struct peer_guest *guest, size_t len, uint64_t now_ms)
{
    if (guests->second != now_ms / 1000) {
        guests->second = now_ms / 1000;
        guests->sent = 0;
    }
    assert(guests->sent <= PEER_BYTES_PER_SECOND);
    if (len > guest->credit || len > PEER_BYTES_PER_SECOND - guests->sent)
        return false;
    guest->credit -= (uint32_t)len;
    guests->sent += len;
    return true;
}
