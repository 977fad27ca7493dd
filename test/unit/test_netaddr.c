#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <net/if.h>
#include <string.h>

#include "base/netaddr.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static union netaddr address(const char *text, uint16_t port)
{
    union netaddr addr;
    if (!netaddr_parse(&addr, text, port))
        fail_msg("\"%s\" does not parse", text);
    return addr;
}

static void literals_parse_and_are_formatted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *whole;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", "192.0.2.1:80"},
        {"0.0.0.0", "0.0.0.0", "0.0.0.0:80"},
        {"255.255.255.255", "255.255.255.255", "255.255.255.255:80"},
        {"::", "::", "[::]:80"},
        {"::1", "::1", "[::1]:80"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1", "[2001:db8::1]:80"},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80"},
        {"0000:0000:0000:0000:0000:ffff:255.255.255.255", "::ffff:255.255.255.255", "[::ffff:255.255.255.255]:80"},
        {"fe80::1", "fe80::1", "[fe80::1]:80"},
        {"fe80::1%lo", "fe80::1%lo", "[fe80::1%lo]:80"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[NETADDR_TEXT_MAX];
        union netaddr addr = address(rows[i].text, 80);
        assert_string_equal(netaddr_format_host(&addr, text), rows[i].host);
        assert_ptr_equal(netaddr_format(&addr, text), text);
        assert_string_equal(text, rows[i].whole);
        assert_int_equal(netaddr_port(&addr), 80);
    }
}

/* Row 15: forms that libc's looser functions would take, each for another address than its reader thinks of. */
static void anything_but_a_plain_literal_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "1",
        "0",
        "127.1",
        "127.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "2130706433",
        "256.0.0.1",
        "1.2.3.4.5",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "-1.2.3.4",
        "+1.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4\n",
        "1.2.3.4:80",
        "1.2.3.4/8",
        "1.2.3.4%lo",
        "[::1]",
        "[::1]:80",
        "::1]",
        ":::",
        ":",
        "1::2::3",
        "12345::",
        "::g",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "::ffff:1.2.3",
        "::ffff:1.2.3.256",
        "::1%lo",
        "2001:db8::1%lo",
        "fe80::1%",
        "fe80::1%no-such-if",
        "fe80::1%lo%lo",
        "%lo",
        "%",
        "::1 ",
        "::1/64",
        "localhost",
        "example.org",
        "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000::1",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        union netaddr addr = netaddr_any(AF_INET), before = addr;
        if (netaddr_parse(&addr, texts[i], 80))
            fail_msg("\"%s\" parses", texts[i]);
        assert_memory_equal(&addr, &before, sizeof(addr)); /* nothing half done is left behind */
    }
}

static void every_ipv4_address_is_formatted_as_it_parses(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint32_t host = htonl(i * 65537u ^ 0x5a5a0000u);
        union netaddr addr = netaddr_from_bytes((const uint8_t *)&host, 4, (uint16_t)i), again;
        char text[NETADDR_TEXT_MAX];
        assert_true(netaddr_parse(&again, netaddr_format_host(&addr, text), (uint16_t)i));
        assert_memory_equal(&again, &addr, sizeof(addr));
    }
}

static void bytes_make_an_address(void **state)
{
    (void)state;
    static const uint8_t bytes[17] = {192, 0, 2, 1, [15] = 7, [16] = 0xff};
    union netaddr v4 = netaddr_from_bytes(bytes, 4, 0x1234), v6 = netaddr_from_bytes(bytes, 16, 0x1234);
    assert_int_equal(v4.sa.sa_family, AF_INET);
    assert_int_equal(v4.v4.sin_port, htons(0x1234));
    assert_int_equal(v4.v4.sin_addr.s_addr, htonl(0xc0000201));
    assert_int_equal(netaddr_len(&v4), sizeof(struct sockaddr_in));
    assert_int_equal(v6.sa.sa_family, AF_INET6);
    assert_int_equal(v6.v6.sin6_port, htons(0x1234));
    assert_memory_equal(&v6.v6.sin6_addr, bytes, 16);
    assert_int_equal(netaddr_len(&v6), sizeof(struct sockaddr_in6));
    for (size_t len = 0; len <= 17; len++)
        if (len != 4 && len != 16)
            assert_int_equal(netaddr_from_bytes(bytes, len, 80).sa.sa_family, AF_UNSPEC);
    size_t len;
    assert_ptr_equal(netaddr_host(&v4, &len), &v4.v4.sin_addr);
    assert_int_equal(len, 4);
    assert_ptr_equal(netaddr_host(&v6, &len), &v6.v6.sin6_addr);
    assert_int_equal(len, 16);
}

static void none_is_an_address_too(void **state)
{
    (void)state;
    union netaddr none = {0};
    char text[NETADDR_TEXT_MAX];
    size_t len = 1;
    assert_string_equal(netaddr_format(&none, text), "none");
    assert_string_equal(netaddr_format_host(&none, text), "none");
    assert_null(netaddr_host(&none, &len));
    assert_int_equal(len, 0);
    assert_int_equal(netaddr_port(&none), 0);
    netaddr_set_port(&none, 80);
    assert_int_equal(netaddr_port(&none), 0);
    assert_false(netaddr_is_any(&none));
    assert_true(netaddr_equal(&none, &(union netaddr){0}));
    union netaddr any = netaddr_any(AF_INET);
    assert_false(netaddr_equal(&none, &any));
    assert_int_equal(netaddr_canonical(&none).sa.sa_family, AF_UNSPEC);
}

static void the_longest_text_fits(void **state)
{
    (void)state;
    union netaddr addr = address("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 65535);
    char text[NETADDR_TEXT_MAX];
    assert_true(strlen(netaddr_format(&addr, text)) + IF_NAMESIZE + 1 < NETADDR_TEXT_MAX);
    /* A scope whose interface has gone has no name; the address still has. */
    addr = address("fe80::1", 1);
    addr.v6.sin6_scope_id = 0x7ffffff0;
    assert_string_equal(netaddr_format(&addr, text), "[fe80::1]:1");
}

static void wildcards(void **state)
{
    (void)state;
    union netaddr v4 = netaddr_any(AF_INET), v6 = netaddr_any(AF_INET6);
    assert_int_equal(v4.sa.sa_family, AF_INET);
    assert_int_equal(v6.sa.sa_family, AF_INET6);
    assert_true(netaddr_is_any(&v4));
    assert_true(netaddr_is_any(&v6));
    netaddr_set_port(&v4, 80);
    assert_true(netaddr_is_any(&v4));
    union netaddr one = address("0.0.0.1", 0), loopback = address("::1", 0);
    assert_false(netaddr_is_any(&one));
    assert_false(netaddr_is_any(&loopback));
}

static void equality(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        uint16_t a_port;
        const char *b;
        uint16_t b_port;
        bool same_host, same;
    } rows[] = {
        {"192.0.2.1", 80, "192.0.2.1", 80, true, true},
        {"192.0.2.1", 80, "192.0.2.1", 81, true, false},
        {"192.0.2.1", 80, "192.0.2.2", 80, false, false},
        {"2001:db8::1", 80, "2001:db8::1", 80, true, true},
        {"2001:db8::1", 80, "2001:db8::1", 81, true, false},
        {"2001:db8::1", 80, "2001:db8::2", 80, false, false},
        {"2001:db9::1", 80, "2001:db8::1", 80, false, false},
        {"::ffff:192.0.2.1", 80, "192.0.2.1", 80, false, false}, /* Row 12: unmap first */
        {"0.0.0.0", 0, "::", 0, false, false},
        {"fe80::1%lo", 80, "fe80::1%lo", 80, true, true},
        {"fe80::1%lo", 80, "fe80::1", 80, true, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        union netaddr a = address(rows[i].a, rows[i].a_port), b = address(rows[i].b, rows[i].b_port);
        if (netaddr_equal_host(&a, &b) != rows[i].same_host || netaddr_equal(&a, &b) != rows[i].same ||
            netaddr_equal_host(&b, &a) != rows[i].same_host || netaddr_equal(&b, &a) != rows[i].same)
            fail_msg("%s port %d and %s port %d", rows[i].a, rows[i].a_port, rows[i].b, rows[i].b_port);
    }
}

static void scope_tells_link_local_addresses_apart_and_no_others(void **state)
{
    (void)state;
    union netaddr a = address("fe80::1", 80), b = a;
    a.v6.sin6_scope_id = 1;
    b.v6.sin6_scope_id = 2;
    assert_false(netaddr_equal_host(&a, &b));
    b.v6.sin6_scope_id = 0;
    assert_true(netaddr_equal_host(&a, &b));
    a = b = address("2001:db8::1", 80);
    a.v6.sin6_scope_id = 1;
    b.v6.sin6_scope_id = 2;
    assert_true(netaddr_equal_host(&a, &b));
}

/* Row 12. */
static void only_mapped_addresses_are_unmapped(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::ffff:0.0.0.0", "0.0.0.0"},
        {"::ffff:255.255.255.255", "255.255.255.255"},
        {"::192.0.2.1", "::192.0.2.1"},
        {"::fffe:192.0.2.1", "::fffe:192.0.2.1"},
        {"::1:ffff:192.0.2.1", "::1:ffff:192.0.2.1"},
        {"64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"},
        {"192.0.2.1", "192.0.2.1"},
        {"::", "::"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        union netaddr addr = address(rows[i].from, 4711), expected = address(rows[i].to, 4711);
        netaddr_unmap(&addr);
        assert_memory_equal(&addr, &expected, sizeof(addr));
    }
}

/* Rows 21 and 22: what a packet to it reaches in the end is what policy judges. */
static void every_embedding_has_its_canonical_address(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::ffff:127.0.0.1", "127.0.0.1"},
        {"::ffff:0.0.0.0", "0.0.0.0"},
        {"::127.0.0.1", "127.0.0.1"},
        {"::0.0.0.2", "0.0.0.2"},
        {"2002:7f00:1::", "127.0.0.1"},
        {"2002:7f00:1:ffff:ffff:ffff:ffff:ffff", "127.0.0.1"},
        {"2002::", "0.0.0.0"},
        {"2002:a9fe:a9fe::1", "169.254.169.254"},
        {"64:ff9b::127.0.0.1", "127.0.0.1"},
        {"64:ff9b::10.0.0.1", "10.0.0.1"},
        {"64:ff9b::", "0.0.0.0"},
        /* Themselves: neighbours of the prefixes, and the two addresses that only look compatible. */
        {"::", "::"},
        {"::1", "::1"},
        {"::fffe:127.0.0.1", "::fffe:127.0.0.1"},
        {"::1:0:7f00:1", "::1:0:7f00:1"},
        {"2003:7f00:1::", "2003:7f00:1::"},
        {"2001:7f00:1::", "2001:7f00:1::"},
        {"64:ff9b:0:0:0:1:7f00:1", "64:ff9b::1:7f00:1"},
        {"64:ff9c::127.0.0.1", "64:ff9c::127.0.0.1"},
        {"2001:db8::127.0.0.1", "2001:db8::127.0.0.1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        union netaddr addr = address(rows[i].from, 53), expected = address(rows[i].to, 53);
        union netaddr canonical = netaddr_canonical(&addr);
        if (!netaddr_equal(&canonical, &expected)) {
            char text[NETADDR_TEXT_MAX];
            fail_msg("%s becomes %s, expected %s port 53", rows[i].from, netaddr_format(&canonical, text), rows[i].to);
        }
        union netaddr again = netaddr_canonical(&canonical);
        assert_memory_equal(&again, &canonical, sizeof(again));
    }
}

static void ipv6_addresses_of_one_network(void **state)
{
    (void)state;
    const union netaddr one = address("2001:db8:1:2::1", 1), temporary = address("2001:db8:1:2:f00d::7", 2);
    const union netaddr next = address("2001:db8:1:3::1", 1), ula = address("fd00::1", 1), ula2 = address("fd00::2", 1);
    const union netaddr link = address("fe80::1", 1), link2 = address("fe80::2", 1);
    const union netaddr v4 = address("192.0.2.1", 1), mapped = address("::ffff:192.0.2.1", 1);
    assert_true(netaddr_equal_network(&one, &temporary));
    assert_true(netaddr_equal_network(&ula, &ula2));
    assert_false(netaddr_equal_network(&one, &next));
    assert_false(netaddr_equal_network(&link, &link2)); /* all hosts on the link, and none has temporary ones */
    assert_false(netaddr_equal_network(&v4, &v4));
    assert_false(netaddr_equal_network(&v4, &mapped));
}

static void listeners_that_overlap(void **state)
{
    (void)state;
    static const struct {
        const char *one, *other;
        bool overlap;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", true}, {"127.0.0.1", "0.0.0.0", true}, {"0.0.0.0", "::", true},
        {"10.0.0.1", "::", true},         {"fd00::1", "::", true},        {"10.0.0.1", "10.0.0.2", false},
        {"fd00::1", "0.0.0.0", false},    {"fd00::1", "fd00::2", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        union netaddr one, other;
        assert_true(netaddr_parse(&one, rows[i].one, 1080) && netaddr_parse(&other, rows[i].other, 1080));
        assert_int_equal(netaddr_overlaps(&one, &other), rows[i].overlap);
        assert_int_equal(netaddr_overlaps(&other, &one), rows[i].overlap);
        netaddr_set_port(&other, 1081);
        assert_false(netaddr_overlaps(&one, &other));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_parse_and_are_formatted),
        cmocka_unit_test(anything_but_a_plain_literal_is_refused),
        cmocka_unit_test(every_ipv4_address_is_formatted_as_it_parses),
        cmocka_unit_test(bytes_make_an_address),
        cmocka_unit_test(none_is_an_address_too),
        cmocka_unit_test(listeners_that_overlap),
        cmocka_unit_test(the_longest_text_fits),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(equality),
        cmocka_unit_test(scope_tells_link_local_addresses_apart_and_no_others),
        cmocka_unit_test(only_mapped_addresses_are_unmapped),
        cmocka_unit_test(ipv6_addresses_of_one_network),
        cmocka_unit_test(every_embedding_has_its_canonical_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
