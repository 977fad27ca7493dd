/* The head of an HTTP request: what is taken, and with which status the rest is refused. */
#include "test.h"

#include <string.h>

#include "admin/http_request.h"

static int parse(const char *text, struct http_request *request)
{
    return http_request_parse(text, strlen(text), request);
}

static void a_browsers_request(void **state)
{
    (void)state;
    struct http_request request;
    assert_int_equal(
        parse("GET /status?after=7&limit=20 HTTP/1.1\r\nHost: 127.0.0.1:1081\r\nAccept: */*\r\n\r\n", &request), 200);
    assert_string_equal(request.path, "/status");
    assert_string_equal(request.query, "after=7&limit=20");
    assert_string_equal(request.host, "127.0.0.1:1081");
    assert_false(request.head_only);
    assert_int_equal(parse("HEAD / HTTP/1.0\n\n", &request), 200);
    assert_true(request.head_only);
    assert_string_equal(request.path, "/");
    assert_string_equal(request.query, "");
    assert_string_equal(request.host, "");
    assert_int_equal(parse("GET / HTTP/1.1\r\nhOST:\t[::1] \r\n\r\nmore", &request), 200);
    assert_string_equal(request.host, "[::1]");
}

/* RFC 9112, section 3.2.2: the target's host counts, not the Host header. */
static void an_absolute_target_names_the_host(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *path, *query;
    } rows[] = {
        {"GET http://127.0.0.1:1081/status?limit=2 HTTP/1.1\r\nHost: evil.example\r\n\r\n", "127.0.0.1:1081", "/status",
         "limit=2"},
        {"GET HTTP://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "evil.example", "/", ""},
        {"GET http://[::1]:1081 HTTP/1.1\r\n\r\n", "[::1]:1081", "/", ""},
        {"GET http://localhost?a=b/c HTTP/1.1\r\n\r\n", "localhost", "/", "a=b/c"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_request request;
        assert_int_equal(parse(rows[i].text, &request), 200);
        assert_string_equal(request.host, rows[i].host);
        assert_string_equal(request.path, rows[i].path);
        assert_string_equal(request.query, rows[i].query);
    }
}

static void an_incomplete_request_waits(void **state)
{
    (void)state;
    const char text[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct http_request request;
    for (size_t len = 0; len < strlen(text); len++)
        assert_int_equal(http_request_parse(text, len, &request), 0);
    assert_int_equal(http_request_parse(text, strlen(text), &request), 200);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"POST / HTTP/1.1\r\n\r\n", 405},
        {"get / HTTP/1.1\r\n\r\n", 405},
        {"CONNECT a:1 HTTP/1.1\r\n\r\n", 405},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET /\r\n\r\n", 400},
        {"\r\n\r\n", 400},
        {"GET https://127.0.0.1/ HTTP/1.1\r\n\r\n", 400},
        {"GET http:///status HTTP/1.1\r\n\r\n", 400},
        {"GET http:// HTTP/1.1\r\n\r\n", 400},
        {"GET http://127.0.0.1:1@evil.example/ HTTP/1.1\r\n\r\n", 400},
        {"GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET ?after=1 HTTP/1.1\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n\r\n", 400},
        {"GET / x HTTP/1.1\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\n\r\n", 414},
        {"GET /\xff HTTP/1.1\r\n\r\n", 414},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n: a\r\n\r\n", 400},
    };
    struct http_request request;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (parse(cases[i].text, &request) != cases[i].status)
            fail_msg("%s: %d", cases[i].text, parse(cases[i].text, &request));
}

static void too_long_requests_are_refused(void **state)
{
    (void)state;
    static char text[2 * HTTP_REQUEST_HEAD_MAX];
    struct http_request request;
    memset(text, 'a', sizeof(text));
    assert_int_equal(http_request_parse(text, HTTP_REQUEST_HEAD_MAX - 1, &request), 0);
    assert_int_equal(http_request_parse(text, HTTP_REQUEST_HEAD_MAX, &request), 431);
    memcpy(text, "GET /", 5);
    memcpy(&text[HTTP_REQUEST_TEXT_MAX + 4], " HTTP/1.1\n\n", 11);
    assert_int_equal(http_request_parse(text, sizeof(text), &request), 414);
    memcpy(&text[HTTP_REQUEST_TEXT_MAX + 3], " HTTP/1.1\n\n", 11);
    assert_int_equal(http_request_parse(text, sizeof(text), &request), 200);
    assert_int_equal(strlen(request.path), HTTP_REQUEST_TEXT_MAX - 1);
}

/* Row 54: a name that leads here is not enough. */
static void which_hosts_are_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1",  "127.0.0.1:1081", "192.168.1.1:80", "[::1]",
                                       "[::1]:1081", "[fd00::1]:1",    "localhost",      "LocalHost:1081"};
    static const char *const bad[] = {"evil.example",
                                      "evil.example:1081",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil.example",
                                      "[::1",
                                      "[::1]x",
                                      "[127.0.0.1]",
                                      "[localhost]",
                                      "::1",
                                      "[]",
                                      ":1081",
                                      "127.1",
                                      "0x7f000001",
                                      "2130706433"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct http_request request = {0};
        strcpy(request.host, good[i]);
        if (!http_request_names_address(&request))
            fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_request request = {0};
        strcpy(request.host, bad[i]);
        if (http_request_names_address(&request))
            fail_msg("%s", bad[i]);
    }
}

static void numbers_of_the_query(void **state)
{
    (void)state;
    struct http_request request = {.query = "after=18446744073709551615&limit=20&&x"};
    uint64_t number = 5;
    assert_true(http_request_number(&request, "after", 0, UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_true(http_request_number(&request, "limit", 1, 20, &number));
    assert_int_equal(number, 20);
    assert_true(http_request_number(&request, "lim", 1, 20, &number));
    assert_int_equal(number, 20);
    assert_false(http_request_number(&request, "limit", 1, 19, &number));
    assert_false(http_request_number(&request, "limit", 21, 30, &number));
    assert_false(http_request_number(&request, "x", 0, 9, &number));
    assert_int_equal(number, 20);
    static const char *const bad[] = {"n=",     "n=-1", "n=+1", "n= 1", "n=1x", "n=0x1", "n=18446744073709551616",
                                      "n=1&n=x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        strcpy(request.query, bad[i]);
        if (http_request_number(&request, "n", 0, UINT64_MAX, &number))
            fail_msg("%s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_browsers_request),
        cmocka_unit_test(an_absolute_target_names_the_host),
        cmocka_unit_test(an_incomplete_request_waits),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(too_long_requests_are_refused),
        cmocka_unit_test(which_hosts_are_addresses),
        cmocka_unit_test(numbers_of_the_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
