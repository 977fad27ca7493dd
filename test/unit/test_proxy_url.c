#include "check/proxy_url.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "test.h"

/* What people write, and what it means: host, port, and the login if there is one; or why not. */
static const struct row {
    const char *text, *meaning;
} urls[] = {
    {"socks5://proxy.example.org", "proxy.example.org 1080"},
    {"socks5://192.0.2.1:1081", "192.0.2.1 1081"},
    {"socks5h://192.0.2.1:1081/", "192.0.2.1 1081"},
    {"SOCKS5://localhost:1", "localhost 1"},
    {"192.0.2.1:1081", "192.0.2.1 1081"},
    {"proxy", "proxy 1080"},
    {"socks5://[2001:db8::1]", "2001:db8::1 1080"},
    {"socks5://[2001:db8::1]:65535", "2001:db8::1 65535"},
    {"2001:db8::1", "2001:db8::1 1080"},
    {"socks5://alice:secret@proxy:1081", "proxy 1081 alice:secret"},
    {"socks5://alice@proxy", "proxy 1080 alice"},
    {"socks5://alice:@proxy", "proxy 1080 alice:"},
    {"alice:secret@[::1]:1081", "::1 1081 alice:secret"},
    {"socks5://a%40b:c%3ad%25%2F%00@proxy", "proxy 1080 a@b:c:d%/\\x00"},
    {"socks5://alice:p@ss:w/rd@proxy", "proxy 1080 alice:p@ss:w/rd"}, /* as it is written, if that is clear */

    {"http://proxy", "only SOCKS5 can be tested: write socks5://HOST:PORT"},
    {"socks4://proxy", "only SOCKS5 can be tested: write socks5://HOST:PORT"},
    {"://proxy", "only SOCKS5 can be tested: write socks5://HOST:PORT"},
    {"", "the host is missing"},
    {"socks5://", "the host is missing"},
    {"socks5://:1080", "the host is missing"},
    {"socks5://[]:1080", "the host is missing"},
    {"socks5://alice@", "the host is missing"},
    {"socks5://@proxy", "the user is missing before the @"},
    {"socks5://:secret@proxy", "the user is missing before the @"},
    {"socks5://proxy:", "a port is a number from 1 to 65535"},
    {"socks5://proxy:0", "a port is a number from 1 to 65535"},
    {"socks5://proxy:65536", "a port is a number from 1 to 65535"},
    {"socks5://proxy:-1", "a port is a number from 1 to 65535"},
    {"socks5://proxy: 80", "a port is a number from 1 to 65535"},
    {"socks5://proxy:1080x", "a port is a number from 1 to 65535"},
    {"socks5://proxy:99999999999999999999", "a port is a number from 1 to 65535"},
    {"socks5://[2001:db8::1", "write an IPv6 address in brackets: [2001:db8::1]:1080"},
    {"socks5://[2001:db8::1]1080", "write an IPv6 address in brackets: [2001:db8::1]:1080"},
    {"socks5://[2001:db8::x]", "this is no IPv6 address"},
    {"socks5://a:b:c", "this is no IPv6 address"},
    {"socks5://proxy/path", "the host name contains an invalid character"},
    {"socks5://pro xy", "the host name contains an invalid character"},
    {"socks5://alice:%4@proxy", "% must be followed by two hexadecimal digits; write % itself as %25"},
    {"socks5://alice:%zz@proxy", "% must be followed by two hexadecimal digits; write % itself as %25"},
};

static const char *tell(const char *text, char *meaning)
{
    struct proxy_url url;
    char user[1024], password[1024];
    const char *wrong = proxy_url_parse(text, &url);
    if (wrong)
        return wrong;
    int len = sprintf(meaning, "%s %u", url.host, url.port);
    log_escape(user, sizeof(user), (const char *)url.user, url.user_len);
    log_escape(password, sizeof(password), (const char *)url.password, url.password_len);
    if (url.user_len)
        len += sprintf(meaning + len, " %s", user);
    if (url.has_password)
        sprintf(meaning + len, ":%s", password);
    return meaning;
}

static void every_url(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        char room[2560];
        const char *meaning = tell(urls[i].text, room);
        if (strcmp(meaning, urls[i].meaning) != 0)
            fail_msg("\"%s\":\n  means: %s\n  expected: %s", urls[i].text, meaning, urls[i].meaning);
    }
}

/* As long as the protocol can say, and one byte more. */
static void longest(void **state)
{
    (void)state;
    struct proxy_url url;
    char text[1024];
    for (int len = 254; len <= 256; len++) {
        sprintf(text, "socks5://%0*d:secret@proxy", len, 1);
        assert_int_equal(proxy_url_parse(text, &url) == NULL, len <= 255);
        sprintf(text, "socks5://alice:%0*d@proxy", len, 1);
        assert_int_equal(proxy_url_parse(text, &url) == NULL, len <= 255);
        sprintf(text, "socks5://%0*d", len, 1);
        assert_int_equal(proxy_url_parse(text, &url) == NULL, len <= 255);
    }
}

static void a_port_that_is_not_named(void **state)
{
    (void)state;
    char host[256];
    uint16_t port = 3478;
    assert_null(host_port_parse("stun.example.org", host, &port));
    assert_string_equal(host, "stun.example.org");
    assert_int_equal(port, 3478);
    assert_null(host_port_parse("[::1]:53", host, &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 53);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_url),
        cmocka_unit_test(longest),
        cmocka_unit_test(a_port_that_is_not_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
