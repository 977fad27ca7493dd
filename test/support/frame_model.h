/*
 * A second reading of the frames of UDP in TCP, to compare the decoder with. Written to be unlike it: a cursor takes
 * one byte after the other and stops where the bytes at hand end, or where HDRLEN says that the header does.
 */
#ifndef TEST_SUPPORT_FRAME_MODEL_H
#define TEST_SUPPORT_FRAME_MODEL_H

#include <stdbool.h>
#include <string.h>

#include "conesocks/socks5.h"

struct frame_model {
    int result; /* what the decoder must return */
    unsigned atyp, port, payload_len, payload_at;
    uint8_t host[255];
    unsigned host_len;
};

struct frame_cursor {
    const uint8_t *bytes;
    size_t at, len, header_len;
    bool ended, beyond_header; /* which of them it met first */
};

static inline unsigned frame_next(struct frame_cursor *cursor)
{
    if (cursor->ended || cursor->beyond_header)
        return 0;
    if (cursor->at == cursor->header_len)
        cursor->beyond_header = true;
    else if (cursor->at == cursor->len)
        cursor->ended = true;
    else
        return cursor->bytes[cursor->at++];
    return 0;
}

static inline int frame_model_header(struct frame_model *model, struct frame_cursor *cursor)
{
    model->atyp = frame_next(cursor);
    if (cursor->ended || cursor->beyond_header)
        return cursor->ended ? 0 : SOCKS5_E_LENGTH;
    if (model->atyp != 1 && model->atyp != 3 && model->atyp != 4)
        return SOCKS5_E_ATYP;
    model->host_len = model->atyp == 1 ? 4 : model->atyp == 4 ? 16 : frame_next(cursor);
    if (model->host_len == 0 && !cursor->ended && !cursor->beyond_header)
        return SOCKS5_E_EMPTY;
    for (unsigned i = 0; i < model->host_len; i++)
        model->host[i] = (uint8_t)frame_next(cursor);
    model->port = frame_next(cursor) * 256;
    model->port += frame_next(cursor);
    if (cursor->ended)
        return 0;
    return cursor->beyond_header || cursor->at != cursor->header_len ? SOCKS5_E_LENGTH : 1;
}

static inline struct frame_model frame_model(const uint8_t *in, size_t len)
{
    struct frame_model model = {0};
    struct frame_cursor cursor = {.bytes = in, .len = len, .header_len = 3};
    model.payload_len = frame_next(&cursor) * 256;
    model.payload_len += frame_next(&cursor);
    cursor.header_len = model.payload_at = frame_next(&cursor);
    if (cursor.ended)
        return model;
    model.result = cursor.header_len < 3 ? SOCKS5_E_LENGTH : frame_model_header(&model, &cursor);
    if (model.result > 0)
        model.result = len - cursor.at >= model.payload_len ? (int)(cursor.at + model.payload_len) : 0;
    return model;
}

/* What the decoder said of the same bytes. */
static inline bool frame_model_agrees(const struct frame_model *model, const uint8_t *in, int result,
                                      const struct socks5_frame *frame)
{
    if (result != model->result || result <= 0)
        return result == model->result;
    const struct socks5_addr *addr = &frame->destination;
    return addr->atyp == model->atyp && addr->port == model->port && addr->host_len == model->host_len &&
           memcmp(addr->host, model->host, model->host_len) == 0 && frame->payload_len == model->payload_len &&
           frame->payload == in + model->payload_at;
}

#endif
