/* A name server's answer: what is taken from it is bounded and well-formed. The first byte chooses the family. */
#include "fuzz.h"

#include "net/resolver_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint8_t *in = exact_copy(data + 1, size - 1);
    const int family = data[0] & 1 ? AF_INET6 : AF_INET;
    const uint16_t id = (uint16_t)(in[0] << 8 | in[1]);
    struct resolver_answer answer;
    if (resolver_answer_read(&answer, in, size - 1, id, "www.test", family)) {
        REQUIRE(answer.count <= RESOLVER_ADDRESSES_MAX);
        REQUIRE((answer.status == RESOLVER_FOUND) == (answer.count > 0));
        REQUIRE(strlen(answer.alias) <= NAME_TEXT_MAX);
        for (size_t i = 0; i < answer.count; i++)
            REQUIRE(answer.addresses[i].sa.sa_family == family);
        REQUIRE(!resolver_answer_read(&answer, in, size - 1, (uint16_t)(id ^ 1), "www.test", family));
    }
    free(in);
    return 0;
}
