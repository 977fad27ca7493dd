/*
 * Reports when a listening socket has connections to accept. When there is no descriptor or no memory for them, it
 * rests for a quarter of a second: trying again at once would only burn CPU.
 */
#ifndef CONESOCKS_NET_ACCEPTOR_H
#define CONESOCKS_NET_ACCEPTOR_H

#include <stdbool.h>

#include <event2/event_struct.h>

struct acceptor {
    struct event acceptable, rested;
    void (*ready)(void *arg);
    void *arg;
};

/* The socket stays the caller's. `ready` is called from the base's loop, when there are connections and after a rest.
 */
void acceptor_init(struct acceptor *acceptor, struct event_base *base, int fd, void (*ready)(void *arg), void *arg);
/* false: no memory. */
bool acceptor_start(struct acceptor *acceptor);
/* Whether accept(2) failed with this errno because something is short, and not because of one connection. */
bool acceptor_is_short(int error);
/* Does not report connections for a quarter of a second. Between acceptor_start() and acceptor_stop(). */
void acceptor_rest(struct acceptor *acceptor);
/* Before the socket is closed. */
void acceptor_stop(struct acceptor *acceptor);

#endif
