/*
 * A second reading of RFC 1928 section 7, to compare the decoder with. Written to be unlike it: a cursor takes one byte
 * after the other and notices the end when it meets it, and nothing is known about lengths in advance.
 */
#ifndef TEST_SUPPORT_UDP_HEADER_MODEL_H
#define TEST_SUPPORT_UDP_HEADER_MODEL_H

#include <stdbool.h>
#include <string.h>

#include "conesocks/socks5.h"

struct udp_header_model {
    int result; /* what the decoder must return */
    unsigned fragment, atyp, port;
    uint8_t host[255];
    unsigned host_len;
};

struct udp_header_cursor {
    const uint8_t *at;
    size_t left;
    bool ended;
};

static inline unsigned udp_header_next(struct udp_header_cursor *cursor)
{
    if (cursor->left == 0) {
        cursor->ended = true;
        return 0;
    }
    cursor->left--;
    return *cursor->at++;
}

static inline struct udp_header_model udp_header_model(const uint8_t *in, size_t len)
{
    struct udp_header_model model = {0};
    struct udp_header_cursor cursor = {.at = in, .left = len};
    unsigned reserved = udp_header_next(&cursor) * 256;
    reserved += udp_header_next(&cursor);
    model.fragment = udp_header_next(&cursor);
    model.atyp = udp_header_next(&cursor);
    bool fixed_part_ended = cursor.ended;
    bool known = true;
    if (model.atyp == 3)
        model.host_len = udp_header_next(&cursor);
    else if (model.atyp == 1)
        model.host_len = 4;
    else if (model.atyp == 4)
        model.host_len = 16;
    else
        known = false;
    bool empty = known && !cursor.ended && model.host_len == 0;
    for (unsigned i = 0; i < model.host_len; i++)
        model.host[i] = (uint8_t)udp_header_next(&cursor);
    model.port = udp_header_next(&cursor) * 256;
    model.port += udp_header_next(&cursor);

    if (fixed_part_ended)
        model.result = SOCKS5_E_SHORT;
    else if (reserved)
        model.result = SOCKS5_E_RESERVED;
    else if (!known)
        model.result = SOCKS5_E_ATYP;
    else if (empty)
        model.result = SOCKS5_E_EMPTY;
    else if (cursor.ended)
        model.result = SOCKS5_E_SHORT;
    else
        model.result = (int)(cursor.at - in);
    return model;
}

/* What the decoder said of the same bytes. */
static inline bool udp_header_model_agrees(const struct udp_header_model *model, int result,
                                           const struct socks5_udp_header *header)
{
    if (result != model->result || result < 0)
        return result == model->result;
    const struct socks5_addr *addr = &header->destination;
    return header->fragment == model->fragment && addr->atyp == model->atyp && addr->port == model->port &&
           addr->host_len == model->host_len && memcmp(addr->host, model->host, model->host_len) == 0;
}

#endif
