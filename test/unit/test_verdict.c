#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/verdict.h"
#include "support/own_addresses.h"

static struct config *config;
static struct rules *rules;
static struct policy policy;

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

/* A proxy host with 10.77.0.1, 203.0.114.1 and 2001:db9::1. */
static void configure(const char *text)
{
    char *errors, *warnings;
    if (!policy.own_ports)
        policy.own_ports = own_ports_new();
    rules_free(rules);
    config_free(config);
    config = config_parse("verdict", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    free(warnings);
    rules = rules_compile(config->rules, config->rule_count);
    policy.config = config;
    const union netaddr own[] = {at("10.77.0.1", 0), at("203.0.114.1", 0), at("2001:db9::1", 0)};
    own_hosts_release(policy.own_hosts);
    policy.own_hosts = hosts_of(own, ARRAY_LEN(own));
}

static int tear_down(void **state)
{
    (void)state;
    rules_free(rules);
    config_free(config);
    own_hosts_release(policy.own_hosts);
    policy.own_hosts = NULL;
    own_ports_free(policy.own_ports);
    policy.own_ports = NULL;
    rules = NULL;
    config = NULL;
    return 0;
}

static enum verdict_code as(enum config_command command, const char *client, const char *name, const char *to,
                            uint16_t port)
{
    struct subject subject;
    const union netaddr from = at(client, 5), destination = at(to, port);
    assert_true(subject_init(&subject, rules, &from, NULL, NULL, command));
    struct verdict verdict = verdict_find(&policy, &subject, name, &destination);
    subject_deinit(&subject);
    return verdict.code;
}

static enum verdict_code udp(const char *client, const char *to, uint16_t port)
{
    return as(CONFIG_COMMAND_UDP, client, NULL, to, port);
}

static enum verdict_code tcp(const char *client, const char *to, uint16_t port)
{
    return as(CONFIG_COMMAND_CONNECT, client, NULL, to, port);
}

#define LAN "10.77.0.2"

/* Row 22. */
static void this_host_is_out_of_reach(void **state)
{
    (void)state;
    configure("{}");
    static const char *const own[] = {"10.77.0.1",   "203.0.114.1",        "2001:db9::1",
                                      "::10.77.0.1", "::ffff:203.0.114.1", "64:ff9b::10.77.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        assert_int_equal(udp(LAN, own[i], 53), VERDICT_OWN);
        assert_int_equal(tcp(LAN, own[i], 22), VERDICT_OWN);
        assert_int_equal(tcp("198.41.0.4", own[i], 22), VERDICT_OWN);
        assert_int_equal(tcp("127.0.0.1", own[i], 22), VERDICT_ALLOWED);
    }
    assert_int_equal(tcp(LAN, "10.77.0.3", 22), VERDICT_ALLOWED);
    assert_int_equal(tcp(LAN, "127.0.0.1", 22), VERDICT_REACH);
    configure("reach: private");
    assert_int_equal(tcp(LAN, "10.77.0.1", 22), VERDICT_OWN);
    assert_int_equal(tcp("127.0.0.1", "10.77.0.1", 22), VERDICT_OWN);
    configure("reach: all");
    assert_int_equal(tcp(LAN, "10.77.0.1", 22), VERDICT_ALLOWED);
}

/* Row 30: only datagrams, only where the port is bound. */
static void an_external_port_of_ours_is_open_to_all(void **state)
{
    (void)state;
    const union netaddr external = at("0.0.0.0", 40000);
    configure("{}");
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_EXTERNAL, &external));
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "10.77.0.1", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp("198.41.0.4", "10.77.0.1", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "2001:db9::1", 40000), VERDICT_OWN);
    assert_int_equal(udp(LAN, "203.0.114.1", 40001), VERDICT_OWN);
    assert_int_equal(udp(LAN, "127.0.0.1", 40000), VERDICT_REACH);
    assert_int_equal(tcp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
    configure("rules: [{action: deny, to: [203.0.114.1], ports: [1-100]}]");
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_ALLOWED);
    configure("rules: [{action: deny, to: [203.0.114.1]}]");
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_RULE);
    own_ports_remove(policy.own_ports, OWN_PORT_EXTERNAL, &external);
    configure("{}");
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
}

/* Row 30, behind a NAT: the address that it stands for is not this host's own, so nothing else can be there. */
static void an_external_port_is_open_as_the_world_names_it(void **state)
{
    (void)state;
    const union netaddr external = at("10.77.0.1", 40000), none = policy.advertised[FAMILY_V4];
    configure("{}");
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_EXTERNAL, &external));
    policy.advertised[FAMILY_V4] = at("203.0.115.7", 0);
    assert_int_equal(udp(LAN, "203.0.115.7", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "203.0.115.7", 40001), VERDICT_OWN);
    assert_int_equal(tcp(LAN, "203.0.115.7", 40000), VERDICT_OWN);
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
    policy.advertised[FAMILY_V4] =
        at("203.0.114.1", 0); /* no NAT: another program of this host may have that port there */
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
    policy.advertised[FAMILY_V4] = none;
    own_ports_remove(policy.own_ports, OWN_PORT_EXTERNAL, &external);
}

/* Row 30, with an outbound address for each user. */
static void an_external_port_is_open_where_it_is_bound(void **state)
{
    (void)state;
    const union netaddr v4 = at("203.0.114.1", 40000), v6 = at("2001:db9::1", 40000);
    configure("{}");
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_EXTERNAL, &v4));
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "64:ff9b::203.0.114.1", 40000), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "10.77.0.1", 40000), VERDICT_OWN);
    assert_int_equal(udp(LAN, "203.0.114.1", 40001), VERDICT_OWN);
    assert_int_equal(udp(LAN, "2001:db9::1", 40000), VERDICT_OWN);
    assert_int_equal(tcp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_EXTERNAL, &v6));
    assert_int_equal(udp(LAN, "2001:db9::1", 40000), VERDICT_ALLOWED);
    own_ports_remove(policy.own_ports, OWN_PORT_EXTERNAL, &v6);
    own_ports_remove(policy.own_ports, OWN_PORT_EXTERNAL, &v4);
    assert_int_equal(udp(LAN, "203.0.114.1", 40000), VERDICT_OWN);
    assert_int_equal(udp(LAN, "2001:db9::1", 40000), VERDICT_OWN);
}

/* Row 24: under every setting, for everybody. */
static void nothing_leads_back_into_the_proxy(void **state)
{
    (void)state;
    const union netaddr relay = at("10.77.0.1", 40002);
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_RELAY, &relay));
    static const char *const texts[] = {
        "{listen: [{}, {address: 10.77.0.1, port: 1081}]}",
        "{listen: [{}, {address: 10.77.0.1, port: 1081}], reach: all}",
        "{listen: [{}, {address: 10.77.0.1, port: 1081}], rules: [{action: allow, to: [10.77.0.1, 127.0.0.1]}]}",
    };
    static const char *const clients[] = {"127.0.0.1", LAN, "10.77.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        configure(texts[i]);
        for (size_t j = 0; j < ARRAY_LEN(clients); j++) {
            assert_int_equal(udp(clients[j], "10.77.0.1", 40002), VERDICT_LOOP);
            assert_int_equal(tcp(clients[j], "10.77.0.1", 1081), VERDICT_LOOP);
            assert_int_equal(tcp(clients[j], "127.0.0.1", 1080), VERDICT_LOOP);
        }
        /* The same numbers elsewhere are nothing of ours. */
        assert_int_equal(udp(LAN, "10.77.0.3", 40002), VERDICT_ALLOWED);
        assert_int_equal(tcp(LAN, "10.77.0.3", 1081), VERDICT_ALLOWED);
        assert_int_equal(tcp("127.0.0.1", "10.77.0.1", 1080), VERDICT_ALLOWED);
    }
    /* Nor is the same number at another address of this host. */
    assert_int_equal(udp("127.0.0.1", "127.0.0.1", 40002), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "203.0.114.1", 40002), VERDICT_OWN);
    configure("{listen: [{}], rules: [{action: allow, to: [10.77.0.1, 203.0.114.1]}]}");
    assert_int_equal(udp(LAN, "203.0.114.1", 40002), VERDICT_ALLOWED);
    assert_int_equal(udp(LAN, "10.77.0.1", 40002), VERDICT_LOOP);
    policy.advertised[FAMILY_V4] = at("203.0.115.7", 0); /* a NAT leads from there to whichever address has the port */
    configure("reach: all");
    assert_int_equal(udp(LAN, "203.0.115.7", 40002), VERDICT_LOOP);
    assert_int_equal(udp(LAN, "203.0.115.7", 40003), VERDICT_ALLOWED);
    policy.advertised[FAMILY_V4] = (union netaddr){0};
    own_ports_remove(policy.own_ports, OWN_PORT_RELAY, &relay);
    configure("{listen: [{address: 0.0.0.0, auth: none, open: true}]}");
    assert_int_equal(tcp("127.0.0.1", "127.0.0.1", 1080), VERDICT_LOOP);
    assert_int_equal(tcp("127.0.0.1", "203.0.114.1", 1080), VERDICT_LOOP);
}

/* Row 28. */
static void some_addresses_are_nobodys(void **state)
{
    (void)state;
    configure(
        "{reach: all, rules: [{action: allow, to: [224.0.0.0/4, 255.255.255.255, 0.0.0.0, \"::\", \"ff02::1\"]}]}");
    static const char *const never[] = {"224.0.0.1",      "255.255.255.255",    "0.0.0.0", "::", "ff02::1",
                                        "::ffff:0.0.0.0", "64:ff9b::224.0.0.1", "0.1.2.3"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        assert_int_equal(udp("127.0.0.1", never[i], 53), VERDICT_NEVER);
}

/* An allow opens what its network names, not what lies somewhere in a wide one. */
static void an_allow_opens_what_it_names(void **state)
{
    (void)state;
    static const struct {
        const char *to, *destination;
        enum verdict_code expected;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1", VERDICT_ALLOWED},
        {"127.0.0.0/8", "127.0.0.1", VERDICT_ALLOWED},
        {"127.0.0.0/8", "::127.0.0.1", VERDICT_ALLOWED},
        {"126.0.0.0/7", "127.0.0.1", VERDICT_REACH},
        {"0.0.0.0/0", "127.0.0.1", VERDICT_REACH},
        {"any", "127.0.0.1", VERDICT_REACH},
        {"x.example", "127.0.0.1", VERDICT_REACH}, /* Row 25: whoever owns the name sets the address */
        {"10.0.0.0/8", "10.1.1.1", VERDICT_ALLOWED},
        {"private", "10.1.1.1", VERDICT_ALLOWED},
        {"private", "fd00::1", VERDICT_ALLOWED},
        {"private", "10.77.0.1", VERDICT_OWN},
        {"10.77.0.1", "10.77.0.1", VERDICT_ALLOWED},
        {"private", "100.100.100.200", VERDICT_REACH}, /* Row 23 */
        {"169.254.0.0/16", "169.254.169.254", VERDICT_REACH},
        {"169.254.0.0/16", "169.254.1.1", VERDICT_ALLOWED},
        {"169.254.169.254", "169.254.169.254", VERDICT_ALLOWED},
        {"fd00::/8", "fd00:ec2::254", VERDICT_REACH},
        {"any", "198.41.0.4", VERDICT_ALLOWED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[128];
        snprintf(text, sizeof(text), "rules: [{action: allow, to: [\"%s\"]}]", rows[i].to);
        configure(text);
        enum verdict_code found = as(CONFIG_COMMAND_CONNECT, "198.41.0.9", "x.example", rows[i].destination, 443);
        if (found != rows[i].expected)
            fail_msg("%s -> %s: %d", rows[i].to, rows[i].destination, found);
    }
}

static void a_deny_closes_what_reach_opens(void **state)
{
    (void)state;
    configure("rules: [{action: deny, to: [198.41.0.0/16], ports: [53]}, {action: deny, to: [.ads.example]}]");
    assert_int_equal(udp(LAN, "198.41.0.4", 53), VERDICT_RULE);
    assert_int_equal(udp(LAN, "64:ff9b::198.41.0.4", 53), VERDICT_RULE);
    assert_int_equal(udp(LAN, "198.41.0.4", 54), VERDICT_ALLOWED);
    assert_int_equal(as(CONFIG_COMMAND_UDP, LAN, "x.ads.example", "198.41.0.4", 54), VERDICT_RULE);
}

static void each_verdict_says_what_would_change_it(void **state)
{
    (void)state;
    configure("rules: [{action: deny, ports: [25]}]");
    static const struct {
        const char *to;
        uint16_t port;
        const char *expected;
    } rows[] = {
        {"198.41.0.4", 80, "allowed: no rule matches, and reach allows it (public address)"},
        {"198.41.0.4", 25, "denied by rules[0]; to allow it, put an allow rule above this one"},
        {"::ffff:127.0.0.1", 80,
         "denied by reach (loopback address); to allow it: reach: all, or a rule {action: allow, to: [\"127.0.0.1\"]}"},
        {"10.9.9.9", 80,
         "denied by reach (private address); to allow it: reach: private, or a rule {action: allow, to: "
         "[\"10.9.9.9\"]}"},
        {"10.77.0.1", 80,
         "denied: an address of the proxy's own host; to allow it: a rule {action: allow, to: [\"10.77.0.1\"]}"},
        {"224.0.0.1", 80, "denied: multicast addresses are never allowed"},
        {"0.0.0.0", 80, "denied: unspecified addresses are never allowed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct subject subject;
        const union netaddr client = at("198.41.0.9", 1), to = at(rows[i].to, rows[i].port);
        char text[VERDICT_TEXT_MAX];
        assert_true(subject_init(&subject, rules, &client, NULL, NULL, CONFIG_COMMAND_UDP));
        struct verdict verdict = verdict_find(&policy, &subject, NULL, &to);
        assert_string_equal(verdict_explain(&verdict, &to, text), rows[i].expected);
        subject_deinit(&subject);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_host_is_out_of_reach),
        cmocka_unit_test(an_external_port_of_ours_is_open_to_all),
        cmocka_unit_test(an_external_port_is_open_as_the_world_names_it),
        cmocka_unit_test(an_external_port_is_open_where_it_is_bound),
        cmocka_unit_test(nothing_leads_back_into_the_proxy),
        cmocka_unit_test(some_addresses_are_nobodys),
        cmocka_unit_test(an_allow_opens_what_it_names),
        cmocka_unit_test(a_deny_closes_what_reach_opens),
        cmocka_unit_test(each_verdict_says_what_would_change_it),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
