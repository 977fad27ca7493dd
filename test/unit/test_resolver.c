#include "test.h"

#include "support/lookups.h"

#define LABEL_63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

static void finds_both_families(void **state)
{
    (void)state;
    expect_address("one.test", "192.0.2.1");
    expect_address("one.test", "2001:db8::1");
    expect_address("ONE.Test.", "192.0.2.1");
    expect_address("private.test", "10.1.2.3"); /* what may be reached is not the resolver's business */
    expect_address("private.test", "fd00::1");
}

static void tells_what_does_not_exist(void **state)
{
    (void)state;
    expect_status("missing.test", AF_INET, RESOLVER_NOT_FOUND);
    expect_status("missing.test", AF_INET6, RESOLVER_NOT_FOUND);
    expect_status("v4.test", AF_INET6, RESOLVER_NOT_FOUND);
    expect_status("missing.home.arpa", AF_INET, RESOLVER_NOT_FOUND); /* the server's to say, like "test" */
    assert_string_equal(dns_server_question(&server, 0), "missing.home.arpa");
}

static void asks_an_ipv6_server(void **state)
{
    (void)state;
    dns_server_close(&server);
    bool opened = dns_server_open(&server, base, names, "::1", 0);
    if (!opened && dns_server_open(&server, base, names, "127.0.0.1", 0))
        SKIP_TEST("no IPv6 here");
    reopen(5000, 0);
    expect_address("one.test", "192.0.2.1");
    assert_int_equal(dns_server_asked(&server), 1);
}

static void remembers_answers(void **state)
{
    (void)state;
    expect_address("one.test", "192.0.2.1");
    expect_status("missing.test", AF_INET, RESOLVER_NOT_FOUND);
    expect_status("v4.test", AF_INET6, RESOLVER_NOT_FOUND);
    int asked = dns_server_asked(&server);
    expect_address("One.test", "192.0.2.1");
    expect_status("missing.test", AF_INET, RESOLVER_NOT_FOUND);
    expect_status("v4.test", AF_INET6, RESOLVER_NOT_FOUND);
    assert_int_equal(dns_server_asked(&server), asked);
}

static void follows_aliases(void **state)
{
    (void)state;
    expect_address("chain1.test", "192.0.2.1");
    expect_address("chain1.test", "2001:db8::1");
}

/* Row 37: CNAME loop. */
static void gives_up_on_a_loop_of_aliases(void **state)
{
    (void)state;
    expect_status("loop1.test", AF_INET, RESOLVER_FAILED);
    expect_address("one.test", "192.0.2.1");
}

/* Row 37: an answer cut short is fetched again over TCP; of 100 records the first ones are taken. */
static void takes_a_long_answer_over_tcp(void **state)
{
    (void)state;
    struct wish wish = look_up("many.test", AF_INET);
    assert_int_equal(wish.status, RESOLVER_FOUND);
    assert_int_equal(wish.count, RESOLVER_ADDRESSES_MAX);
    assert_int_equal(server.asked_tcp, 1);
    for (size_t i = 0; i < wish.count; i++) {
        assert_int_equal(ntohl(wish.addresses[i].v4.sin_addr.s_addr) >> 8, 0xc63364);
        for (size_t other = 0; other < i; other++)
            assert_false(netaddr_equal(&wish.addresses[i], &wish.addresses[other]));
    }
}

/* Row 37: answers with the wrong number, from the wrong port, from the wrong address. */
static void believes_no_forged_answer(void **state)
{
    (void)state;
    reopen(300, 0);
    expect_status("wrong-id.test", AF_INET, RESOLVER_TIMED_OUT);
    expect_status("wrong-port.test", AF_INET, RESOLVER_TIMED_OUT);
    expect_status("wrong-host.test", AF_INET, RESOLVER_TIMED_OUT);
    expect_address("forged.test", "192.0.2.9");
}

/* Row 67: servers that heed the case, or that lose it. Random ports and numbers have to do without 0x20. */
static void row67_asks_in_lower_case(void **state)
{
    (void)state;
    expect_address("One.TEST", "192.0.2.1");
    assert_int_equal(server.asked_in_mixed_case, 0);
    server.fault = DNS_HEEDS_CASE;
    expect_address("tWo.test", "192.0.2.2");
    server.fault = DNS_WRONG_CASE;
    expect_address("V4.test", "192.0.2.4");
    assert_int_equal(dns_server_asked(&server), 3);
}

/* Row 67. */
static void row67_asks_without_edns(void **state)
{
    (void)state;
    server.fault = DNS_DROPS_EDNS;
    expect_address("one.test", "192.0.2.1");
    expect_address("one.test", "2001:db8::1");
    assert_int_equal(dns_server_asked(&server), 2);
}

static void forgets_failures(void **state)
{
    (void)state;
    expect_status("broken.test", AF_INET, RESOLVER_FAILED);
    int asked = dns_server_asked(&server);
    assert_in_range(asked, 1, 10); /* nor does it hammer */
    expect_status("broken.test", AF_INET, RESOLVER_FAILED);
    assert_true(dns_server_asked(&server) > asked);
}

/* Row 38: while the server is down, what is known goes on; when it is back, names are found again without delay. */
static void survives_a_dead_server(void **state)
{
    (void)state;
    reopen(300, 0);
    expect_address("one.test", "192.0.2.1");
    server.silent = true;
    for (int i = 0; i < 6; i++) {
        expect_status("two.test", AF_INET, RESOLVER_TIMED_OUT);
        expect_address("one.test", "192.0.2.1");
        expect_address("localhost", "127.0.0.1");
    }
    server.silent = false;
    expect_address("v4.test", "192.0.2.4"); /* not asked for before */
    expect_address("two.test", "192.0.2.2");
}

static void answers_loopback_itself(void **state)
{
    (void)state;
    write_file(hosts_path, "203.0.113.1 localhost\n");
    const char *const localhosts[] = {"localhost", "LocalHost", "localhost.", "a.localhost", "a.b.localhost."};
    for (size_t i = 0; i < sizeof(localhosts) / sizeof(localhosts[0]); i++) {
        expect_address(localhosts[i], "127.0.0.1");
        expect_address(localhosts[i], "::1");
    }
    assert_int_equal(dns_server_asked(&server), 0);
    expect_status("nolocalhost", AF_INET, RESOLVER_NOT_FOUND);
    assert_int_equal(dns_server_asked(&server), 1);
}

/* RFC 7686: a server that hears of them knows who wants to go where. */
static void never_asks_for_names_of_tor(void **state)
{
    (void)state;
    expect_status("expyuzz4wqqyqhjn.onion", AF_INET, RESOLVER_NOT_FOUND);
    expect_status("a.b.ONION.", AF_INET6, RESOLVER_NOT_FOUND);
    expect_status("name.invalid", AF_INET, RESOLVER_NOT_FOUND);
    assert_int_equal(dns_server_asked(&server), 0);
    expect_status("myonion", AF_INET, RESOLVER_NOT_FOUND);
    assert_int_equal(dns_server_asked(&server), 1);
}

static void honours_the_hosts_file(void **state)
{
    (void)state;
    write_file(hosts_path, "192.0.2.50 box box.lan # one.test\n"
                           "what is this\n"
                           "2001:db8::50 box\n"
                           "0.0.0.0 two.test\n");
    expect_address("box", "192.0.2.50");
    expect_address("BOX.lan.", "192.0.2.50");
    expect_address("box", "2001:db8::50");
    expect_address("two.test", "0.0.0.0");
    expect_status("two.test", AF_INET6, RESOLVER_NOT_FOUND); /* hidden in both families */
    assert_int_equal(dns_server_asked(&server), 0);
    expect_address("one.test", "192.0.2.1"); /* a comment is none */

    write_file(hosts_path, "192.0.2.51 box\n"); /* from the next lookup on */
    expect_address("box", "192.0.2.51");
    expect_address("two.test", "192.0.2.2");
    assert_int_equal(unlink(hosts_path), 0);
    expect_status("box", AF_INET, RESOLVER_NOT_FOUND);
}

/* Rules have judged the name as it is: "nas" must not become another one behind their back. */
static void names_are_absolute(void **state)
{
    (void)state;
    write_file(resolv_conf_path, "search first.test second.test\noptions ndots:2\n");
    expect_status("nas", AF_INET, RESOLVER_NOT_FOUND); /* nas.second.test has an address */
    assert_string_equal(dns_server_question(&server, 0), "nas");
    expect_status("absent", AF_INET, RESOLVER_NOT_FOUND);
    assert_int_equal(dns_server_asked(&server), 2);
    expect_address("bare", "192.0.2.13");
    expect_address("bare.", "192.0.2.13"); /* known */
    assert_int_equal(dns_server_asked(&server), 3);
}

/* Row 15. */
static void refuses_names_that_are_none(void **state)
{
    (void)state;
#define NAME_192 LABEL_63 "." LABEL_63 "." LABEL_63 "."
    static const struct {
        const char *name;
        bool valid;
    } table[] = {
        {"a", true},
        {"example.com", true},
        {"example.com.", true},
        {"EXAMPLE.com", true},
        {"xn--bcher-kva.example", true},
        {"_sip._udp.example", true},
        {"3com.example", true},
        {"1.2.3.4.example", true},
        {"0x7f.1.example", true},
        {"1e3", true},
        {"0x7g", true},
        {"a-", true},
        {LABEL_63, true},
        {NAME_192 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeefffffffffff", true},  /* 253 */
        {NAME_192 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeefffffffffff.", true}, /* and the root */
        {NAME_192 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffff", false},
        {LABEL_63 "a", false},
        {"www." LABEL_63 "a.example", false},
        {"", false},
        {".", false},
        {"..", false},
        {".example", false},
        {"a..example", false},
        {"example..", false},
        {"1", false},
        {"0", false},
        {"1.", false},
        {"127.1", false},
        {"0x7f.1", false},
        {"0x7f", false},
        {"0X7F", false},
        {"0x", false},
        {"example.0x7f", false},
        {"017700000001", false},
        {"2130706433", false},
        {"1.2.3.4", false},
        {"1.2.3.4.", false},
        {"1.2.3", false},
        {"example.123", false},
        {"[::1]", false},
        {"::1", false},
        {"fe80::1%eth0", false},
        {"a b", false},
        {" a", false},
        {"a\n", false},
        {"a/b", false},
        {"a@b", false},
        {"b\303\274cher.example", false},
        {"*.example", false},
        {"a\\.b", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct wish wish;
        if (resolver_name_valid(table[i].name, strlen(table[i].name)) != table[i].valid)
            fail_msg("\"%s\" must be %s", table[i].name, table[i].valid ? "taken" : "refused");
        if (!table[i].valid)
            assert_false(start_as("198.51.100.7", &wish, table[i].name, AF_INET));
    }
    assert_false(resolver_name_valid("a\0b", 3));
    assert_false(resolver_name_valid("a\0", 2));
    char long_name[300];
    memset(long_name, 'a', sizeof(long_name));
    for (size_t i = 9; i < sizeof(long_name); i += 10)
        long_name[i] = '.';
    assert_true(resolver_name_valid(long_name, 253));
    assert_false(resolver_name_valid(long_name, 255));
    assert_false(resolver_name_valid(long_name, 300));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOKUP_TEST(finds_both_families),
        LOOKUP_TEST(tells_what_does_not_exist),
        LOOKUP_TEST(asks_an_ipv6_server),
        LOOKUP_TEST(remembers_answers),
        LOOKUP_TEST(follows_aliases),
        LOOKUP_TEST(gives_up_on_a_loop_of_aliases),
        LOOKUP_TEST(takes_a_long_answer_over_tcp),
        LOOKUP_TEST(believes_no_forged_answer),
        LOOKUP_TEST(row67_asks_in_lower_case),
        LOOKUP_TEST(row67_asks_without_edns),
        LOOKUP_TEST(forgets_failures),
        LOOKUP_TEST(survives_a_dead_server),
        LOOKUP_TEST(answers_loopback_itself),
        LOOKUP_TEST(never_asks_for_names_of_tor),
        LOOKUP_TEST(honours_the_hosts_file),
        LOOKUP_TEST(names_are_absolute),
        LOOKUP_TEST(refuses_names_that_are_none),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
