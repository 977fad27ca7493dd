/*
 * Sends datagrams as frames (struct socks5_frame) on a TCP connection. Frames that the connection does not take at
 * once are lost and counted. If it takes a part of a frame, the rest is kept, and sent before anything else.
 */
#ifndef CONESOCKS_PROXY_ASSOC_FRAME_WRITER_H
#define CONESOCKS_PROXY_ASSOC_FRAME_WRITER_H

#include <event2/event_struct.h>
#include <stddef.h>
#include <stdint.h>

#include "net/dgram_io.h"
#include "proxy/assoc/loan.h"

struct frame_writer {
    int fd;
    struct event writable;
    struct loan *const *loan; /* the one that is charged at present */
    uint8_t *rest;            /* a frame of which a part was sent; NULL: none */
    size_t rest_at, rest_len;
    const char *failure; /* why it has shut the connection down; NULL: it has not */
};

void frame_writer_init(struct frame_writer *writer, struct event_base *base, int fd, struct loan *const *loan);
void frame_writer_deinit(struct frame_writer *writer);

/* Sends each run with its `peer` as the origin, counts what became of each datagram, and empties the batch. Payloads of
 * more than `most` bytes are lost. */
void frame_writer_send(struct frame_writer *writer, struct dgram_batch *batch, size_t most, struct dgram_tally *tally);
/* Sends a run whose origin is a name: a SOCKS5 UDP header of `header_len` bytes in front of each payload. */
void frame_writer_send_named(struct frame_writer *writer, const struct dgram_run *payloads, uint16_t header_len,
                             size_t most, struct dgram_tally *tally);

static inline size_t frame_writer_memory(const struct frame_writer *writer)
{
    return writer->rest ? writer->rest_len : 0;
}

#endif
