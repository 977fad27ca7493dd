#include "check/stun_servers.h"

#include <string.h>

#include "test.h"

static void lists_are_parsed(void **state)
{
    static const struct {
        const char *text;
        const char *names; /* NULL: the list is wrong */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"stun.example.org:19302 192.0.2.1", "stun.example.org:19302, 192.0.2.1"},
        {" a.example,, b.example:1 ", "a.example, b.example:1"},
        {"[2001:db8::1]:3478", "[2001:db8::1]:3478"},
        {"a b c d e f g h", "a, b, c, d, e, f, g, h"},
        {"a b c d e f g h i", NULL},
        {"", NULL},
        {",", NULL},
        {"a.example:99999", NULL},
        {"a.example:0", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct stun_servers servers = {.count = 0};
        char text[256];
        const char *wrong = stun_servers_add(&servers, rows[i].text);
        if (!wrong != !!rows[i].names ||
            (!wrong && strcmp(stun_servers_list(&servers, text, sizeof(text)), rows[i].names)))
            fail_msg("\"%s\": %s", rows[i].text, wrong ? wrong : text);
    }
}

static void the_default_port_is_stuns(void **state)
{
    struct stun_servers servers = {.count = 0};
    (void)state;
    assert_null(stun_servers_add(&servers, "a.example b.example:19302"));
    assert_int_equal(servers.list[0].port, STUN_PORT);
    assert_int_equal(servers.list[1].port, 19302);
}

/* A build may have none. */
static void the_built_in_list_is_valid(void **state)
{
    struct stun_servers servers = {.count = 0};
    (void)state;
    if (*stun_servers_built_in)
        assert_null(stun_servers_add(&servers, stun_servers_built_in));
}

/* The same address twice is one place, and different servers come before the same one's second address. */
static void different_servers_come_first(void **state)
{
    struct stun_servers servers = {.count = 0};
    struct stun_places places;
    (void)state;
    assert_null(stun_servers_add(&servers, "192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.1 192.0.2.1:19302"));
    stun_servers_resolve(&servers, &places);
    static const unsigned expected[] = {0, 1, 2, 4};
    assert_int_equal(places.count, 4);
    for (size_t i = 0; i < places.count; i++)
        assert_int_equal(places.list[i].server, expected[i]);
    assert_int_equal(places.list[2].address.sa.sa_family, AF_INET6);
    assert_int_equal(netaddr_port(&places.list[3].address), 19302);
}

static void a_name_without_an_address_has_an_error(void **state)
{
    struct stun_servers servers = {.count = 0};
    struct stun_places places;
    (void)state;
    assert_null(stun_servers_add(&servers, "nobody.invalid 192.0.2.1"));
    stun_servers_resolve(&servers, &places);
    assert_int_not_equal(servers.list[0].error, 0);
    assert_int_equal(servers.list[1].error, 0);
    assert_int_equal(places.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_parsed),
        cmocka_unit_test(the_default_port_is_stuns),
        cmocka_unit_test(the_built_in_list_is_valid),
        cmocka_unit_test(different_servers_come_first),
        cmocka_unit_test(a_name_without_an_address_has_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
