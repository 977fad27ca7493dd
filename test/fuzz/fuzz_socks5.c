/* The messages of a control connection. The first byte of the input picks one, the rest is what arrived. */
#include "fuzz.h"

#include <stdbool.h>

#include "support/messages.h"

/* What can be said once must be said the same again; what does not fit must not be written. */
static void require_round_trip(enum message_kind kind, const uint8_t *in, size_t len, const union message *message)
{
    uint8_t *out = malloc(len), *small = malloc(len - 1);
    REQUIRE(out && small);
    REQUIRE(message_encode(kind, small, len - 1, message) == 0);
    REQUIRE(message_encode(kind, out, len, message) == len);
    /* Only RSV may differ: it is not looked at, and leaves as 0. */
    for (size_t i = 0; i < len; i++)
        REQUIRE(out[i] == in[i] || (i == 2 && out[i] == 0 && (kind == REQUEST || kind == REPLY)));
    union message again;
    REQUIRE(message_decode(kind, out, len, &again) == (int)len);
    free(out);
    free(small);
}

/* However the bytes arrive, the answer is "more" until it is final, and then it stays. */
static void require_same_for_every_beginning(enum message_kind kind, const uint8_t *in, size_t len, int result)
{
    size_t final_at = result > 0 ? (size_t)result : len;
    bool decided = false;
    for (size_t cut = 0; cut < final_at; cut++) {
        uint8_t *beginning = exact_copy(in, cut);
        union message message;
        int n = message_decode(kind, beginning, cut, &message);
        free(beginning);
        REQUIRE(n == 0 || (n == result && n < 0));
        REQUIRE(n < 0 || !decided);
        decided = n < 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum message_kind kind = data[0] % UDP_HEADER; /* the stream's messages come before it */
    size_t len = size - 1;
    uint8_t *in = exact_copy(data + 1, len);
    union message message;
    int result = message_decode(kind, in, len, &message);
    REQUIRE(result <= (int)len);
    REQUIRE(result != 0 || len < message_max[kind]);
    REQUIRE(result >= SOCKS5_E_SHORT);
    if (len <= 2 * SOCKS5_PASSWORD_MAX)
        require_same_for_every_beginning(kind, in, len, result);
    if (result > 0)
        require_round_trip(kind, in, (size_t)result, &message);
    free(in);
    return 0;
}
