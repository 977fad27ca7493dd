/*
 * How other threads reach a worker: they post an item, and the worker's event loop runs it. Posting takes a lock. The
 * datagram path posts nothing, except with one UDP port (proxy/assoc/shared_socket.h).
 */
#ifndef CONESOCKS_NET_INBOX_H
#define CONESOCKS_NET_INBOX_H

struct event_base;
struct inbox;

/* A member of the struct that is posted. It belongs to the inbox from inbox_post() until `run` is called. */
struct inbox_item {
    void (*run)(struct inbox_item *item); /* on the owner's thread */
    struct inbox_item *next;
};

/* NULL: no memory or descriptor (errno). */
struct inbox *inbox_new(struct event_base *base);
/* Runs the items that are still inside first. Nobody may post any more. */
void inbox_free(struct inbox *inbox);
/* From any thread. Items run in the order in which they were posted. */
void inbox_post(struct inbox *inbox, struct inbox_item *item);

#endif
