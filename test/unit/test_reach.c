#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/reach.h"

/* The registries again, as text and as a longest match bit by bit: slow, and shares nothing with the subject. */
static const struct range {
    const char *text;
    enum reach_place place;
} ranges[] = {
    {"0.0.0.0/0", REACH_PUBLIC},
    {"0.0.0.0/8", REACH_UNSPECIFIED},
    {"10.0.0.0/8", REACH_PRIVATE},
    {"100.64.0.0/10", REACH_PRIVATE},
    {"100.100.100.200/32", REACH_METADATA},
    {"127.0.0.0/8", REACH_LOOPBACK},
    {"168.63.129.16/32", REACH_METADATA},
    {"169.254.0.0/16", REACH_LINK_LOCAL},
    {"169.254.169.254/32", REACH_METADATA},
    {"172.16.0.0/12", REACH_PRIVATE},
    {"192.0.0.0/24", REACH_RESERVED},
    {"192.0.0.192/32", REACH_METADATA},
    {"192.0.2.0/24", REACH_RESERVED},
    {"192.88.99.0/24", REACH_RESERVED},
    {"192.168.0.0/16", REACH_PRIVATE},
    {"198.18.0.0/15", REACH_RESERVED},
    {"198.51.100.0/24", REACH_RESERVED},
    {"203.0.113.0/24", REACH_RESERVED},
    {"224.0.0.0/4", REACH_MULTICAST},
    {"240.0.0.0/4", REACH_RESERVED},
    {"255.255.255.255/32", REACH_BROADCAST},
    {"::/0", REACH_RESERVED},
    {"::/128", REACH_UNSPECIFIED},
    {"::1/128", REACH_LOOPBACK},
    {"64:ff9b:1::/48", REACH_RESERVED},
    {"100::/64", REACH_RESERVED},
    {"2000::/3", REACH_PUBLIC},
    {"2001::/23", REACH_RESERVED},
    {"2001::/32", REACH_RESERVED}, /* Teredo */
    {"2001:db8::/32", REACH_RESERVED},
    {"2002::/16", REACH_RESERVED},
    {"3fff::/20", REACH_RESERVED},
    {"5f00::/16", REACH_RESERVED},
    {"fc00::/7", REACH_PRIVATE},
    {"fd00:ec2::254/128", REACH_METADATA},
    {"fd00:ec2::23/128", REACH_METADATA},
    {"fd20:ce::254/128", REACH_METADATA},
    {"fd00:42::42/128", REACH_METADATA},
    {"fd00:c1::a9fe:a9fe/128", REACH_METADATA},
    {"fe80::/10", REACH_LINK_LOCAL},
    {"fec0::/10", REACH_RESERVED},
    {"ff00::/8", REACH_MULTICAST},
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

struct bits {
    uint8_t bytes[16];
    size_t len; /* 4 or 16 */
    unsigned prefix;
};

static struct bits parse_range(const char *text)
{
    struct bits bits = {.len = strchr(text, ':') ? 16 : 4};
    char host[64];
    assert_int_equal(sscanf(text, "%63[^/]/%u", host, &bits.prefix), 2);
    assert_int_equal(inet_pton(bits.len == 4 ? AF_INET : AF_INET6, host, bits.bytes), 1);
    return bits;
}

static struct bits parsed[RANGES];

static bool bit(const uint8_t *bytes, unsigned i)
{
    return bytes[i / 8] >> (7 - i % 8) & 1;
}

static enum reach_place model(const uint8_t *bytes, size_t len)
{
    enum reach_place place = REACH_RESERVED;
    unsigned longest = 0;
    for (size_t i = 0; i < RANGES; i++) {
        const struct bits *range = &parsed[i];
        if (range->len != len || range->prefix < longest)
            continue;
        unsigned same = 0;
        while (same < range->prefix && bit(bytes, same) == bit(range->bytes, same))
            same++;
        if (same == range->prefix) {
            place = ranges[i].place;
            longest = range->prefix;
        }
    }
    return place;
}

static void expect_place(const uint8_t *bytes, size_t len)
{
    union netaddr address = netaddr_from_bytes(bytes, len, 53);
    enum reach_place found = reach_place_of(&address), wanted = model(bytes, len);
    char text[NETADDR_TEXT_MAX];
    if (found != wanted)
        fail_msg("%s is %s, not %s", netaddr_format_host(&address, text), reach_place_name(found),
                 reach_place_name(wanted));
}

/* The first and last address of a range. */
static void edges(const struct bits *range, uint8_t first[16], uint8_t last[16])
{
    memcpy(first, range->bytes, range->len);
    memcpy(last, range->bytes, range->len);
    for (unsigned i = range->prefix; i < range->len * 8; i++)
        last[i / 8] = (uint8_t)(last[i / 8] | 1u << (7 - i % 8));
}

static void step(uint8_t *bytes, size_t len, int by)
{
    for (size_t i = len; i-- > 0;) {
        bytes[i] = (uint8_t)(bytes[i] + by);
        if (bytes[i] != (by > 0 ? 0 : 255))
            return;
    }
}

static void places_at_both_edges(void **state)
{
    (void)state;
    for (size_t i = 0; i < RANGES; i++) {
        struct bits range = parsed[i];
        uint8_t first[16], last[16];
        edges(&range, first, last);
        expect_place(first, range.len);
        expect_place(last, range.len);
        step(first, range.len, -1);
        step(last, range.len, +1);
        expect_place(first, range.len);
        expect_place(last, range.len);
    }
}

static void places_like_the_model(void **state)
{
    (void)state;
    srandom(1);
    for (int i = 0; i < 200000; i++) {
        uint8_t bytes[16];
        for (size_t b = 0; b < sizeof(bytes); b++)
            bytes[b] = (uint8_t)random();
        struct bits range = parsed[(size_t)random() % RANGES];
        /* half of them keep some of a range's first bits, so that they come near it */
        unsigned kept = random() % 2 ? (unsigned)random() % (range.prefix + 8) : 0;
        for (unsigned b = 0; b < kept && b < range.len * 8; b++)
            if (bit(bytes, b) != bit(range.bytes, b))
                bytes[b / 8] = (uint8_t)(bytes[b / 8] ^ 1u << (7 - b % 8));
        expect_place(bytes, range.len);
    }
}

enum client_kind { LOOPBACK_CLIENT, PRIVATE_CLIENT, OTHER_CLIENT };
static const struct {
    const char *address;
    enum client_kind kind;
} clients[] = {
    {"127.0.0.1", LOOPBACK_CLIENT},
    {"127.255.255.254", LOOPBACK_CLIENT},
    {"::1", LOOPBACK_CLIENT},
    {"::ffff:127.0.0.1", LOOPBACK_CLIENT}, /* what a dual-stack socket reports */
    {"10.9.8.7", PRIVATE_CLIENT},
    {"192.168.1.2", PRIVATE_CLIENT},
    {"100.64.0.9", PRIVATE_CLIENT},
    {"169.254.7.7", PRIVATE_CLIENT},
    {"::ffff:10.9.8.7", PRIVATE_CLIENT},
    {"fd00::7", PRIVATE_CLIENT},
    {"fe80::7", PRIVATE_CLIENT},
    {"8.8.8.8", OTHER_CLIENT},
    {"2606:4700::1111", OTHER_CLIENT},
    /* These only look like somebody near: anybody can make up the address inside. */
    {"2002:7f00:1::1", OTHER_CLIENT},
    {"::127.0.0.1", OTHER_CLIENT},
    {"64:ff9b::10.9.8.7", OTHER_CLIENT},
};

static bool allowed_by_model(enum config_reach reach, enum client_kind client, enum reach_place place)
{
    if (place == REACH_MULTICAST || place == REACH_BROADCAST || place == REACH_UNSPECIFIED)
        return false;
    if (reach == CONFIG_REACH_ALL || (reach == CONFIG_REACH_AUTO && client == LOOPBACK_CLIENT))
        return true;
    bool near = reach == CONFIG_REACH_PRIVATE || (reach == CONFIG_REACH_AUTO && client == PRIVATE_CLIENT);
    return place == REACH_PUBLIC || (near && place == REACH_PRIVATE);
}

/* For every client under every setting. */
static void expect_verdicts(const union netaddr *destination, enum reach_place wanted)
{
    for (size_t c = 0; c < sizeof(clients) / sizeof(clients[0]); c++) {
        union netaddr client;
        assert_true(netaddr_parse(&client, clients[c].address, 40000));
        for (enum config_reach reach = CONFIG_REACH_AUTO; reach <= CONFIG_REACH_ALL; reach++) {
            enum reach_place place;
            bool allowed = reach_allowed(reach, &client, destination, &place);
            char text[NETADDR_TEXT_MAX];
            if (place != wanted || allowed != allowed_by_model(reach, clients[c].kind, wanted))
                fail_msg("setting %d: %s to %s (%s, should be %s): %s", (int)reach, clients[c].address,
                         netaddr_format_host(destination, text), reach_place_name(place), reach_place_name(wanted),
                         allowed ? "allowed" : "refused");
        }
    }
}

static void expect_verdicts_in_disguise(const uint8_t *bytes)
{
    static const char *const disguises[] = {
        "::ffff:%d.%d.%d.%d",       /* IPv4-mapped */
        "::%d.%d.%d.%d",            /* IPv4-compatible */
        "64:ff9b::%d.%d.%d.%d",     /* NAT64 */
        "2002:%02x%02x:%02x%02x::", /* 6to4 */
    };
    for (size_t i = 0; i < sizeof(disguises) / sizeof(disguises[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), disguises[i], bytes[0], bytes[1], bytes[2], bytes[3]);
        union netaddr address;
        assert_true(netaddr_parse(&address, text, 80));
        expect_verdicts(&address, model(bytes, 4));
    }
}

/* Rows 21 to 23 and 28. */
static void judges_by_place_and_client(void **state)
{
    (void)state;
    for (size_t i = 0; i < RANGES; i++) {
        struct bits range = parsed[i];
        uint8_t edge[2][16];
        edges(&range, edge[0], edge[1]);
        for (int e = 0; e < 2; e++) {
            union netaddr address = netaddr_from_bytes(edge[e], range.len, 80);
            bool is_6to4 = range.len == 16 && edge[e][0] == 0x20 && edge[e][1] == 0x02;
            if (!is_6to4) /* judged by what is inside */
                expect_verdicts(&address, model(edge[e], range.len));
            if (range.len == 4)
                expect_verdicts_in_disguise(edge[e]);
        }
    }
}

static void refuses_no_address(void **state)
{
    (void)state;
    const union netaddr none = {0};
    expect_verdicts(&none, REACH_UNSPECIFIED);
}

static void trusts_no_client_without_address(void **state)
{
    (void)state;
    const union netaddr none = {0};
    union netaddr private, public;
    enum reach_place place;
    assert_true(netaddr_parse(&private, "10.0.0.1", 80));
    assert_true(netaddr_parse(&public, "8.8.8.8", 80));
    assert_false(reach_allowed(CONFIG_REACH_AUTO, &none, &private, &place));
    assert_true(reach_allowed(CONFIG_REACH_AUTO, &none, &public, &place));
}

static void names_each_place(void **state)
{
    (void)state;
    for (int a = REACH_PUBLIC; a <= REACH_RESERVED; a++)
        for (int b = REACH_PUBLIC; b < a; b++)
            assert_string_not_equal(reach_place_name((enum reach_place)a), reach_place_name((enum reach_place)b));
}

int main(void)
{
    for (size_t i = 0; i < RANGES; i++)
        parsed[i] = parse_range(ranges[i].text);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_at_both_edges),       cmocka_unit_test(places_like_the_model),
        cmocka_unit_test(judges_by_place_and_client), cmocka_unit_test(refuses_no_address),
        cmocka_unit_test(names_each_place),           cmocka_unit_test(trusts_no_client_without_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
