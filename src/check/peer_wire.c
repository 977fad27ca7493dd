#include "check/peer_wire.h"

#include <string.h>

#include <nettle/hmac.h>
#include <nettle/memops.h>

#define HEADER    20
#define COOKIE    0x2112a442u
#define REQUEST   0x0001
#define ANSWER    0x0101
#define INTEGRITY (4 + SHA256_DIGEST_SIZE) /* the attribute that ends every message */

#define CHANGE_ADDRESS 0x04
#define CHANGE_PORT    0x02
#define ASK_QUIET      0x01
#define ASK_PLAIN      0x02
#define ASK_LEN        5
#define REPORT_LEN     8

enum attribute {
    CHANGE_REQUEST = 0x0003,
    MESSAGE_INTEGRITY_SHA256 = 0x001c,
    XOR_MAPPED_ADDRESS = 0x0020,
    PADDING = 0x0026,
    RESPONSE_ORIGIN = 0x802b,
    OTHER_ADDRESS = 0x802c,
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
    return len >= HEADER && in[0] < 0x40 && get32(in + 4) == COOKIE;
}

size_t peer_message_len(const uint8_t in[4])
{
    size_t len = HEADER + (size_t)get16(in + 2);
    return in[0] >= 0x40 || len % 4 != 0 || len > PEER_MESSAGE_MAX ? 0 : len;
}

static void digest(const uint8_t *message, size_t len, const char *key, uint8_t out[SHA256_DIGEST_SIZE])
{
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, strlen(key), (const uint8_t *)key);
    hmac_sha256_update(&context, len, message);
    hmac_sha256_digest(&context, SHA256_DIGEST_SIZE, out);
}

/* Whether it is a whole message of that type that ends with the digest by `key`. Nothing else is looked at before. */
static bool is_sealed(const uint8_t *in, size_t len, uint16_t type, const char *key)
{
    if (!peer_is_stun(in, len) || get16(in) != type || len < HEADER + INTEGRITY ||
        HEADER + (size_t)get16(in + 2) != len)
        return false;
    const uint8_t *seal = in + len - INTEGRITY;
    uint8_t expected[SHA256_DIGEST_SIZE];
    if (get16(seal) != MESSAGE_INTEGRITY_SHA256 || get16(seal + 2) != SHA256_DIGEST_SIZE)
        return false;
    digest(in, len - INTEGRITY, key, expected);
    return memeql_sec(expected, seal + 4, SHA256_DIGEST_SIZE);
}

/* The value of the first attribute of that kind, if it is there with `len` bytes. */
static const uint8_t *find(const uint8_t *in, size_t in_len, enum attribute kind, size_t len)
{
    for (size_t at = HEADER; at + 4 <= in_len - INTEGRITY;) {
        size_t value_len = get16(in + at + 2), whole = 4 + (value_len + 3) / 4 * 4;
        if (whole > in_len - INTEGRITY - at)
            return NULL;
        if (get16(in + at) == kind)
            return value_len == len ? in + at + 4 : NULL;
        at += whole;
    }
    return NULL;
}

/* What an address is XORed with (RFC 8489 section 14.2), or nothing. */
static void mask(uint8_t *address, size_t host_len, const uint8_t *message)
{
    address[2] ^= message[4];
    address[3] ^= message[5];
    for (size_t i = 0; i < host_len; i++)
        address[4 + i] ^= message[4 + i]; /* the cookie, and the transaction behind it */
}

static union netaddr find_address(const uint8_t *in, size_t in_len, enum attribute kind)
{
    for (size_t host_len = 4; host_len <= 16; host_len += 12) {
        const uint8_t *value = find(in, in_len, kind, 4 + host_len);
        if (!value || value[1] != (host_len == 4 ? 1 : 2))
            continue;
        uint8_t plain[20];
        memcpy(plain, value, 4 + host_len);
        if (kind == XOR_MAPPED_ADDRESS)
            mask(plain, host_len, in);
        return netaddr_from_bytes(plain + 4, host_len, get16(plain + 2));
    }
    return (union netaddr){.sa.sa_family = AF_UNSPEC};
}

bool peer_request_decode(const uint8_t *in, size_t len, const char *key, struct peer_request *out)
{
    if (!is_sealed(in, len, REQUEST, key))
        return false;
    memset(out, 0, sizeof(*out));
    memcpy(out->transaction, in + 8, PEER_TRANSACTION);
    const uint8_t *change = find(in, len, CHANGE_REQUEST, 4), *ask = find(in, len, ASK, ASK_LEN);
    if (change) {
        out->change_address = change[3] & CHANGE_ADDRESS;
        out->change_port = change[3] & CHANGE_PORT;
    }
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
    if (!is_sealed(in, len, ANSWER, key))
        return false;
    memset(out, 0, sizeof(*out));
    memcpy(out->transaction, in + 8, PEER_TRANSACTION);
    out->mapped = find_address(in, len, XOR_MAPPED_ADDRESS);
    out->origin = find_address(in, len, RESPONSE_ORIGIN);
    out->other = find_address(in, len, OTHER_ADDRESS);
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

static struct message begin(uint8_t *out, size_t size, uint16_t type, const uint8_t transaction[PEER_TRANSACTION])
{
    struct message message = {.bytes = out, .size = size};
    if (size < HEADER)
        return message;
    put16(out, type);
    put32(out + 4, COOKIE);
    memcpy(out + 8, transaction, PEER_TRANSACTION);
    message.len = HEADER;
    return message;
}

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

static void add_address(struct message *message, enum attribute kind, const union netaddr *address)
{
    size_t host_len;
    const uint8_t *host = netaddr_host(address, &host_len);
    uint8_t *value = host ? add(message, kind, 4 + host_len) : NULL;
    if (!value)
        return;
    value[1] = host_len == 4 ? 1 : 2;
    put16(value + 2, netaddr_port(address));
    memcpy(value + 4, host, host_len);
    if (kind == XOR_MAPPED_ADDRESS)
        mask(value, host_len, message->bytes);
}

static size_t seal(struct message *message, const char *key)
{
    if (message->len == 0 || message->size - message->len < INTEGRITY)
        return 0;
    /* The digest counts itself in the header's length, and covers what stands before it (RFC 8489 section 14.6). */
    put16(message->bytes + 2, (uint32_t)(message->len - HEADER + INTEGRITY));
    uint8_t expected[SHA256_DIGEST_SIZE];
    digest(message->bytes, message->len, key, expected);
    uint8_t *value = add(message, MESSAGE_INTEGRITY_SHA256, SHA256_DIGEST_SIZE);
    memcpy(value, expected, SHA256_DIGEST_SIZE);
    return message->len;
}

size_t peer_request_encode(uint8_t *out, size_t size, size_t len_min, const struct peer_request *in, const char *key)
{
    struct message message = begin(out, size, REQUEST, in->transaction);
    uint8_t *value;
    if ((in->change_address || in->change_port) && (value = add(&message, CHANGE_REQUEST, 4)))
        value[3] = (uint8_t)((in->change_address ? CHANGE_ADDRESS : 0) | (in->change_port ? CHANGE_PORT : 0));
    if ((in->quiet || in->plain || in->delay_s) && (value = add(&message, ASK, ASK_LEN))) {
        value[0] = (uint8_t)((in->quiet ? ASK_QUIET : 0) | (in->plain ? ASK_PLAIN : 0));
        put16(value + 1, in->delay_s);
        put16(value + 3, in->plain_len);
    }
    size_t sealed = message.len + INTEGRITY;
    if (sealed < len_min)
        add(&message, PADDING, len_min > sealed + 4 ? len_min - sealed - 4 : 0);
    return seal(&message, key);
}

size_t peer_answer_encode(uint8_t *out, size_t size, const struct peer_answer *in, const char *key)
{
    struct message message = begin(out, size, ANSWER, in->transaction);
    add_address(&message, XOR_MAPPED_ADDRESS, &in->mapped);
    add_address(&message, RESPONSE_ORIGIN, &in->origin);
    add_address(&message, OTHER_ADDRESS, &in->other);
    uint8_t *value = add(&message, REPORT, REPORT_LEN);
    if (value) {
        put32(value, in->plain_count);
        put16(value + 4, in->plain_last);
        put16(value + 6, in->fragment);
    }
    return seal(&message, key);
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
