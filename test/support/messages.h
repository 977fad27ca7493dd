/*
 * Every message of the codec behind one pair of functions, so that a property that all of them share is tested once.
 */
#ifndef TEST_SUPPORT_MESSAGES_H
#define TEST_SUPPORT_MESSAGES_H

#include <string.h>

#include "conesocks/socks5.h"

enum message_kind { GREETING, CHOICE, PASSWORD, STATUS, REQUEST, REPLY, UDP_HEADER, FRAME, MESSAGE_KINDS };

static const size_t message_max[MESSAGE_KINDS] = {
    SOCKS5_GREETING_MAX, 2, SOCKS5_PASSWORD_MAX, 2, SOCKS5_REQUEST_MAX, SOCKS5_REQUEST_MAX, SOCKS5_UDP_HEADER_MAX,
    SOCKS5_FRAME_MAX};

union message {
    struct socks5_greeting greeting;
    uint8_t byte; /* choice, status */
    struct socks5_password password;
    struct socks5_request request;
    struct socks5_reply_message reply;
    struct socks5_udp_header udp;
    struct socks5_frame frame;
};

static inline int message_decode(enum message_kind kind, const uint8_t *in, size_t len, union message *out)
{
    switch (kind) {
    case GREETING:
        return socks5_greeting_decode(in, len, &out->greeting);
    case CHOICE:
        return socks5_choice_decode(in, len, &out->byte);
    case PASSWORD:
        return socks5_password_decode(in, len, &out->password);
    case STATUS:
        return socks5_password_status_decode(in, len, &out->byte);
    case REQUEST:
        return socks5_request_decode(in, len, &out->request);
    case REPLY:
        return socks5_reply_decode(in, len, &out->reply);
    case FRAME:
        return socks5_frame_decode(in, len, &out->frame);
    default:
        return socks5_udp_header_decode(in, len, &out->udp);
    }
}

static inline size_t message_encode_frame(uint8_t *out, size_t size, const struct socks5_frame *in)
{
    size_t n = socks5_frame_header_encode(out, size, in);
    if (n == 0 || size - n < in->payload_len)
        return 0;
    memcpy(out + n, in->payload, in->payload_len);
    return n + in->payload_len;
}

static inline size_t message_encode(enum message_kind kind, uint8_t *out, size_t size, const union message *in)
{
    switch (kind) {
    case GREETING:
        return socks5_greeting_encode(out, size, &in->greeting);
    case CHOICE:
        return socks5_choice_encode(out, size, in->byte);
    case PASSWORD:
        return socks5_password_encode(out, size, &in->password);
    case STATUS:
        return socks5_password_status_encode(out, size, in->byte);
    case REQUEST:
        return socks5_request_encode(out, size, &in->request);
    case REPLY:
        return socks5_reply_encode(out, size, &in->reply);
    case FRAME:
        return message_encode_frame(out, size, &in->frame);
    default:
        return socks5_udp_header_encode(out, size, &in->udp);
    }
}

/* What the decoder says of a beginning that could still become a message. */
static inline int message_incomplete(enum message_kind kind)
{
    return kind == UDP_HEADER ? SOCKS5_E_SHORT : 0;
}

#endif
