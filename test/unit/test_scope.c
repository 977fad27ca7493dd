#include "check/scope.h"

#include "base/util.h"
#include "check/io.h"
#include "test.h"

static const struct {
    const char *address;
    enum address_scope scope;
} rows[] = {
    {"0.0.0.0", SCOPE_NONE},
    {"::", SCOPE_NONE},
    {"127.0.0.1", SCOPE_HOST},
    {"127.255.255.255", SCOPE_HOST},
    {"::1", SCOPE_HOST},
    {"::ffff:127.0.0.1", SCOPE_HOST},
    {"10.0.0.1", SCOPE_PRIVATE},
    {"172.16.0.1", SCOPE_PRIVATE},
    {"172.31.255.255", SCOPE_PRIVATE},
    {"192.168.0.1", SCOPE_PRIVATE},
    {"100.64.0.1", SCOPE_PRIVATE},
    {"100.127.255.255", SCOPE_PRIVATE},
    {"169.254.1.1", SCOPE_PRIVATE},
    {"fd00::1", SCOPE_PRIVATE},
    {"fc00::1", SCOPE_PRIVATE},
    {"fe80::1", SCOPE_PRIVATE},
    {"::ffff:10.0.0.1", SCOPE_PRIVATE},
    {"126.255.255.255", SCOPE_PUBLIC},
    {"128.0.0.1", SCOPE_PUBLIC},
    {"172.15.255.255", SCOPE_PUBLIC},
    {"172.32.0.1", SCOPE_PUBLIC},
    {"100.63.255.255", SCOPE_PUBLIC},
    {"100.128.0.1", SCOPE_PUBLIC},
    {"192.167.0.1", SCOPE_PUBLIC},
    {"198.51.100.1", SCOPE_PUBLIC},
    {"2001:db8::1", SCOPE_PUBLIC},
    {"fe00::1", SCOPE_PUBLIC},
};

static void every_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        union netaddr address;
        assert_true(netaddr_parse(&address, rows[i].address, 0));
        if (scope_of(&address) != rows[i].scope)
            fail_msg("%s: %d, expected %d", rows[i].address, scope_of(&address), rows[i].scope);
    }
}

static void beyond_the_link(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool beyond;
    } links[] = {{"0.0.0.0", false},    {"127.0.0.1", false},   {"169.254.1.1", false},
                 {"192.168.0.1", true}, {"198.51.100.1", true}, {"::1", false},
                 {"fe80::1", false},    {"fd00::1", true},      {"2001:db8::1", true}};
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        union netaddr address;
        assert_true(netaddr_parse(&address, links[i].address, 0));
        assert_int_equal(scope_is_beyond_link(&address), links[i].beyond);
    }
}

/* Every address of 127.0.0.0/8 is this machine's; one for documentation is no machine's. */
static void own_addresses(void **state)
{
    (void)state;
    union netaddr address;
    netaddr_parse(&address, "127.0.0.1", 1080);
    assert_true(io_is_own_address(&address));
    netaddr_parse(&address, "192.0.2.1", 1080);
    assert_false(io_is_own_address(&address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_address), cmocka_unit_test(beyond_the_link),
                                       cmocka_unit_test(own_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
