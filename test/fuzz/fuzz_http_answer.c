/* The answer to `conesocks status`. The first byte: whether the connection ends after the rest. */
#include "fuzz.h"

#include "command/http_answer.h"

/* Once it is final it stays so, whatever else comes. */
static void require_same_for_every_beginning(const uint8_t *in, size_t len, enum http_progress whole)
{
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *beginning = exact_copy(in, cut);
        struct http_answer answer;
        enum http_progress progress = http_answer_read((const char *)beginning, cut, false, &answer);
        free(beginning);
        REQUIRE(progress != HTTP_CUT_SHORT);
        REQUIRE(progress == HTTP_MORE || progress == whole);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t len = size - 1;
    uint8_t *in = exact_copy(data + 1, len);
    struct http_answer answer;
    enum http_progress progress = http_answer_read((const char *)in, len, data[0] & 1, &answer);
    REQUIRE(progress != HTTP_MORE || !(data[0] & 1));
    REQUIRE(progress != HTTP_CUT_SHORT || (data[0] & 1));
    if (progress == HTTP_COMPLETE) {
        REQUIRE(answer.status >= 100 && answer.status <= 999 && answer.body_len <= HTTP_BODY_MAX);
        size_t head = (size_t)((const uint8_t *)answer.body - in);
        REQUIRE(head >= 16 && head <= HTTP_HEAD_MAX && head + answer.body_len <= len);
    }
    if (len <= 1024)
        require_same_for_every_beginning(in, len, progress);
    free(in);
    return 0;
}
