#include "wire/proxyproto.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/bytes.h"
#include "test.h"

#define SIGNATURE "0d0a0d0a000d0a515549540a"
#define ALICE_V4  "c0000207 c6336409 30390438" /* 192.0.2.7 to 198.51.100.9, ports 12345 and 1080 */
#define ALICE_V6  "20010db8 00*11 07  20010db8 00*11 09  30390438"

/* A header, and what it says: the length used, then the client, or why not. */
static const struct row {
    const char *header, *meaning;
} rows[] = {
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345 1080' 0d0a", "46 192.0.2.7:12345 > 198.51.100.9:1080"},
    {"'PROXY TCP6 2001:db8::7 2001:db8::9 12345 1080' 0d0a", "47 2001:db8::7:12345 > 2001:db8::9:1080"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 0 65535' 0d0a 050100", "43 192.0.2.7:0 > 198.51.100.9:65535"},
    {"'PROXY UNKNOWN' 0d0a", "15 nobody"},
    {"'PROXY UNKNOWN ffff::1 is not looked at' 0d0a", "40 nobody"},
    {SIGNATURE "21 11 000c" ALICE_V4, "28 192.0.2.7:12345 > 198.51.100.9:1080"},
    {SIGNATURE "21 21 0024" ALICE_V6, "52 2001:db8::7:12345 > 2001:db8::9:1080"},
    {SIGNATURE "21 12 000c" ALICE_V4, "28 192.0.2.7:12345 > 198.51.100.9:1080"},
    /* extensions behind the addresses, and what follows the header */
    {SIGNATURE "21 11 0013" ALICE_V4 "03 0004 00000000  050100", "35 192.0.2.7:12345 > 198.51.100.9:1080"},
    {SIGNATURE "20 00 0000 050100", "16 nobody"},
    {SIGNATURE "20 11 000c" ALICE_V4, "28 nobody"},
    {SIGNATURE "21 00 0000", "16 nobody"},
    {SIGNATURE "21 31 00d8 00*216", "232 nobody"},
    {SIGNATURE "21 11 03f0" ALICE_V4 "00*996", "1024 192.0.2.7:12345 > 198.51.100.9:1080"},

    /* Row 53: absent */
    {"050100", "signature"},
    {"'GET / HTTP/1.1'", "signature"},
    {"'proxy TCP4 '", "signature"},
    {"0d0a0d0a01", "signature"},
    /* oversized */
    {SIGNATURE "21 11 03f1", "long"},
    {SIGNATURE "21 11 ffff" ALICE_V4, "long"},
    {"'PROXY UNKNOWN ' 'x'*93", "long"},
    {"'PROXY UNKNOWN ' 'x'*92", "more"},
    {"'PROXY UNKNOWN ' 'x'*91 0d0a", "107 nobody"},
    {"'PROXY UNKNOWN ' 'x'*92 0d0a", "long"},
    /* malformed */
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345 1080' 0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345 ' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345 1080 ' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 12345 1080 1' 0d0a", "malformed"},
    {"'PROXY TCP4  192.0.2.7 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.07 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 alice 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 2001:db8::7 2001:db8::9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP6 192.0.2.7 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 65536 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 012 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7 198.51.100.9 -1 1080' 0d0a", "malformed"},
    {"'PROXY TCP4 192.0.2.7' 00 '198.51.100.9 1 1080' 0d0a", "malformed"},
    {"'PROXY UDP4 192.0.2.7 198.51.100.9 12345 1080' 0d0a", "malformed"},
    {"'PROXY UNKNOWNS' 0d0a", "malformed"},
    {"'PROXY ' 0d0a", "malformed"},
    {SIGNATURE "11 11 000c" ALICE_V4, "malformed"}, /* version 1 */
    {SIGNATURE "22 11 000c" ALICE_V4, "malformed"}, /* no such command */
    {SIGNATURE "21 41 000c" ALICE_V4, "malformed"}, /* no such family */
    {SIGNATURE "21 13 000c" ALICE_V4, "malformed"}, /* no such transport */
    {SIGNATURE "21 11 000b" ALICE_V4, "malformed"}, /* the addresses do not fit */
    {SIGNATURE "21 21 000c" ALICE_V4, "malformed"},
};

static const char *address_text(const struct proxyproto_address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    assert_non_null(inet_ntop(address->host_len == 4 ? AF_INET : AF_INET6, address->host, host, sizeof(host)));
    snprintf(text, size, "%s:%u", host, address->port);
    return text;
}

static void describe(const uint8_t *in, size_t len, char *text, size_t size)
{
    static const char *const errors[] = {"signature", "long", "malformed"};
    char source[64], destination[64];
    struct proxyproto said;
    int used = proxyproto_decode(in, len, &said);
    if (used < 0)
        snprintf(text, size, "%s", errors[-used - 1]);
    else if (used == 0)
        snprintf(text, size, "more");
    else if (!said.announced)
        snprintf(text, size, "%d nobody", used);
    else
        snprintf(text, size, "%d %s > %s", used, address_text(&said.source, source, sizeof(source)),
                 address_text(&said.destination, destination, sizeof(destination)));
}

static void every_header_is_understood(void **state)
{
    const struct edge *edge = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t in[2048];
        char text[200];
        size_t len = bytes_from_text(rows[i].header, in, sizeof(in));
        describe(edge_copy(edge, in, len), len, text, sizeof(text));
        if (strcmp(text, rows[i].meaning) != 0)
            print_message("%s\n", rows[i].header);
        assert_string_equal(text, rows[i].meaning);
    }
}

static void every_truncation_is_a_beginning(void **state)
{
    const struct edge *edge = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t in[2048];
        struct proxyproto said;
        int used = proxyproto_decode(in, bytes_from_text(rows[i].header, in, sizeof(in)), &said);
        for (size_t have = 0; used > 0 && have < (size_t)used; have++)
            assert_int_equal(proxyproto_decode(edge_copy(edge, in, have), have, &said), 0);
    }
}

static int open_edge(void **state)
{
    static struct edge edge;
    edge = edge_open();
    *state = &edge;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_header_is_understood),
        cmocka_unit_test(every_truncation_is_a_beginning),
    };
    return cmocka_run_group_tests(tests, open_edge, NULL);
}
