/* The head of an HTTP request: what follows it does not count, no beginning of it is taken for a whole, and what is
 * taken from it is text. Row 54. */
#include "fuzz.h"

#include "admin/http_request.h"

static void require_text(const char text[HTTP_REQUEST_TEXT_MAX])
{
    const char *end = memchr(text, '\0', HTTP_REQUEST_TEXT_MAX);
    REQUIRE(end);
    for (; text < end; text++)
        REQUIRE(*text > ' ' && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int known[] = {0, 200, 400, 405, 414, 431, 505};
    uint8_t *in = exact_copy(data, size);
    struct http_request request = {0}, again = {0};
    uint64_t number = 5;
    int status = http_request_parse((const char *)in, size, &request);
    bool is_known = false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        is_known |= status == known[i];
    REQUIRE(is_known && (status != 0 || size < HTTP_REQUEST_HEAD_MAX));
    if (size > 0)
        REQUIRE(http_request_parse((const char *)in, size - 1, &again) == 0 || size > HTTP_REQUEST_HEAD_MAX ||
                http_request_parse((const char *)in, size - 1, &again) == status);
    if (status == 200) {
        require_text(request.path);
        require_text(request.query);
        require_text(request.host);
        REQUIRE(request.path[0] == '/');
        (void)http_request_names_address(&request);
        REQUIRE(!http_request_number(&request, "after", 3, 9, &number) || (number >= 3 && number <= 9));
    }
    free(in);
    return 0;
}
