/* The frames of UDP in TCP: against the model, there and back, and however they arrive. */
#include "fuzz.h"

#include "support/frame_model.h"
#include "support/messages.h"

static void require_round_trip(const uint8_t *in, size_t len, const struct socks5_frame *frame)
{
    size_t header_len = len - frame->payload_len;
    uint8_t *out = malloc(header_len), *small = malloc(header_len - 1);
    REQUIRE(out && small);
    REQUIRE(socks5_frame_header_encode(small, header_len - 1, frame) == 0);
    REQUIRE(socks5_frame_header_encode(out, header_len, frame) == header_len);
    REQUIRE(memcmp(out, in, header_len) == 0);
    free(out);
    free(small);
}

/* The answer is "more" until it is final, and the length is said from the third byte on. */
static void require_same_for_every_beginning(const uint8_t *in, size_t len, int result)
{
    size_t final_at = result > 0 ? (size_t)result : len;
    int before = 0;
    for (size_t cut = 0; cut < final_at; cut++) {
        uint8_t *beginning = exact_copy(in, cut);
        struct socks5_frame frame;
        int n = socks5_frame_decode(beginning, cut, &frame);
        size_t length = socks5_frame_length(beginning, cut);
        free(beginning);
        REQUIRE(n == 0 || (n == result && n < 0));
        REQUIRE(before == 0 || n == before);
        REQUIRE(cut < 3 ? length == 0 : n < 0 || (length > cut && length <= SOCKS5_FRAME_MAX));
        REQUIRE(cut < 3 || result <= 0 || length == (size_t)result);
        before = n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *in = exact_copy(data, size);
    struct socks5_frame frame;
    int result = socks5_frame_decode(in, size, &frame);
    struct frame_model model = frame_model(in, size);
    REQUIRE(frame_model_agrees(&model, in, result, &frame));
    REQUIRE(result <= (int)size && result <= SOCKS5_FRAME_MAX && (result != 0 || size < SOCKS5_FRAME_MAX));
    if (size <= 1024)
        require_same_for_every_beginning(in, size, result);
    if (result > 0)
        require_round_trip(in, (size_t)result, &frame);
    free(in);
    return 0;
}
