/* A STUN message from a stranger: what is taken can be said again and means the same. */
#include "fuzz.h"

#include "check/peer/stun.h"

static void require_round_trip(const struct stun_message *said)
{
    uint8_t bytes[STUN_MESSAGE_MAX];
    struct stun_message heard;
    size_t len = stun_encode(bytes, sizeof(bytes), said);
    REQUIRE(len >= STUN_HEADER && len % 4 == 0 && stun_length(bytes) == len);
    REQUIRE(stun_decode(bytes, len, &heard) == (int)len);
    REQUIRE(memcmp(said, &heard, sizeof(heard)) == 0);
    REQUIRE(stun_encode(bytes, len - 1, said) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *in = exact_copy(data, size);
    struct stun_message message, again;
    int len = stun_decode(in, size, &message);
    REQUIRE(len >= STUN_E_ATTRIBUTE && len != 0 && len <= (int)size);
    if (len > 0) {
        REQUIRE(len >= STUN_HEADER && stun_length(in) == (size_t)len);
        REQUIRE(message.error_code == 0 || (message.error_code >= 300 && message.error_code <= 699));
        REQUIRE(stun_decode(in, (size_t)len - 1, &again) == STUN_E_SHORT);
        require_round_trip(&message);
    }
    free(in);
    return 0;
}
