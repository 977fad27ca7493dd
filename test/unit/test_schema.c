#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/netaddr.h"
#include "conf/config.h"
#include "conf/options.h"
#include "conf/value.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The row of "udp.idle" or "listen.port", whatever lies between. */
static const struct schema_row *row_of(const char *path)
{
    const struct schema_row *rows = config_options;
    for (;;) {
        size_t len = strcspn(path, ".");
        const struct schema_row *row = schema_find(rows, path, len);
        assert_non_null(row);
        if (!path[len])
            return row;
        rows = row->rows;
        path += len + 1;
    }
}

union field {
    union netaddr addr;
    struct config_advertise advertise;
    uint64_t wide;
    uint32_t number;
    unsigned choice;
    bool yes;
    char *text;
};

/* Reads a value and writes it again; NULL when it is refused. */
static char *there_and_back(const struct schema_row *row, const char *text)
{
    union field field = {0};
    if (strcmp(row->key, "port") == 0)
        field.addr = netaddr_any(AF_INET);
    if (schema_parse(row, text, &field) != NULL)
        return NULL;
    char *back;
    size_t size;
    FILE *out = open_memstream(&back, &size);
    schema_format(row, &field, out);
    fclose(out);
    if (row->type->owned)
        free(field.text);
    return back;
}

static void for_each_row(const struct schema_row *rows, void (*check)(const struct schema_row *row))
{
    assert_in_range(schema_count(rows), 1, SCHEMA_ROWS_MAX);
    for (; rows->key; rows++) {
        check(rows);
        if (rows->rows)
            for_each_row(rows->rows, check);
    }
}

static void check_row(const struct schema_row *row)
{
    assert_non_null(row->help);
    assert_int_equal(row->type == NULL, row->kind == SCHEMA_GROUP || row->kind == SCHEMA_LIST);
    assert_int_equal(row->rows != NULL, row->kind == SCHEMA_GROUP || row->kind == SCHEMA_LIST);
    assert_true(row->min <= row->max);
    if (row->kind == SCHEMA_VALUE) {
        assert_int_equal(row->size, row->type->size); /* the member has the type that the row writes */
        assert_in_range(row->size, 1, sizeof(union field));
    } else if (row->kind != SCHEMA_GROUP) {
        assert_int_equal(row->size, sizeof(void *));
        assert_true(row->element_size > 0);
        assert_true(row->min == 0 || row->kind == SCHEMA_LIST); /* its rows have defaults for these */
    }
    if (row->kind == SCHEMA_VALUE && row->initial) {
        char *back = there_and_back(row, row->initial);
        assert_non_null(back);
        assert_string_equal(back, row->type == &value_socket ? "none" : row->initial); /* no runtime folder here */
        free(back);
    }
}

static void every_row_is_complete_and_its_default_is_valid(void **state)
{
    (void)state;
    for_each_row(config_options, check_row);
}

static void values_have_one_meaning_and_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text, *back;
    } rows[] = {
        {"workers", "0", "0"},
        {"workers", "256", "256"},
        {"listen.port", "1", "1"},
        {"listen.port", "65535", "65535"},
        {"udp.idle", "off", "off"},
        {"udp.idle", "10s", "10s"},
        {"udp.idle", "120s", "2m"},
        {"udp.idle", "120000ms", "2m"},
        {"udp.idle", "121s", "121s"},
        {"udp.idle", "60m", "1h"},
        {"udp.idle", "720h", "720h"},
        {"udp.rebind_after", "1500ms", "1500ms"},
        {"udp.rebind_after", "1h", "1h"},
        {"udp.enabled", "true", "true"},
        {"udp.enabled", "false", "false"},
        {"udp.filtering", "address-dependent", "address-dependent"},
        {"reach", "private", "private"},
        {"log.level", "debug", "debug"},
        {"log.target", "syslog", "syslog"},
        {"limits.memory", "auto", "auto"},
        {"limits.memory", "off", "off"},
        {"limits.memory", "64MiB", "64MiB"},
        {"limits.memory", "65536KiB", "64MiB"},
        {"limits.memory", "65537KiB", "65537KiB"},
        {"limits.memory", "2048MiB", "2GiB"},
        {"outbound.prefer", "ipv4-only", "ipv4-only"},
        {"outbound.address_v4", "auto", "auto"},
        {"outbound.address_v4", "192.0.2.1", "192.0.2.1"},
        {"outbound.address_v4", "192.0.2.9 192.0.2.1", "192.0.2.9 192.0.2.1"},
        {"outbound.address_v6", "2001:DB8::0:1 ::", "2001:db8::1 ::"},
        {"outbound.interface", "auto", "auto"},
        {"outbound.interface", "br-0123456789ab", "br-0123456789ab"},
        {"outbound.dscp", "default", "default"},
        {"outbound.dscp", "0", "cs0"},
        {"outbound.dscp", "46", "ef"},
        {"outbound.dscp", "af43", "af43"},
        {"outbound.dscp", "63", "63"},
        {"outbound.mark", "none", "none"},
        {"outbound.mark", "16", "0x10"},
        {"outbound.mark", "0xFFFFffff", "0xffffffff"},
        {"outbound.mark", "0x0000000a", "0xa"},
        {"outbound.address_v6", "2001:DB8::0:1", "2001:db8::1"},
        {"listen.address", "::", "::"},
        {"listen.address", "0.0.0.0", "0.0.0.0"},
        {"listen.address", "fe80::1%lo", "fe80::1%lo"},
        {"dns.servers", "192.0.2.1", "192.0.2.1:53"},
        {"dns.servers", "192.0.2.1:5353", "192.0.2.1:5353"},
        {"dns.servers", "2001:db8::1", "[2001:db8::1]:53"},
        {"dns.servers", "[2001:db8::1]", "[2001:db8::1]:53"},
        {"dns.servers", "[2001:db8::1]:5353", "[2001:db8::1]:5353"},
        {"run.user", "auto", "auto"},
        {"run.user", "proxy", "proxy"},
        {"run.sandbox", "off", "off"},
        {"run.pid_file", "none", "none"},
        {"run.pid_file", "/run/x.pid", "/run/x.pid"},
        {"users.name", "none", "none"},
        {"users.bandwidth", "default", "default"},
        {"users.bandwidth", "unlimited", "unlimited"},
        {"users.datagrams", "unlimited", "unlimited"},
        {"limits.bandwidth_per_user", "unlimited", "unlimited"},
        {"limits.bandwidth_per_user", "80Mbit/s", "80Mbit/s"},
        {"users.volume", "default", "default"},
        {"users.volume", "unlimited", "unlimited"},
        {"users.volume", "100GiB", "100GiB"},
        {"users.volume", "1024GiB", "1TiB"},
        {"users.volume", "2000GB", "2TB"},
        {"users.volume", "500MB", "500MB"},
        {"limits.volume_per_user", "1MiB", "1MiB"},
        {"users.expires", "never", "never"},
        {"users.expires", "2026-12-31", "2026-12-31"},
        {"users.expires", "2028-02-29", "2028-02-29"},
        {"users.expires", "9999-12-31", "9999-12-31"},
        {"limits.bandwidth_per_user", "10MiB/s", "10MiB/s"},
        {"limits.bandwidth_per_user", "500KiB/s", "500KiB/s"},
        {"limits.bandwidth_per_user", "1025KiB/s", "1025KiB/s"},
        {"limits.bandwidth_per_user", "1024KiB/s", "1MiB/s"},
        {"limits.bandwidth_per_user", "1000Mbit/s", "1Gbit/s"},
        {"limits.bandwidth_per_user", "1GiB/s", "1GiB/s"},
        {"limits.bandwidth_per_user", "100Gbit/s", "100Gbit/s"},
        {"limits.bandwidth_per_user", "1KiB/s", "1KiB/s"},
        {"limits.bandwidth_per_user", "9kbit/s", "9kbit/s"},
        {"limits.bandwidth_per_user", "100 Mbit/s", "100Mbit/s"},
        {"limits.bandwidth_per_user", "100mbit", "100Mbit/s"},
        {"limits.bandwidth_per_user", "100Mbps", "100Mbit/s"},
        {"limits.bandwidth_per_user", "10 MiB/s", "10MiB/s"},
        {"limits.datagrams_per_user", "500 /s", "500/s"},
        {"udp.ports", "30000 - 31000", "30000-31000"},
        {"udp.ports", "30000- 31000", "30000-31000"},
        {"udp.enabled", "yes", "true"},
        {"udp.enabled", "On", "true"},
        {"udp.enabled", "TRUE", "true"},
        {"udp.enabled", "no", "false"},
        {"udp.enabled", "off", "false"},
        {"udp.enabled", "False", "false"},
        {"limits.datagrams_per_user", "1/s", "1/s"},
        {"limits.datagrams_per_user", "100000000/s", "100000000/s"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *back = there_and_back(row_of(rows[i].path), rows[i].text);
        if (!back)
            fail_msg("%s: \"%s\" is refused", rows[i].path, rows[i].text);
        assert_string_equal(back, rows[i].back);
        free(back);
    }
}

/* Row 56: what libcyaml's and libc's own parsers would take, in part or as something else. */
static void incomplete_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *texts[28];
    } rows[] = {
        {"workers", {"",     " ",   "5 ", " 5",  "+5",  "-1",  "-0", "010", "00",         "0x10",
                     "1e2",  "1.0", "5m", "5 m", "257", "1_0", "x",  "1\n", "4294967296", "18446744073709551616",
                     "auto", "null"}},
        {"listen.port", {"0", "65536", "1080x", "01080", "-1", "http", "1080,1081", "66616", "4294968376"}},
        {"udp.enabled", {"tRue", "oN", "y", "n", "1", "0", "maybe", "t", "", "true "}},
        {"udp.idle",
         {"0",
          "0s",
          "5",
          "5 m",
          "5M",
          "5min",
          "m",
          "-5m",
          "+5m",
          "1.5h",
          "1h30m",
          "05m",
          "9s",
          "721h",
          "9999ms",
          "OFF",
          "never",
          "99999999999999999999h",
          "5124095576031h",
          "5m ",
          ""}},
        {"udp.rebind_after", {"off", "999ms", "61m", "3601s", "15"}},
        {"udp.filtering", {"0", "1", "full-cone", "Endpoint-independent", "endpoint-independent ", "default", ""}},
        {"reach", {"", "Auto", "none", "2"}},
        {"limits.memory",
         {"",
          "0",
          "64",
          "64M",
          "64MB",
          "64 MiB",
          "64mib",
          "064MiB",
          "-64MiB",
          "1.5GiB",
          "15MiB",
          "16383KiB",
          "1025GiB",
          "67108864",
          "64MiB ",
          "Off",
          "none",
          "17592186044416MiB",
          "18446744073709551615",
          "18014398509481985KiB"}},
        {"listen.address",
         {"", "localhost", "auto", "*", "127.1", "127.0.0.01", "0x7f000001", "127.0.0.1:1080", "[::1]", "::1 ",
          "10.0.0.0/8", "fe80::1%nosuchinterface", "1.2.3.4%lo", ":::"}},
        {"outbound.address_v4",
         {"", "::1", "::ffff:192.0.2.1", "none", "Auto", "192.0.2.1 ", " 192.0.2.1", "192.0.2.1  192.0.2.2",
          "192.0.2.1,192.0.2.2", "192.0.2.1 192.0.2.1", "192.0.2.1 auto", "192.0.2.1 ::1", "192.0.2.0/31",
          "192.0.2.1/24", "2001:db8::/64", "192.0.2.0/24 198.51.100.1", "listener 192.0.2.1"}},
        {"outbound.interface", {"", "sixteen-letters-", "eth 0", "eth/0", "eth0:1", ".", "..", "eth0\n"}},
        {"outbound.dscp", {"", "64", "-1", "0x2e", "EF", "af44", "af", "cs8", "none", "046"}},
        {"outbound.mark",
         {"", "0", "0x", "0x0", "0x00000000", "0x100000000", "4294967296", "-1", "+1", "010", "0X10", "x10", "0x1g",
          "0x 1", "1x", "default", "None"}},
        {"outbound.address_v6", {"", "127.0.0.1", "[::1]", "fe80::1%"}},
        {"dns.servers",
         {"", ":53", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:53x", "192.0.2.1: 53", "[192.0.2.1]:53",
          "[::1", "[::1]53", "[::1]:", "[]:53", "ns.example", "[::1]:53:53", "[[::1]]",
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}},
        {"run.user", {""}},
        {"run.sandbox", {"", "true", "false", "auto", "ON"}},
        {"run.pid_file", {"", "conesocks.pid", "./x", "None"}},
        {"users.name", {""}},
        {"users.bandwidth", {"", "none", "inherit", "0", "0KiB/s"}},
        {"users.volume", {"", "none", "0", "100", "100G", "100 GiB", "0MiB", "1KiB", "-1GiB", "1.5GiB", "1048577TiB"}},
        {"limits.volume_per_user", {"default", "off", "99999999999GiB"}},
        {"users.expires",
         {"", "none", "2026-02-30", "2026-13-01", "31.12.2026", "2026-1-1", "1970-01-01", "1969-12-31", "2026-12-31 ",
          "20261231", "2026/12/31"}},
        {"limits.bandwidth_per_user",
         {"",
          "inherit",
          "0",
          "10",
          "10MiB",
          "10MB/s",
          "10mbps",
          "10  Mbit/s",
          "10 Mbit /s",
          "10Mb/s",
          "10M",
          "8kbit/s",
          "1.5MiB/s",
          "010MiB/s",
          "-1MiB/s",
          "MiB/s",
          "10MiB/s ",
          "10MiB/sec",
          "1000b/s",
          "101Gbit/s",
          "94GiB/s",
          "Unlimited",
          "4294967295GiB/s",
          "4294967296kbit/s",
          "99999999999999kbit/s"}},
        {"limits.datagrams_per_user",
         {"", "0/s", "1", "100", "/s", "1  /s", "1/m", "100000001/s", "4294967297/s", "inherit"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t j = 0; rows[i].texts[j]; j++) {
            char *back = there_and_back(row_of(rows[i].path), rows[i].texts[j]);
            if (back)
                fail_msg("%s: \"%s\" is taken, as %s", rows[i].path, rows[i].texts[j], back);
        }
    }
}

static void names_have_1_to_255_bytes(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    assert_null(there_and_back(row_of("users.name"), name));
    name[255] = '\0';
    char *back = there_and_back(row_of("users.name"), name);
    assert_non_null(back);
    assert_string_equal(back, name);
    free(back);
}

/* All of the password "x". */
#define YESCRYPT "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define BCRYPT   "$2b$05$abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO"
#define SHA512   "$6$abc$K4v3HcZ8yAmpRfxML6S46NCcqy9r4/KdbQpFvqSWsBf4dgySOEOo1DHJTrmn2BsJK2aNmPN8Tfb826D2o9.z51"

static void hashes_must_be_strong_and_complete(void **state)
{
    (void)state;
    const struct schema_row *row = row_of("users.password");
    static const char *const good[] = {
        YESCRYPT,
        BCRYPT,
        SHA512,
        "$gy$j9T$abcdefgh$CiTibHdBM/5r3qmg1i0DxivDn1U977EDVDgQAyycj9/",
        "$7$CU..../....abc$mIe3RcV2CdT2H1wrpei6LQaDNz7bvlNUEObYNXyWiz7",
    };
    static const char *const bad[] = {
        "",
        "hunter2",
        "aaNN3X.PL2piw",                                      /* DES */
        "_J9..abcdabcdabcdab",                                /* BSDi DES */
        "$1$abc$BXBqpb9BZcZhXLgbee.0s/",                      /* MD5 */
        "$5$abc$sCOGUciM.GdmYMCUvmUcgu03oRH87O0clF96.9mwWGB", /* SHA-256, which libcrypt calls legacy */
        "$3$$8846f7eaee8fb117ad06bdd830b7586c",
        "$y$j9T$abcdefgh$",
        "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV0", /* its last letter is lost */
        YESCRYPT "x",
        "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DG_04",
        "$y$j9T$abc:efgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04",
        "$6$abc",
        "$",
        "$$",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        "***",
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        char *back = there_and_back(row, good[i]);
        if (!back)
            fail_msg("%s is refused", good[i]);
        assert_string_equal(back, good[i]);
        free(back);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        union field field = {0};
        const char *found = schema_parse(row, bad[i], &field);
        if (!found)
            fail_msg("\"%s\" is taken", bad[i]);
        assert_true(*found); /* says what it is, for the value itself is never shown */
        assert_null(field.text);
    }
}

static void expectation_is(const char *path, const char *expected)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    schema_expect(row_of(path), out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void socket_is(const char *path, const char *folders, const char *text, const char *expected)
{
    if (folders)
        setenv("RUNTIME_DIRECTORY", folders, 1);
    else
        unsetenv("RUNTIME_DIRECTORY");
    char *back = there_and_back(row_of(path), text);
    unsetenv("RUNTIME_DIRECTORY");
    assert_non_null(back);
    assert_string_equal(back, expected);
    free(back);
}

static void sockets_are_in_the_folder_that_systemd_made(void **state)
{
    (void)state;
    socket_is("admin.socket", "/run/conesocks", "auto", "/run/conesocks/admin.socket");
    socket_is("run.handover", "/run/first:/run/second", "auto", "/run/first/handover");
    socket_is("run.handover", "/run/conesocks", "/run/x", "/run/x");
    socket_is("run.handover", "/run/conesocks", "none", "none");
    socket_is("admin.socket", NULL, "auto", "none");
    socket_is("admin.socket", "", "auto", "none");
    socket_is("admin.socket", "run", "auto", "none");
}

static void expected_values_are_described(void **state)
{
    (void)state;
    expectation_is("workers", "a number from 0 to 256");
    expectation_is("udp.enabled", "true or false");
    expectation_is("udp.idle", "off, or a duration from 10s to 720h");
    expectation_is("dns.timeout", "a duration from 100ms to 1m");
    expectation_is("reach", "auto, public, private or all");
    expectation_is("log.target", "stderr, syslog or file");
    expectation_is("listen.port", "a port from 1 to 65535, or a range such as 6881-6999");
    expectation_is("run.handover", "none, or auto, or an absolute path, such as /run/conesocks/admin.socket");
    expectation_is("run.pid_file", "none, or an absolute path, such as /run/conesocks.pid");
}

static void a_typo_finds_the_right_key(void **state)
{
    (void)state;
    const struct schema_row *listen = row_of("listen")->rows;
    assert_string_equal(schema_nearest(listen, "adress"), "address");
    assert_string_equal(schema_nearest(listen, "Port"), "port");
    assert_string_equal(schema_nearest(config_options, "timeout"), "timeouts");
    assert_string_equal(schema_nearest(row_of("udp")->rows, "rebind-after"), "rebind_after");
    assert_null(schema_nearest(listen, "bind"));
    assert_null(schema_nearest(config_options, ""));
    assert_null(schema_nearest(config_options, "xyz")); /* three changes make "dns" of it, or anything */
    assert_null(
        schema_nearest(config_options, "a key that is far too long to be an option of this or any other program"));
}

static void the_list_has_a_line_for_every_option(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_options_list(out);
    fclose(out);
    assert_non_null(strstr(text, "\nlisten[].port\tports\t1080\t"));
    assert_non_null(strstr(text, "\nudp.rebind_after\tduration\t15s\t"));
    assert_non_null(strstr(text, "\nusers[].password\thash\t\t"));
    assert_non_null(strstr(text, "\ndns.servers\tlist of address and port\t[]\t"));
    assert_null(strstr(text, "\nudp\t")); /* a group is no option */
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned tabs = 0;
        for (const char *c = line; *c; c++)
            tabs += *c == '\t';
        assert_int_equal(tabs, 3);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete_and_its_default_is_valid),
        cmocka_unit_test(values_have_one_meaning_and_one_spelling),
        cmocka_unit_test(incomplete_values_are_refused),
        cmocka_unit_test(names_have_1_to_255_bytes),
        cmocka_unit_test(hashes_must_be_strong_and_complete),
        cmocka_unit_test(sockets_are_in_the_folder_that_systemd_made),
        cmocka_unit_test(expected_values_are_described),
        cmocka_unit_test(a_typo_finds_the_right_key),
        cmocka_unit_test(the_list_has_a_line_for_every_option),
    };
    unsetenv("RUNTIME_DIRECTORY");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
