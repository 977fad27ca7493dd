#include "test.h"

#include <errno.h>
#include <string.h>

#include "proxy/address.h"

static enum address_kind read_name(const char *name, size_t len, union netaddr *addr, char *text)
{
    /* No NUL behind it, as on the wire. */
    static uint8_t bytes[255];
    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes, name, len);
    const struct socks5_addr wire = {.atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)len, .host = bytes, .port = 4321};
    return address_read(&wire, addr, text);
}

static void ip_addresses_are_read_and_unmapped(void **state)
{
    (void)state;
    static const uint8_t v4[] = {192, 0, 2, 1}, v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1},
                         mapped[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
    const struct {
        struct socks5_addr wire;
        const char *text;
    } cases[] = {
        {{.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = v4, .port = 80}, "192.0.2.1:80"},
        {{.atyp = SOCKS5_ATYP_IPV6, .host_len = 16, .host = v6, .port = 80}, "[2001:db8::1]:80"},
        {{.atyp = SOCKS5_ATYP_IPV6, .host_len = 16, .host = mapped, .port = 80}, "192.0.2.1:80"},
    };
    for (size_t i = 0; i < 3; i++) {
        union netaddr addr;
        char name[NAME_TEXT_MAX], text[NETADDR_TEXT_MAX];
        assert_int_equal(address_read(&cases[i].wire, &addr, name), ADDRESS_IP);
        assert_string_equal(netaddr_format(&addr, text), cases[i].text);
    }
}

/* Row 15, and libdsocks' literals. */
static void names_are_names_or_addresses_or_refused(void **state)
{
    (void)state;
    const struct {
        const char *in;
        enum address_kind kind;
        const char *out; /* the name, or the address */
    } cases[] = {
        {"example.com", ADDRESS_NAME, "example.com"},
        {"EXAMPLE.Com.", ADDRESS_NAME, "example.com"},
        {"a_b-c.example", ADDRESS_NAME, "a_b-c.example"},
        {"localhost", ADDRESS_NAME, "localhost"},
        {"192.0.2.1", ADDRESS_IP, "192.0.2.1:4321"},
        {"2001:db8::1", ADDRESS_IP, "[2001:db8::1]:4321"},
        {"[2001:db8::1]", ADDRESS_IP, "[2001:db8::1]:4321"},
        {"::ffff:192.0.2.1", ADDRESS_IP, "192.0.2.1:4321"},
        {"[::ffff:192.0.2.1]", ADDRESS_BAD, NULL},
        {"0x7f.1", ADDRESS_BAD, NULL},
        {"127.1", ADDRESS_BAD, NULL},
        {"1", ADDRESS_BAD, NULL},
        {"0", ADDRESS_BAD, NULL},
        {"017700000001", ADDRESS_BAD, NULL},
        {"192.0.2.1.", ADDRESS_BAD, NULL},
        {"192.0.2.01", ADDRESS_BAD, NULL},
        {"[192.0.2.1]", ADDRESS_BAD, NULL},
        {"[]", ADDRESS_BAD, NULL},
        {"[example.com]", ADDRESS_BAD, NULL},
        {"fe80::1%lo", ADDRESS_BAD, NULL},
        {"a..b", ADDRESS_BAD, NULL},
        {".", ADDRESS_BAD, NULL},
        {"a b", ADDRESS_BAD, NULL},
        {"a\nb", ADDRESS_BAD, NULL},
        {"\xc3\xa9.example", ADDRESS_BAD, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        union netaddr addr;
        char name[NAME_TEXT_MAX], text[NETADDR_TEXT_MAX];
        enum address_kind kind = read_name(cases[i].in, strlen(cases[i].in), &addr, name);
        if (kind != cases[i].kind)
            fail_msg("%s: kind %d, expected %d", cases[i].in, kind, cases[i].kind);
        if (kind == ADDRESS_NAME)
            assert_string_equal(name, cases[i].out);
        if (kind == ADDRESS_IP)
            assert_string_equal(netaddr_format(&addr, text), cases[i].out);
    }
}

static void row_15_nul_and_length(void **state)
{
    (void)state;
    union netaddr addr;
    char name[NAME_TEXT_MAX], longest[255];
    assert_int_equal(read_name("192.0.2.1\0.example", 18, &addr, name), ADDRESS_BAD);
    assert_int_equal(read_name("example.com\0", 12, &addr, name), ADDRESS_BAD);
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(read_name(longest, 255, &addr, name), ADDRESS_BAD);
    for (size_t i = 0; i < sizeof(longest); i++)
        longest[i] = i % 50 == 49 ? '.' : 'a';
    assert_int_equal(read_name(longest, 253, &addr, name), ADDRESS_NAME);
    assert_int_equal(read_name(longest, 255, &addr, name), ADDRESS_BAD);
}

static void addresses_go_to_the_wire(void **state)
{
    (void)state;
    union netaddr addr;
    assert_true(netaddr_parse(&addr, "192.0.2.1", 80));
    struct socks5_addr wire = address_to_wire(&addr);
    assert_int_equal(wire.atyp, SOCKS5_ATYP_IPV4);
    assert_int_equal(wire.port, 80);
    assert_int_equal(wire.host[0], 192);
    assert_true(netaddr_parse(&addr, "2001:db8::1", 81));
    wire = address_to_wire(&addr);
    assert_int_equal(wire.atyp, SOCKS5_ATYP_IPV6);
    assert_int_equal(wire.host_len, 16);
    const union netaddr none = {0};
    wire = address_to_wire(&none);
    assert_int_equal(wire.atyp, SOCKS5_ATYP_IPV4);
    assert_int_equal(wire.port, 0);
}

static void errors_have_their_replies(void **state)
{
    (void)state;
    assert_int_equal(address_reply_of(0), SOCKS5_REPLY_HOST_UNREACHABLE);
    assert_int_equal(address_reply_of(ENETUNREACH), SOCKS5_REPLY_NETWORK_UNREACHABLE);
    assert_int_equal(address_reply_of(EHOSTUNREACH), SOCKS5_REPLY_HOST_UNREACHABLE);
    assert_int_equal(address_reply_of(ECONNREFUSED), SOCKS5_REPLY_CONNECTION_REFUSED);
    assert_int_equal(address_reply_of(ETIMEDOUT), SOCKS5_REPLY_TTL_EXPIRED);
    assert_int_equal(address_reply_of(EPERM), SOCKS5_REPLY_NOT_ALLOWED);
    assert_int_equal(address_reply_of(EADDRNOTAVAIL), SOCKS5_REPLY_GENERAL_FAILURE); /* the network is fine */
    assert_int_equal(address_reply_of(EADDRINUSE), SOCKS5_REPLY_GENERAL_FAILURE);
    assert_int_equal(address_reply_of(EMFILE), SOCKS5_REPLY_GENERAL_FAILURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ip_addresses_are_read_and_unmapped),
        cmocka_unit_test(names_are_names_or_addresses_or_refused),
        cmocka_unit_test(row_15_nul_and_length),
        cmocka_unit_test(addresses_go_to_the_wire),
        cmocka_unit_test(errors_have_their_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
