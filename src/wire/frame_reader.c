#include "wire/frame_reader.h"

#include <assert.h>
#include <string.h>

static size_t frame_reader_missing(const struct frame_reader *reader)
{
    return reader->size - reader->len;
}

void frame_reader_rooms(const struct frame_reader *reader, uint8_t *chunk, size_t size,
                        struct frame_reader_room rooms[2])
{
    assert(size > FRAME_READER_START_MAX && reader->len <= reader->size);
    rooms[0] =
        (struct frame_reader_room){reader->begun ? reader->begun + reader->len : chunk, frame_reader_missing(reader)};
    rooms[1] = (struct frame_reader_room){chunk + reader->start_len, size - FRAME_READER_START_MAX};
}

struct frame_reader_span frame_reader_add(struct frame_reader *reader, uint8_t *chunk, size_t n)
{
    const size_t missing = frame_reader_missing(reader), start_len = reader->start_len;
    const size_t into_begun = n < missing ? n : missing;
    const size_t unwanted = n < reader->unwanted ? n : reader->unwanted;
    assert(!reader->unwanted || (!missing && !start_len));
    assert(!start_len || !missing);
    memcpy(chunk, reader->start, start_len);
    reader->start_len = 0;
    reader->len += into_begun;
    reader->unwanted -= unwanted;
    return (struct frame_reader_span){chunk + unwanted, start_len + n - into_begun - unwanted};
}

int frame_reader_next(struct frame_reader *reader, struct frame_reader_span *span, struct socks5_frame *frame)
{
    if (reader->begun && !reader->is_complete) {
        int n = socks5_frame_decode(reader->begun, reader->len, frame);
        assert(n > 0 || span->len == 0 || n < 0);
        reader->is_complete = n > 0;
        return n;
    }
    int n = socks5_frame_decode(span->bytes, span->len, frame);
    if (n > 0) {
        span->bytes += n;
        span->len -= (size_t)n;
    }
    return n;
}

static uint8_t *frame_reader_release(struct frame_reader *reader, size_t *size)
{
    uint8_t *memory = reader->begun;
    *size = reader->size;
    reader->begun = NULL;
    reader->len = reader->size = 0;
    reader->is_complete = false;
    return memory;
}

uint8_t *frame_reader_end_begun(struct frame_reader *reader, size_t *size)
{
    *size = 0;
    return reader->is_complete ? frame_reader_release(reader, size) : NULL;
}

size_t frame_reader_keep(struct frame_reader *reader, const struct frame_reader_span *span)
{
    if (reader->begun)
        return 0;
    const size_t size = socks5_frame_length(span->bytes, span->len);
    if (size == 0) {
        assert(span->len <= FRAME_READER_START_MAX);
        memcpy(reader->start, span->bytes, span->len);
        reader->start_len = (uint8_t)span->len;
    }
    return size;
}

void frame_reader_begin(struct frame_reader *reader, const struct frame_reader_span *span, uint8_t *memory)
{
    const size_t size = socks5_frame_length(span->bytes, span->len);
    assert(!reader->begun && !reader->start_len && span->len < size);
    if (!memory) {
        reader->unwanted = size - span->len;
        return;
    }
    memcpy(memory, span->bytes, span->len);
    reader->begun = memory;
    reader->len = span->len;
    reader->size = size;
}

uint8_t *frame_reader_lose_begun(struct frame_reader *reader, size_t *size)
{
    if (reader->begun)
        reader->unwanted = frame_reader_missing(reader);
    return frame_reader_release(reader, size);
}
