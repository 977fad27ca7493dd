/* A PROXY protocol header: what is taken is taken whole, and no beginning of it is taken for less or more. Row 53. */
#include "fuzz.h"

#include "wire/proxyproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *in = exact_copy(data, size);
    struct proxyproto said, again;
    int used = proxyproto_decode(in, size, &said);
    REQUIRE(used <= PROXYPROTO_MAX && used <= (int)size && used >= PROXYPROTO_E_MALFORMED);
    REQUIRE(used > 0 || size < PROXYPROTO_MAX || used < 0);
    if (used > 0) {
        REQUIRE(!said.announced || said.source.host_len == 4 || said.source.host_len == 16);
        REQUIRE(said.source.host_len == said.destination.host_len);
        REQUIRE(proxyproto_decode(in, (size_t)used, &again) == used);
        REQUIRE(memcmp(&said, &again, sizeof(said)) == 0);
        REQUIRE(proxyproto_decode(in, (size_t)used - 1, &again) == 0);
    }
    free(in);
    return 0;
}
