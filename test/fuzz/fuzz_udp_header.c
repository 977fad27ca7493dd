/* The header of a datagram: against the model, and there and back. Row 20 is this, for as long as one likes.
 */
#include "fuzz.h"

#include "support/messages.h"
#include "support/udp_header_model.h"

static void require_round_trip(const uint8_t *in, size_t len, const struct socks5_udp_header *header)
{
    uint8_t *out = malloc(len), *small = malloc(len - 1);
    REQUIRE(out && small);
    REQUIRE(socks5_udp_header_encode(small, len - 1, header) == 0);
    REQUIRE(socks5_udp_header_encode(out, len, header) == len);
    REQUIRE(memcmp(out, in, len) == 0);
    free(out);
    free(small);
}

static void require_short_without_the_last_byte(const uint8_t *in, size_t len)
{
    uint8_t *beginning = exact_copy(in, len - 1);
    struct socks5_udp_header header;
    REQUIRE(socks5_udp_header_decode(beginning, len - 1, &header) == SOCKS5_E_SHORT);
    free(beginning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *in = exact_copy(data, size);
    struct socks5_udp_header header;
    int result = socks5_udp_header_decode(in, size, &header);
    struct udp_header_model model = udp_header_model(in, size);
    REQUIRE(udp_header_model_agrees(&model, result, &header));
    REQUIRE(result != 0 && result <= (int)size && result <= SOCKS5_UDP_HEADER_MAX);
    if (result > 0) {
        REQUIRE(header.destination.host > in);
        REQUIRE(header.destination.host + header.destination.host_len + 2 == in + result);
        require_round_trip(in, (size_t)result, &header);
        require_short_without_the_last_byte(in, (size_t)result);
    }
    free(in);
    return 0;
}
