/*
 * Whether user space has sent all datagrams of one direction that the program has left to it. Only then may the program
 * relay the next one: otherwise it would overtake them.
 *
 * Two counts in a slot: the program counts in `passed` what it leaves to user space, user space counts in `received`
 * what it has finished. They are equal when nothing waits between them. They can also differ without anything waiting:
 * a datagram was lost on the way (a full socket, a packet filter), or came past the program (before the slot was made,
 * over loopback). So when the socket is empty twice in a row with the same difference, nothing waits, and the counts
 * are made equal.
 */
#ifndef CONESOCKS_KERNEL_CATCH_UP_H
#define CONESOCKS_KERNEL_CATCH_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/flow.h"

struct catch_up {
    uint64_t difference; /* received - passed, when the socket was empty last */
    bool is_set;
};

/* The counts of a slot that begins: they differ until the socket has been empty twice. */
void catch_up_begin(struct catch_up *state, struct flow_slot *slot, enum flow_way way);
/* `count` more are finished. `fd`: their socket; it is asked what waits only if the counts differ. */
void catch_up_add(struct catch_up *state, struct flow_slot *slot, enum flow_way way, uint32_t count, int fd);

#endif
