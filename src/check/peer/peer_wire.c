#include "check/peer/peer_wire.h"

#include <assert.h>
#include <string.h>

#include <nettle/hmac.h>
#include <nettle/memops.h>

#define MESSAGE_INTEGRITY_SHA256 0x001c
#define PADDING                  0x0026
#define INTEGRITY                (4 + SHA256_DIGEST_SIZE) /* the attribute that ends every message */

static_assert(PEER_REQUEST_MIN % 4 == 0 && PEER_REQUEST_MIN >= STUN_HEADER + INTEGRITY, "a request holds its seal");

bool peer_is_stun(const uint8_t *in, size_t len)
{
    return len >= STUN_HEADER && stun_length(in) > 0;
}

static void seal_digest(const uint8_t *message, size_t len, const char *key, uint8_t out[SHA256_DIGEST_SIZE])
{
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, strlen(key), (const uint8_t *)key);
    hmac_sha256_update(&context, len, message);
    hmac_sha256_digest(&context, SHA256_DIGEST_SIZE, out);
}

static bool is_sealed(const uint8_t *in, size_t len, const char *key)
{
    static const uint8_t head[4] = {0, MESSAGE_INTEGRITY_SHA256, 0, SHA256_DIGEST_SIZE};
    uint8_t expected[SHA256_DIGEST_SIZE];
    if (len < STUN_HEADER + INTEGRITY || stun_length(in) != len)
        return false;
    const uint8_t *seal = in + len - INTEGRITY;
    if (memcmp(seal, head, sizeof(head)) != 0)
        return false;
    seal_digest(in, len - INTEGRITY, key, expected);
    return memeql_sec(expected, seal + sizeof(head), SHA256_DIGEST_SIZE);
}

bool peer_decode(const uint8_t *in, size_t len, const char *key, enum stun_class class, struct stun_message *out)
{
    assert(class == STUN_REQUEST || class == STUN_SUCCESS);
    if (!is_sealed(in, len, key) || stun_decode(in, len, out) <= 0 || out->class != class ||
        out->method != STUN_BINDING)
        return false;
    return class == STUN_REQUEST ? out->delay_s <= PEER_DELAY_MAX : out->mapped.sa.sa_family != AF_UNSPEC;
}

size_t peer_encode(uint8_t *out, size_t size, size_t len_min, const struct stun_message *in, const char *key)
{
    uint8_t expected[SHA256_DIGEST_SIZE];
    size_t len = stun_encode(out, size, in), sealed = len + INTEGRITY;
    if (len == 0)
        return 0;
    if (sealed < len_min &&
        !stun_add_attribute(out, &len, size, PADDING, len_min > sealed + 4 ? len_min - sealed - 4 : 0))
        return 0;
    size_t unsealed = len;
    uint8_t *value = stun_add_attribute(out, &len, size, MESSAGE_INTEGRITY_SHA256, SHA256_DIGEST_SIZE);
    if (!value)
        return 0;
    /* The digest counts itself in the header's length, and covers what stands before it (RFC 8489 section 14.6). */
    stun_set_length(out, len);
    seal_digest(out, unsealed, key, expected);
    memcpy(value, expected, sizeof(expected));
    assert(len >= len_min && len % 4 == 0);
    return len;
}

/* Four bytes at a time. The first has its highest bit set, which no STUN message has. */
static void pattern_word(uint8_t out[4], size_t at, uint32_t seed)
{
    uint32_t word = ((uint32_t)at * 2654435761u ^ seed * 2246822519u) | (at == 0 ? 0x80000000u : 0);
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(word >> (24 - 8 * i));
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
