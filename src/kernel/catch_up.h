/*
 * Whether user space has sent all datagrams of one direction that the program has left to it. Only then may the program
 * relay the next one: otherwise it would overtake them.
 *
 * Two counts in a slot: the program counts in `passed` what it leaves to user space, user space counts in `received`
 * what it has finished. They are equal when nothing waits between them. They can also differ without anything waiting:
 * a datagram was lost on the way (a full socket, a packet filter), or came past the program (before the slot was made,
 * over loopback). So user space looks whether its socket is empty. Then the difference is that of such datagrams, less
 * those that the program has counted and the socket does not have yet, for about a microsecond. Many looks find one
 * moment without these: the greatest difference is the right one, and the counts are made equal.
 */
#ifndef CONESOCKS_KERNEL_CATCH_UP_H
#define CONESOCKS_KERNEL_CATCH_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/flow.h"

#define CATCH_UP_LOOKS 16

struct catch_up {
    int64_t most;                        /* the greatest received - passed while the socket was empty */
    unsigned looks;                      /* at an empty socket, since then; 0: none yet */
    uint64_t seen_received, seen_passed; /* by catch_up_is_stuck() */
};

/* The counts of a slot that begins: they differ until the socket has been empty CATCH_UP_LOOKS times. */
void catch_up_begin(struct catch_up *state, struct flow_slot *slot, enum flow_way way);
/* `count` more are finished. `fd`: their socket; it is asked what waits only if the counts differ. */
void catch_up_add(struct catch_up *state, struct flow_slot *slot, enum flow_way way, uint32_t count, int fd);
/* Since the last call the program has left datagrams to user space, and none has arrived: a packet filter drops them,
 * for which the counts would stay different forever. */
bool catch_up_is_stuck(struct catch_up *state, const struct flow_slot *slot, enum flow_way way, int fd);

#endif
