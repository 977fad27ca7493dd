#include "check/peer/peer_wire.h"

#include <string.h>

#include <nettle/hmac.h>
#include <nettle/memops.h>

#define INTEGRITY (4 + SHA256_DIGEST_SIZE) /* the attribute that ends every message */

#define ASK_QUIET  0x01
#define ASK_PLAIN  0x02
#define ASK_LEN    5
#define REPORT_LEN 8

enum attribute {
    MESSAGE_INTEGRITY_SHA256 = 0x001c,
    PADDING = 0x0026,
    ASK = 0xc5c1,    /* flags, delay in seconds (2), length of plain bytes (2) */
    REPORT = 0xc5c2, /* count of plain datagrams (4), length of the last (2), its largest fragment or 0 (2) */
};

/* ---- bytes ---- */

static uint16_t get16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)get16(in) << 16 | get16(in + 2);
}

static void put16(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void put32(uint8_t *out, uint32_t value)
{
    put16(out, value >> 16);
    put16(out + 2, value);
}

/* ---- reading ---- */

bool peer_is_stun(const uint8_t *in, size_t len)
{
    return len >= STUN_HEADER && stun_length(in) > 0;
}

static void digest(const uint8_t *message, size_t len, const char *key, uint8_t out[SHA256_DIGEST_SIZE])
{
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, strlen(key), (const uint8_t *)key);
    hmac_sha256_update(&context, len, message);
    hmac_sha256_digest(&context, SHA256_DIGEST_SIZE, out);
}

bool peer_is_sealed(const uint8_t *in, size_t len, const char *key)
{
    if (len < STUN_HEADER + INTEGRITY || stun_length(in) != len)
        return false;
    const uint8_t *end = in + len - INTEGRITY;
    uint8_t expected[SHA256_DIGEST_SIZE];
    if (get16(end) != MESSAGE_INTEGRITY_SHA256 || get16(end + 2) != SHA256_DIGEST_SIZE)
        return false;
    digest(in, len - INTEGRITY, key, expected);
    return memeql_sec(expected, end + 4, SHA256_DIGEST_SIZE);
}

/* Under the key, and whole, and of that kind: nothing else is looked at before that is known. */
static bool open_sealed(const uint8_t *in, size_t len, const char *key, enum stun_class class, struct stun_message *out)
{
    return peer_is_sealed(in, len, key) && stun_decode(in, len, out) > 0 && out->class == class &&
           out->method == STUN_BINDING;
}

/* The value of the first attribute of that kind, if it has `len` bytes, in a message that has been decoded. */
static const uint8_t *find(const uint8_t *in, size_t in_len, enum attribute kind, size_t len)
{
    for (size_t at = STUN_HEADER; at < in_len; at += 4 + (get16(in + at + 2) + 3u) / 4 * 4)
        if (get16(in + at) == kind)
            return get16(in + at + 2) == len ? in + at + 4 : NULL;
    return NULL;
}

bool peer_request_decode(const uint8_t *in, size_t len, const char *key, struct peer_request *out)
{
    struct stun_message message;
    if (!open_sealed(in, len, key, STUN_REQUEST, &message))
        return false;
    *out = (struct peer_request){.change_address = message.change_address, .change_port = message.change_port};
    memcpy(out->transaction, message.transaction, STUN_TRANSACTION);
    const uint8_t *ask = find(in, len, ASK, ASK_LEN);
    if (ask) {
        out->quiet = ask[0] & ASK_QUIET;
        out->plain = ask[0] & ASK_PLAIN;
        out->delay_s = get16(ask + 1);
        out->plain_len = get16(ask + 3);
    }
    return out->delay_s <= PEER_DELAY_MAX;
}

bool peer_answer_decode(const uint8_t *in, size_t len, const char *key, struct peer_answer *out)
{
    struct stun_message message;
    if (!open_sealed(in, len, key, STUN_SUCCESS, &message))
        return false;
    *out = (struct peer_answer){
        .mapped = message.mapped, .origin = message.response_origin, .other = message.other_address};
    memcpy(out->transaction, message.transaction, STUN_TRANSACTION);
    const uint8_t *report = find(in, len, REPORT, REPORT_LEN);
    if (report) {
        out->plain_count = get32(report);
        out->plain_last = get16(report + 4);
        out->fragment = get16(report + 6);
    }
    return out->mapped.sa.sa_family != AF_UNSPEC;
}

/* ---- writing ---- */

struct message {
    uint8_t *bytes;
    size_t size, len; /* len 0: it did not fit */
};

/* Room for a value, all zero; NULL: there is none. */
static uint8_t *add(struct message *message, enum attribute kind, size_t len)
{
    size_t whole = 4 + (len + 3) / 4 * 4;
    if (message->len == 0 || whole > message->size - message->len) {
        message->len = 0;
        return NULL;
    }
    uint8_t *at = message->bytes + message->len;
    memset(at, 0, whole);
    put16(at, kind);
    put16(at + 2, (uint32_t)len);
    message->len += whole;
    return at + 4;
}

static size_t seal(struct message *message, size_t len_min, const char *key)
{
    size_t sealed = message->len + INTEGRITY;
    if (sealed < len_min)
        add(message, PADDING, len_min > sealed + 4 ? len_min - sealed - 4 : 0);
    if (message->len == 0 || message->size - message->len < INTEGRITY)
        return 0;
    /* The digest counts itself in the header's length, and covers what stands before it (RFC 8489 section 14.6). */
    put16(message->bytes + 2, (uint32_t)(message->len - STUN_HEADER + INTEGRITY));
    uint8_t expected[SHA256_DIGEST_SIZE];
    digest(message->bytes, message->len, key, expected);
    memcpy(add(message, MESSAGE_INTEGRITY_SHA256, SHA256_DIGEST_SIZE), expected, SHA256_DIGEST_SIZE);
    return message->len;
}

size_t peer_seal(uint8_t *request, size_t len, size_t size, const char *key)
{
    struct message message = {.bytes = request, .size = size, .len = len};
    return seal(&message, PEER_REQUEST_MIN, key);
}

static struct message begin(uint8_t *out, size_t size, const struct stun_message *in)
{
    return (struct message){.bytes = out, .size = size, .len = stun_encode(out, size, in)};
}

size_t peer_request_encode(uint8_t *out, size_t size, size_t len_min, const struct peer_request *in, const char *key)
{
    struct stun_message plain = {.class = STUN_REQUEST,
                                 .method = STUN_BINDING,
                                 .change_address = in->change_address,
                                 .change_port = in->change_port};
    memcpy(plain.transaction, in->transaction, STUN_TRANSACTION);
    struct message message = begin(out, size, &plain);
    uint8_t *value;
    if ((in->quiet || in->plain || in->delay_s) && (value = add(&message, ASK, ASK_LEN))) {
        value[0] = (uint8_t)((in->quiet ? ASK_QUIET : 0) | (in->plain ? ASK_PLAIN : 0));
        put16(value + 1, in->delay_s);
        put16(value + 3, in->plain_len);
    }
    return seal(&message, len_min, key);
}

size_t peer_answer_encode(uint8_t *out, size_t size, const struct peer_answer *in, const char *key)
{
    struct stun_message plain = {.class = STUN_SUCCESS,
                                 .method = STUN_BINDING,
                                 .mapped = in->mapped,
                                 .response_origin = in->origin,
                                 .other_address = in->other};
    memcpy(plain.transaction, in->transaction, STUN_TRANSACTION);
    struct message message = begin(out, size, &plain);
    uint8_t *value = add(&message, REPORT, REPORT_LEN);
    if (value) {
        put32(value, in->plain_count);
        put16(value + 4, in->plain_last);
        put16(value + 6, in->fragment);
    }
    return seal(&message, 0, key);
}

/* ---- plain bytes ---- */

/* Four bytes at a time. The first has its highest bit set, which no STUN message has. */
static void pattern_word(uint8_t out[4], size_t at, uint32_t seed)
{
    put32(out, ((uint32_t)at * 2654435761u ^ seed * 2246822519u) | (at == 0 ? 0x80000000u : 0));
}

void peer_pattern(uint8_t *out, size_t len, uint32_t seed)
{
    for (size_t at = 0; at < len; at += 4) {
        uint8_t word[4];
        pattern_word(word, at, seed);
        memcpy(out + at, word, len - at < 4 ? len - at : 4);
    }
}

bool peer_pattern_is(const uint8_t *in, size_t len, uint32_t seed)
{
    for (size_t at = 0; at < len; at += 4) {
        uint8_t word[4];
        pattern_word(word, at, seed);
        if (memcmp(in + at, word, len - at < 4 ? len - at : 4) != 0)
            return false;
    }
    return true;
}
