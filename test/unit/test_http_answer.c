#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/http_answer.h"

/* In exactly its bytes, so that a sanitizer sees a read beyond them. */
static enum http_progress read_text(const char *text, bool ended, struct http_answer *answer)
{
    static char *copy;
    size_t len = strlen(text);
    free(copy);
    copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    return http_answer_read(copy, len, ended, answer);
}

static void expect(const char *text, int status, const char *body)
{
    struct http_answer answer;
    assert_int_equal(read_text(text, true, &answer), HTTP_COMPLETE);
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.body_len, strlen(body));
    assert_memory_equal(answer.body, body, strlen(body));
}

static void an_answer(void **state)
{
    (void)state;
    expect("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", 200, "{}");
    expect("HTTP/1.1 503 Service Unavailable\r\ncontent-length:\t 5 \r\n\r\nbusy\n", 503, "busy\n");
    expect("HTTP/1.0 404\r\n\r\n", 404, "");
    expect("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end");
    expect("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}and more", 200, "{}");
    expect("HTTP/1.0 200 OK\r\nX-Content-Length: 9\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n7", 200, "7");
}

static void an_answer_may_arrive_in_pieces(void **state)
{
    (void)state;
    const char *text = "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    for (size_t len = 0; len <= strlen(text); len++) {
        char part[64];
        struct http_answer answer;
        snprintf(part, sizeof(part), "%.*s", (int)len, text);
        assert_int_equal(read_text(part, false, &answer), len < strlen(text) ? HTTP_MORE : HTTP_COMPLETE);
        assert_int_equal(read_text(part, true, &answer), len < strlen(text) ? HTTP_CUT_SHORT : HTTP_COMPLETE);
    }
    struct http_answer answer; /* without a length only the end tells */
    assert_int_equal(read_text("HTTP/1.0 200 OK\r\n\r\nbody", false, &answer), HTTP_MORE);
}

static void other_bytes_are_not_an_answer(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "\x05\xff",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.0  200 OK\r\n\r\n",
        "HTTP/1.0 20 OK\r\n\r\n",
        "HTTP/1.0 2000 OK\r\n\r\n",
        "HTTP/1.0 099 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0x10\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct http_answer answer;
        print_message("# text %zu\n", i);
        assert_int_equal(read_text(texts[i], true, &answer), HTTP_WRONG);
    }
}

static void a_too_large_answer_is_refused(void **state)
{
    (void)state;
    static const char *const lengths[] = {"16777217", "10000000000", "18446744073709551616", "184467440737095516160"};
    struct http_answer answer;
    char text[128];
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        snprintf(text, sizeof(text), "HTTP/1.0 200 OK\r\nContent-Length: %s\r\n\r\n", lengths[i]);
        assert_int_equal(read_text(text, false, &answer), HTTP_TOO_LARGE);
    }
    assert_int_equal(read_text("HTTP/1.0 200 OK\r\nContent-Length: 16777216\r\n\r\n", false, &answer), HTTP_MORE);
    /* One that does not say so, and a head that never ends. */
    size_t size = HTTP_BODY_MAX + 64;
    char *flood = malloc(size);
    assert_non_null(flood);
    memset(flood, 'x', size);
    memcpy(flood, "HTTP/1.0 200 OK\r\n\r\n", 19);
    assert_int_equal(http_answer_read(flood, 19 + HTTP_BODY_MAX, false, &answer), HTTP_MORE);
    assert_int_equal(http_answer_read(flood, 20 + HTTP_BODY_MAX, false, &answer), HTTP_TOO_LARGE);
    memset(flood + 17, 'x', 2);
    assert_int_equal(http_answer_read(flood, HTTP_HEAD_MAX - 1, false, &answer), HTTP_MORE);
    assert_int_equal(http_answer_read(flood, HTTP_HEAD_MAX, false, &answer), HTTP_WRONG);
    free(flood);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer),
        cmocka_unit_test(an_answer_may_arrive_in_pieces),
        cmocka_unit_test(other_bytes_are_not_an_answer),
        cmocka_unit_test(a_too_large_answer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
