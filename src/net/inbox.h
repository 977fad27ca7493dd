/*
 * How other threads reach a worker: they leave an item, the worker's loop runs it. The only lock a worker ever takes,
 * and never for a datagram.
 */
#ifndef CONESOCKS_NET_INBOX_H
#define CONESOCKS_NET_INBOX_H

struct event_base;
struct inbox;

/* Part of whatever is being handed over; belongs to the inbox from inbox_post() until `run` is called. */
struct inbox_item {
    void (*run)(struct inbox_item *item); /* on the owner's thread */
    struct inbox_item *next;
};

/* NULL: no memory or descriptor (errno). */
struct inbox *inbox_new(struct event_base *base);
/* Runs what is still inside first. Nobody may post any more. */
void inbox_free(struct inbox *inbox);
/* From any thread. Items run in the order in which they were posted. */
void inbox_post(struct inbox *inbox, struct inbox_item *item);

#endif
