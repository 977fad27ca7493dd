/*
 * What a server says to us. Input: a byte whose lowest bit says whether we have a login to offer, whose others say how
 * large the pieces are, and the server's bytes. In pieces and as much as is wanted at once must come to the same.
 */
#include "fuzz.h"

#include "wire/client_handshake.h"

struct outcome {
    enum client_step step;
    size_t used, said;
    uint8_t code;
};

static struct outcome play(bool login, const uint8_t *server, size_t size, size_t piece)
{
    static const uint8_t text[] = "example";
    const struct socks5_addr to = {.atyp = SOCKS5_ATYP_NAME, .host_len = 7, .host = text, .port = 80};
    const struct socks5_password user = {text, text, 7, 7};
    struct outcome outcome = {.step = CLIENT_MORE};
    struct client_handshake h;
    REQUIRE(client_handshake_init(&h, SOCKS5_COMMAND_CONNECT, &to, login ? &user : NULL));
    while (outcome.step == CLIENT_MORE && outcome.used < size) {
        size_t n = client_handshake_wants(&h);
        REQUIRE(n > 0 && h.in_len + n <= sizeof(h.in));
        n = n < piece ? n : piece;
        n = n < size - outcome.used ? n : size - outcome.used;
        outcome.said += h.out_len;
        h.out_len = 0;
        uint8_t *copy = exact_copy(server + outcome.used, n);
        outcome.step = client_handshake_advance(&h, copy, n);
        free(copy);
        outcome.used += n;
    }
    REQUIRE((client_handshake_wants(&h) == 0) == (outcome.step != CLIENT_MORE));
    REQUIRE((h.failure != NULL) == (outcome.step == CLIENT_FAILED));
    if (outcome.step == CLIENT_GRANTED)
        REQUIRE(h.bound.host_len > 0 && h.bound.host);
    if (outcome.step == CLIENT_REFUSED)
        REQUIRE(h.code != 0);
    outcome.code = h.code;
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool login = data[0] & 1;
    const struct outcome whole = play(login, data + 1, size - 1, SIZE_MAX);
    const struct outcome pieces = play(login, data + 1, size - 1, 1u + (data[0] >> 1));
    REQUIRE(whole.step == pieces.step && whole.used == pieces.used && whole.said == pieces.said);
    REQUIRE(whole.code == pieces.code);
    return 0;
}
