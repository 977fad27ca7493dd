/*
 * Datagrams that wait: for the address of a name, or for an upstream's answer. Each queue is short, and its memory is
 * charged.
 */
#ifndef CONESOCKS_PROXY_ASSOC_DGRAM_QUEUE_H
#define CONESOCKS_PROXY_ASSOC_DGRAM_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/assoc/loan.h"

#define DGRAM_QUEUE_COUNT 16
#define DGRAM_QUEUE_BYTES (128 * 1024)

struct queued_dgram {
    struct queued_dgram *next;
    size_t len;
    uint16_t tag; /* what its owner has to know about it */
    uint8_t bytes[];
};

struct dgram_queue {
    struct queued_dgram *first, **last;
    uint32_t count;
    size_t bytes;
};

void dgram_queue_init(struct dgram_queue *queue);
/* Adds one of `len` bytes, for the caller to fill. NULL: the queue is full, or there is no memory to spare. */
struct queued_dgram *dgram_queue_add(struct dgram_queue *queue, struct loan *loan, uint16_t tag, size_t len);
void dgram_queue_clear(struct dgram_queue *queue, struct loan *loan);

#endif
