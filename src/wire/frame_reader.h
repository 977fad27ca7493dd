/*
 * Finds the frames (struct socks5_frame) in a byte stream, however it is cut. Pure: no descriptor, no clock, no
 * allocation; the owner reads, and gives the memory for a frame whose end has not come yet.
 *
 *   rooms = frame_reader_rooms(&r, chunk, size)    read into rooms[0], then rooms[1]
 *   span = frame_reader_add(&r, chunk, n)          n bytes were read there
 *   while (frame_reader_next(&r, &span, &frame) > 0) use the frame
 *   free what frame_reader_end_begun() returns
 *   size = frame_reader_keep(&r, &span)            not 0: frame_reader_begin(&r, &span, memory of that size)
 */
#ifndef CONESOCKS_WIRE_FRAME_READER_H
#define CONESOCKS_WIRE_FRAME_READER_H

#include <stdbool.h>

#include "conesocks/socks5.h"

/* A frame's length is known from its third byte on. */
#define FRAME_READER_START_MAX 2

/* All zero at first. */
struct frame_reader {
    uint8_t start[FRAME_READER_START_MAX]; /* of a frame whose length is unknown */
    uint8_t start_len;
    bool is_complete; /* the frame that has begun has been returned */
    uint8_t *begun;   /* room for all of a frame whose beginning has come, the owner's memory; NULL: none */
    size_t len, size; /* of `begun`: filled, and in all */
    size_t unwanted;  /* bytes still to come of a frame whose beginning was dropped */
};

struct frame_reader_room {
    uint8_t *bytes;
    size_t size;
};

/* Bytes that have not been decoded yet. */
struct frame_reader_span {
    const uint8_t *bytes;
    size_t len;
};

/* Returns where to read to: rooms[0] is for the rest of the frame that has begun (size 0: there is none), rooms[1] is
 * in `chunk`. `size` is more than FRAME_READER_START_MAX. */
void frame_reader_rooms(const struct frame_reader *reader, uint8_t *chunk, size_t size,
                        struct frame_reader_room rooms[2]);
struct frame_reader_span frame_reader_add(struct frame_reader *reader, uint8_t *chunk, size_t n);

/* > 0: a frame; 0: no more complete frame; < 0: one of enum socks5_error, and nothing after it can be read. */
int frame_reader_next(struct frame_reader *reader, struct frame_reader_span *span, struct socks5_frame *frame);

/* Call it when the frames are used. If the frame that had begun is among them, returns its memory, and `size` gets the
 * size of that; else NULL. */
uint8_t *frame_reader_end_begun(struct frame_reader *reader, size_t *size);
/* The rest of the span may be the beginning of a frame: how much memory that frame needs. 0: no memory is needed. */
size_t frame_reader_keep(struct frame_reader *reader, const struct frame_reader_span *span);
/* NULL memory: the frame is lost, what is still to come of it will be skipped. */
void frame_reader_begin(struct frame_reader *reader, const struct frame_reader_span *span, uint8_t *memory);
/* Loses the frame that has begun. Returns its memory; NULL: there is none. `size` gets its size. */
uint8_t *frame_reader_lose_begun(struct frame_reader *reader, size_t *size);

#endif
