/*
 * What a test server and its client receive. Input: a message without its digest, which is added here with the right
 * key, because without it only the digest is read. What decodes as a request must survive being encoded again.
 */
#include "fuzz.h"

#include <nettle/hmac.h>

#include "check/peer/peer_wire.h"

#define KEY       "key"
#define HEADER    20
#define INTEGRITY (4 + SHA256_DIGEST_SIZE)

static size_t seal(uint8_t *message, size_t len)
{
    struct hmac_sha256_ctx context;
    message[2] = (uint8_t)((len - HEADER + INTEGRITY) >> 8);
    message[3] = (uint8_t)(len - HEADER + INTEGRITY);
    hmac_sha256_set_key(&context, strlen(KEY), (const uint8_t *)KEY);
    hmac_sha256_update(&context, len, message);
    memcpy(message + len, "\x00\x1c\x00\x20", 4);
    hmac_sha256_digest(&context, SHA256_DIGEST_SIZE, message + len + 4);
    return len + INTEGRITY;
}

static void try_all(const uint8_t *message, size_t len)
{
    struct stun_message request, again;
    struct stun_message answer;
    uint8_t bytes[PEER_MESSAGE_MAX];
    if (peer_decode(message, len, KEY, STUN_REQUEST, &request)) {
        REQUIRE(request.delay_s <= PEER_DELAY_MAX);
        size_t size = peer_encode(bytes, sizeof(bytes), PEER_REQUEST_MIN, &request, KEY);
        REQUIRE(size >= PEER_REQUEST_MIN && peer_decode(bytes, size, KEY, STUN_REQUEST, &again));
        REQUIRE(again.plain == request.plain && again.quiet == request.quiet && again.delay_s == request.delay_s);
        REQUIRE(again.change_address == request.change_address && again.change_port == request.change_port);
    }
    if (peer_decode(message, len, KEY, STUN_SUCCESS, &answer)) {
        size_t size = peer_encode(bytes, sizeof(bytes), 0, &answer, KEY);
        REQUIRE(size > 0 && size <= PEER_REQUEST_MIN);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = exact_copy(data, size);
    try_all(copy, size);
    free(copy);
    if (size < HEADER || size > PEER_MESSAGE_MAX)
        return 0;
    uint8_t *message = malloc(size + INTEGRITY);
    REQUIRE(message);
    memcpy(message, data, size);
    try_all(message, seal(message, size));
    free(message);
    return 0;
}
