#include "test.h"

#include <endian.h>
#include <stdlib.h>

#include "base/util.h"
#include "policy/own_hosts.h"
#include "support/own_addresses.h"

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static bool contains(const struct own_hosts *hosts, const char *host)
{
    const union netaddr addr = at(host, 7);
    return own_hosts_contain(hosts, &addr);
}

static void none_is_known_at_first(void **state)
{
    (void)state;
    assert_false(contains(NULL, "192.0.2.1"));
    struct own_hosts *hosts = hosts_of(NULL, 0);
    assert_false(contains(hosts, "192.0.2.1"));
    assert_false(contains(hosts, "2001:db8::1"));
    assert_false(contains(hosts, "0.0.0.0"));
    assert_false(contains(hosts, "::"));
    own_hosts_release(hosts);
}

static void those_given_are_known_and_no_others(void **state)
{
    (void)state;
    const union netaddr given[] = {at("192.0.2.9", 0), at("2001:db8::9", 0),         at("192.0.2.1", 80),
                                   at("10.0.0.1", 0),  at("::ffff:198.51.100.1", 0), at("2001:db8:0:1::", 0)};
    struct own_hosts *hosts = hosts_of(given, 6);
    for (size_t i = 0; i < 4; i++)
        assert_true(own_hosts_contain(hosts, &given[i]));
    assert_true(contains(hosts, "198.51.100.1"));
    assert_true(contains(hosts, "2001:db8:0:1::"));
    static const char *const others[] = {"192.0.2.2", "192.0.2.0", "9.255.255.255", "255.255.255.255",
                                         "0.0.0.0",   "::",        "2001:db8::a",   "2001:db8:0:1::1",
                                         "ffff::",    "c000:201::"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(contains(hosts, others[i]));
    own_hosts_release(hosts);
}

static void who_holds_them_may_read_them(void **state)
{
    (void)state;
    const union netaddr given = at("192.0.2.9", 0);
    struct own_hosts *hosts = hosts_of(&given, 1), *held = own_hosts_hold(hosts);
    own_hosts_release(hosts);
    assert_true(contains(held, "192.0.2.9"));
    own_hosts_release(held);
    own_hosts_release(NULL);
}

static void loopback_is_left_to_reach(void **state)
{
    (void)state;
    const union netaddr addresses[] = {at("127.0.0.1", 0), at("::1", 0)};
    struct own_hosts *hosts = hosts_of(addresses, 2);
    assert_false(contains(hosts, "127.0.0.1"));
    assert_false(contains(hosts, "::1"));
    own_hosts_release(hosts);
}

/* Row 70. */
static void ten_thousand_are_known(void **state)
{
    (void)state;
    static union netaddr addresses[20000];
    for (uint32_t i = 0; i < ARRAY_LEN(addresses) / 2; i++) {
        union netaddr *v4 = &addresses[2 * i], *v6 = v4 + 1;
        *v4 = at("10.0.0.0", 0);
        v4->v4.sin_addr.s_addr |= htobe32(i);
        *v6 = at("2001:db8::", 0);
        v6->v6.sin6_addr.s6_addr[6] = (uint8_t)(i >> 8);
        v6->v6.sin6_addr.s6_addr[15] = (uint8_t)i;
    }
    struct own_hosts *hosts = hosts_of(addresses, ARRAY_LEN(addresses));
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
        assert_true(own_hosts_contain(hosts, &addresses[i]));
    assert_false(contains(hosts, "10.0.39.16"));
    assert_false(contains(hosts, "9.255.255.255"));
    assert_false(contains(hosts, "2001:db8::100"));
    own_hosts_release(hosts);
}

static void networks_are_taken_whole(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        unsigned bits;
    } given[] = {{"203.0.113.0", 24}, {"203.0.113.7", 32}, {"203.0.112.0", 21}, {"198.18.5.0", 25},
                 {"127.0.0.0", 8},    {"2001:db8::", 64},  {"2001:db8::1", 128}};
    struct own_networks networks = {0};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        const union netaddr address = at(given[i].host, 0);
        assert_true(own_networks_add(&networks, &address, given[i].bits));
    }
    struct own_hosts *hosts = own_hosts_new(&networks);
    assert_non_null(hosts);
    static const char *const own[] = {"203.0.112.0",
                                      "203.0.113.7",
                                      "203.0.119.255",
                                      "198.18.5.0",
                                      "198.18.5.127",
                                      "2001:db8::1",
                                      "2001:db8::ffff:ffff:ffff:ffff"};
    static const char *const others[] = {"203.0.111.255", "203.0.120.0", "198.18.4.255",
                                         "198.18.5.128",  "127.0.0.1",   "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
                                         "2001:db8:0:1::"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        assert_true(contains(hosts, own[i]));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(contains(hosts, others[i]));
    const union netaddr within = at("203.0.112.9", 7), end = own_hosts_last(hosts, &within), outside = at("1.2.3.4", 0),
                        itself = own_hosts_last(hosts, &outside);
    const union netaddr last = at("203.0.119.255", 0);
    assert_true(netaddr_equal_host(&end, &last) && netaddr_equal_host(&itself, &outside));
    free(networks.list);
    own_hosts_release(hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_known_at_first),       cmocka_unit_test(those_given_are_known_and_no_others),
        cmocka_unit_test(loopback_is_left_to_reach),    cmocka_unit_test(networks_are_taken_whole),
        cmocka_unit_test(who_holds_them_may_read_them), cmocka_unit_test(ten_thousand_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
