#include "kernel/catch_up.h"

#include <poll.h>

/* What `received` gets in addition while it is not known how many wait: more than ever do, so that the counts cannot
 * become equal by chance. */
#define UNEQUAL ((uint64_t)1 << 40)

/* The program reads one count and writes the other at the same time. */
static uint64_t count_passed(const struct flow_slot *slot, enum flow_way way)
{
    return __atomic_load_n(&slot->count[way].passed, __ATOMIC_ACQUIRE);
}

static void set_received(struct flow_slot *slot, enum flow_way way, uint64_t value)
{
    __atomic_store_n(&slot->received[way], value, __ATOMIC_RELEASE);
}

/* FIONREAD would not tell an empty datagram from none. */
static bool is_empty(int fd)
{
    struct pollfd socket = {.fd = fd, .events = POLLIN};
    return poll(&socket, 1, 0) == 0;
}

void catch_up_begin(struct catch_up *state, struct flow_slot *slot, enum flow_way way)
{
    *state = (struct catch_up){0};
    set_received(slot, way, count_passed(slot, way) + UNEQUAL);
}

/* More are received than were left to user space: some came uncounted. */
static bool is_ahead(uint64_t received, uint64_t passed)
{
    return received - passed > 0 && received - passed < UNEQUAL / 2;
}

/* The socket is empty once more. Whether the difference is right, so that nothing waits. */
static bool catch_up_look(struct catch_up *state, int64_t difference)
{
    const bool is_more = difference > state->most, is_lost = state->looks >= 2 * CATCH_UP_LOOKS;
    if (state->looks == 0 || is_more || is_lost) {
        state->most = difference;
        state->looks = 1;
        return false;
    }
    state->looks++;
    return state->looks >= CATCH_UP_LOOKS && difference == state->most;
}

void catch_up_add(struct catch_up *state, struct flow_slot *slot, enum flow_way way, uint32_t count, int fd)
{
    uint64_t received = slot->received[way] + count;
    /* Before the socket is asked: what passes meanwhile makes the counts differ again. */
    const uint64_t passed = count_passed(slot, way);
    if (is_ahead(received, passed)) {
        received += UNEQUAL;
        state->looks = 0;
    }
    set_received(slot, way, received);
    if (received == passed) {
        state->looks = 0;
    } else if (is_empty(fd) && catch_up_look(state, (int64_t)(received - passed))) {
        set_received(slot, way, passed);
        state->looks = 0;
    }
}

bool catch_up_is_stuck(struct catch_up *state, const struct flow_slot *slot, enum flow_way way, int fd)
{
    const uint64_t received = slot->received[way], passed = count_passed(slot, way);
    const bool none_arrived = received == state->seen_received && passed != state->seen_passed;
    state->seen_received = received;
    state->seen_passed = passed;
    return none_arrived && received != passed && is_empty(fd);
}
