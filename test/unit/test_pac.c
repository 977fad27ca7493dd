/* Which listener a browser is sent to. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "admin/pac.h"
#include "conf/config.h"

static struct config_listener listener(const char *host, uint16_t port)
{
    struct config_listener listener = {0};
    assert_true(netaddr_parse(&listener.address, host, port));
    return listener;
}

static union netaddr at(const char *host)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, 1081));
    return address;
}

static char *script(struct config_listener *listeners, size_t count, union netaddr local)
{
    struct config config = {.listen = listeners, .listen_count = count};
    char *text = pac_format(&config, &local);
    assert_non_null(text);
    return text;
}

static void expect(struct config_listener *listeners, size_t count, const char *local, const char *found)
{
    char wanted[256];
    char *text = script(listeners, count, local ? at(local) : (union netaddr){0});
    snprintf(wanted, sizeof(wanted), "    return \"SOCKS5 %s; SOCKS %s\";\n}\n", found, found);
    if (!strstr(text, wanted))
        fail_msg("%s: expected %s in %s", local, found, text);
    free(text);
}

static void a_loopback_listener_stays(void **state)
{
    (void)state;
    struct config_listener one = listener("127.0.0.1", 1080);
    expect(&one, 1, "127.0.0.1", "127.0.0.1:1080");
    expect(&one, 1, NULL, "127.0.0.1:1080");
    expect(&one, 1, "::1", "127.0.0.1:1080");
    expect(&one, 1, "192.168.1.1", "127.0.0.1:1080");
}

static void a_wildcard_listener_has_the_address_that_the_browser_used(void **state)
{
    (void)state;
    struct config_listener v4 = listener("0.0.0.0", 1080), both = listener("::", 1080);
    expect(&v4, 1, "192.168.1.1", "192.168.1.1:1080");
    expect(&both, 1, "192.168.1.1", "192.168.1.1:1080");
    expect(&both, 1, "fd00::1", "[fd00::1]:1080");
    expect(&v4, 1, "fd00::1", "127.0.0.1:1080");
    expect(&v4, 1, NULL, "127.0.0.1:1080");
    expect(&both, 1, NULL, "[::1]:1080");
}

static void the_best_of_several_listeners_is_chosen(void **state)
{
    (void)state;
    struct config_listener some[] = {listener("127.0.0.1", 1), listener("10.0.0.1", 2), listener("192.168.1.1", 3),
                                     listener("192.168.1.1", 4)};
    some[2].need_password = true;
    expect(some, 4, "192.168.1.1", "192.168.1.1:4");
    expect(some, 3, "192.168.1.1", "192.168.1.1:3");
    expect(some, 2, "192.168.1.1", "10.0.0.1:2");
    expect(some, 4, "127.0.0.1", "127.0.0.1:1");
    expect(some, 4, NULL, "127.0.0.1:1");
    some[0].proxy_protocol = CONFIG_PROXY_PROTOCOL_REQUIRED;
    expect(some, 4, "127.0.0.1", "10.0.0.1:2");
}

static void what_a_browser_cannot_do_is_explained(void **state)
{
    (void)state;
    struct config_listener one = listener("127.0.0.1", 1080);
    char *text = script(&one, 1, at("127.0.0.1"));
    assert_null(strstr(text, "login"));
    free(text);
    one.need_password = true;
    text = script(&one, 1, at("127.0.0.1"));
    assert_non_null(strstr(text, "// This proxy requires a login"));
    free(text);
    one.proxy_protocol = CONFIG_PROXY_PROTOCOL_REQUIRED;
    text = script(&one, 1, at("127.0.0.1"));
    assert_null(strstr(text, "SOCKS"));
    assert_non_null(strstr(text, "return \"DIRECT\";"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loopback_listener_stays),
        cmocka_unit_test(a_wildcard_listener_has_the_address_that_the_browser_used),
        cmocka_unit_test(the_best_of_several_listeners_is_chosen),
        cmocka_unit_test(what_a_browser_cannot_do_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
