/*
 * Calls a function at regular intervals, from the event loop. The interval is the kernel's timer, not the loop's: while
 * the loop has a timer, each wait for a datagram sets and clears one in the kernel.
 */
#ifndef CONESOCKS_NET_TICKER_H
#define CONESOCKS_NET_TICKER_H

#include <event2/event_struct.h>
#include <stdbool.h>

/* All zero: stopped. */
struct ticker {
    bool runs;
    struct event event;
    void (*tick)(void *arg);
    void *arg;
};

/* false: no descriptor or no memory. */
bool ticker_start(struct ticker *ticker, struct event_base *base, int seconds, void (*tick)(void *arg), void *arg);
/* Before its event base is freed. */
void ticker_stop(struct ticker *ticker);

#endif
