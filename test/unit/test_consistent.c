/* What must make sense together. */
#include "configuration.h"

#define OPEN_PROXY(address, login)                                                                                     \
    "found " address " without a login, which is an open proxy; expected one of: a login (" login "); address: "       \
    "127.0.0.1; rules that allow some clients (from) and then deny the others (- action: deny); or, to serve "         \
    "anybody, both auth: none and open: true\n"
#define ADD_USERS "add users; conesocks hash-password makes the hash"

static void an_open_proxy_is_refused(void **state)
{
    (void)state;
    bad("listen:\n  - address: 0.0.0.0\n", "c.yaml:2:14: listen[0].address: " OPEN_PROXY("0.0.0.0", ADD_USERS));
    bad("listen: [{}, {address: \"::\"}]\n", "c.yaml:1:24: listen[1].address: " OPEN_PROXY("::", ADD_USERS));
    bad("listen: [{address: 198.51.100.1, auth: none}]\n",
        "c.yaml:1:20: listen[0].address: " OPEN_PROXY("198.51.100.1", ADD_USERS));
    bad("listen: [{address: 198.51.100.1, open: true}]\n", /* one of both is a slip; both are a will */
        "c.yaml:1:20: listen[0].address: " OPEN_PROXY("198.51.100.1", ADD_USERS));
    bad(USERS "listen: [{address: \"2001:db8::1\", auth: none}]\n",
        "c.yaml:2:20: listen[0].address: " OPEN_PROXY("2001:db8::1", "auth: password"));
    static const char *const public[] = {"172.15.0.1", "172.32.0.1", "11.0.0.1", "192.169.0.1", "169.255.0.1",
                                         "fc00::1",    "fec0::1",    "::2",      "100.64.0.1",  "::ffff:198.51.100.1"};
    for (size_t i = 0; i < COUNT(public); i++) {
        char text[128], expected[512];
        snprintf(text, sizeof(text), "listen: [{address: \"%s\"}]", public[i]);
        snprintf(expected, sizeof(expected), "c.yaml:1:20: listen[0].address: " OPEN_PROXY("%s", ADD_USERS), public[i]);
        bad(text, expected);
    }
}

/* As behind a cloud's NAT, or a router that forwards a port. */
static void a_private_listener_with_a_public_advertised_address_is_an_open_proxy(void **state)
{
    (void)state;
    static const char *const advertised[] = {"advertise_v4: 198.51.100.1", "advertise_v6: \"2001:db8::1\""};
    for (size_t i = 0; i < COUNT(advertised); i++) {
        char text[128], *errors, *warnings;
        snprintf(text, sizeof(text), "listen: [{address: 10.0.0.1}]\nudp: {%s}", advertised[i]);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        assert_non_null(
            strstr(errors, "without a login while udp advertises a public address, which is an open proxy"));
        free(errors);
        free(warnings);
    }
    config_free(good("listen: [{address: 10.0.0.1, auth: none, open: true}]\nudp: {advertise_v4: 198.51.100.1}"));
    config_free(good("listen: [{address: 127.0.0.1}]\nudp: {advertise_v4: 198.51.100.1}"));
    config_free(good(USERS "listen: [{address: 10.0.0.1}]\nudp: {advertise_v4: 198.51.100.1}"));
}

static void a_private_listener_without_a_login_is_a_warning(void **state)
{
    (void)state;
    static const char *const private[] = {"10.0.0.1",    "172.16.0.1", "172.31.255.255", "192.168.0.1",
                                          "169.254.0.1", "fd00::1",    "fe80::1",        "::ffff:10.0.0.1"};
    for (size_t i = 0; i < COUNT(private); i++) {
        char text[128], expected[512];
        snprintf(text, sizeof(text), "listen: [{address: \"%s\"}]", private[i]);
        snprintf(expected, sizeof(expected),
                 "c.yaml:1:20: warning: listen[0].address: anybody who can reach %s can use this proxy; add users, or "
                 "set open: true if you want that\n",
                 private[i]);
        struct config *config = good_with(text, expected);
        assert_false(config->listen[0].need_password);
        config_free(config);
    }
}

static void an_intended_open_proxy_or_loopback_is_fine(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "listen: [{address: 0.0.0.0, auth: none, open: true}]",
        "listen: [{address: 10.0.0.1, open: true}]",
        "listen: [{address: 127.8.8.8}, {address: \"::1\"}, {address: \"::ffff:127.0.0.1\"}]",
        USERS "listen: [{address: 0.0.0.0}]",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        config_free(good(texts[i]));
}

/* A listener without a login is as closed as its rules. */
static void rules_that_name_clients_close_a_proxy(void **state)
{
    (void)state;
    static const char *const closed[] = {
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny}]",
        "[{action: deny}]",
        "[{action: allow, from: [10.0.0.0/8, \"fc00::/7\"]}, {action: deny}]",
        "[{action: deny, to: [10.0.0.0/8]}, {action: allow, from: [192.0.2.1], to: [any]}, {action: deny, to: [any]}]",
    };
    static const char *const open[] = {
        "[]",
        "[{action: allow}, {action: deny, to: [10.0.0.0/8]}]",
        "[{action: allow, from: [192.0.2.0/24]}]",
        "[{action: allow, from: [0.0.0.0/0]}, {action: deny}]",
        "[{action: allow, from: [192.0.2.1, \"::/0\"]}, {action: deny}]",
        "[{action: allow, from: [0.0.0.0/1, 128.0.0.0/1]}, {action: deny}]",
        "[{action: allow, from: [\"2000::/3\"]}, {action: deny}]",
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny, command: [udp]}]",
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny, to: [0.0.0.0/0]}]",
        "[{action: allow, to: [192.0.2.7]}, {action: deny}]",
    };
    char text[256];
    for (size_t i = 0; i < COUNT(closed); i++) {
        snprintf(text, sizeof(text), "listen: [{address: 0.0.0.0}]\nrules: %s", closed[i]);
        config_free(good(text));
    }
    for (size_t i = 0; i < COUNT(open); i++) {
        char *errors, *warnings;
        snprintf(text, sizeof(text), "listen: [{address: 0.0.0.0}]\nrules: %s", open[i]);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        assert_non_null(strstr(errors, "an open proxy"));
        free(errors);
        free(warnings);
    }
}

/* Without a login, these could be used by anybody in them. */
static void trusted_networks_of_strangers_are_refused(void **state)
{
    (void)state;
    static const char *const strangers[] = {"0.0.0.0/0", "::/0",        "128.0.0.0/1", "2000::/3", "10.0.0.0/7",
                                            "8.0.0.0/8", "126.0.0.0/7", "fc00::/6",    "fe80::/9", "100.0.0.0/9"};
    static const char *const own[] = {"192.168.1.0/24", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10",
                                      "127.0.0.0/8",    "fd00::/8",   "fe80::/10",     "203.0.113.0/24",
                                      "198.51.0.0/16",  "192.0.2.1",  "2001:db8::/32", "169.254.0.0/16"};
    char text[256], expected[512];
    for (size_t i = 0; i < COUNT(strangers); i++) {
        snprintf(text, sizeof(text), USERS "listen: [{address: 0.0.0.0, trusted: [192.168.0.0/16, \"%s\"]}]",
                 strangers[i]);
        snprintf(expected, sizeof(expected),
                 "c.yaml:2:38: listen[0].trusted: found %s, whose addresses belong to strangers, who could use this "
                 "proxy without a login; expected your own networks, or open: true to serve anybody\n",
                 strangers[i]);
        bad(text, expected);
        snprintf(text, sizeof(text), USERS "listen: [{address: 0.0.0.0, open: true, trusted: [\"%s\"]}]", strangers[i]);
        config_free(good(text));
    }
    for (size_t i = 0; i < COUNT(own); i++) {
        snprintf(text, sizeof(text), USERS "listen: [{address: 0.0.0.0, trusted: [\"%s\"]}]", own[i]);
        config_free(good(text));
    }
    config_free(good_with("listen: [{trusted: [10.0.0.0/8]}]", "c.yaml:1:20: warning: listen[0].trusted: has no "
                                                               "effect: this listener requires no login\n"));
}

#define BALANCER "{proxy_protocol: required, proxy_from: [10.0.0.5]"

/* Row 53: nobody is believed by default, and a balancer's clients are not those of its address. */
static void a_balancer_must_be_configured(void **state)
{
    (void)state;
    bad(USERS "listen: [{proxy_protocol: required}]\n",
        "c.yaml:2:27: listen[0].proxy_from: found no trusted balancer, expected the addresses or networks that send "
        "the PROXY protocol, such as proxy_from: [10.0.0.5]\n");
    bad("listen: [" BALANCER "}]\n",
        "c.yaml:1:10: listen[0].address: found 127.0.0.1 without a login behind a balancer, so anybody could "
        "use it; expected one of: a login (" ADD_USERS "); rules that allow some clients (from) and then deny the "
        "others (- action: deny); or, to serve anybody, both auth: none and open: true\n");
    config_free(
        good_with("listen: [{proxy_from: [10.0.0.5]}]",
                  "c.yaml:1:23: warning: listen[0].proxy_from: has no effect without proxy_protocol: required\n"));
    config_free(good("listen: [" BALANCER ", auth: none, open: true}]"));
    config_free(good("listen: [" BALANCER "}]\nrules: [{action: allow, from: [192.0.2.1]}, {action: deny}]"));
}

/* Row 21 */
static void behind_a_balancer_reach_is_public(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum config_reach reach;
    } cases[] = {
        {USERS "listen: [{}, {port: 1081, proxy_protocol: required, proxy_from: [10.0.0.5]}]", CONFIG_REACH_PUBLIC},
        {USERS "listen: [" BALANCER "}]\nreach: private", CONFIG_REACH_PRIVATE},
        {USERS "listen: [{}, {port: 1081}]", CONFIG_REACH_AUTO},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = good(cases[i].text);
        assert_int_equal(config->active_reach, cases[i].reach);
        config_free(config);
    }
}

static void a_rule_that_never_matches_is_a_warning(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool in_vain;
    } pairs[] = {
        {"to: [10.0.0.0/8]", "to: [10.1.0.0/16]", true},
        {"to: [10.1.0.0/16]", "to: [10.0.0.0/8]", false},
        {"to: [10.0.0.0/8]", "to: [\"a00::/8\"]", false},
        {"to: [10.0.0.0/8, 11.0.0.0/8]", "to: [11.1.1.1, 10.1.1.1]", true},
        {"to: [10.0.0.0/8]", "to: [10.1.1.1, 11.1.1.1]", false},
        {"to: [private]", "to: [192.168.7.0/24]", true},
        {"to: [private]", "to: [192.0.0.0/8]", false},
        {"to: [10.0.0.0/8]", "to: [private]", false},
        {"to: [any]", "to: [x.example]", true},
        {"to: [any]", "{}", true},
        {"to: [.example]", "to: [x.example, example, .y.example]", true},
        {"to: [.example]", "to: [anexample]", false},
        {"to: [example]", "to: [.example]", false},
        {"to: [x.example]", "to: [X.example]", true},
        {"ports: [1-100]", "ports: [5-10, 20]", true},
        {"ports: [1-100]", "ports: [100-101]", false},
        {"ports: [1-100]", "{}", false},
        {"from: [10.0.0.0/9]", "from: [10.127.0.0/16]", true},
        {"from: [10.0.0.0/9]", "from: [10.128.0.0/16]", false},
        {"from: [10.0.0.0/9]", "{}", false},
        {"user: [a, b]", "user: [b]", true},
        {"user: [a]", "user: [b]", false},
        {"command: [udp]", "command: [udp, connect]", false},
        {"command: [udp, connect]", "command: [connect]", true},
        {"command: [udp], ports: [1]", "ports: [1]", false},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        char text[256];
        bool empty = pairs[i].second[0] == '{';
        snprintf(text, sizeof(text), "rules:\n- {%s, action: deny}\n- {action: allow%s%s}\n", pairs[i].first,
                 empty ? "" : ", ", empty ? "" : pairs[i].second);
        config_free(pairs[i].in_vain
                        ? good_with(text, "c.yaml:3:12: warning: rules[1].action: has no effect: rules[0], above it, "
                                          "matches everything that this rule matches\n")
                        : good(text));
    }
}

static void a_bad_rule_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *hint;
    } wrong[] = {
        {"from", "10.0.0.1/8", "the address has bits set after the prefix"},
        {"from", "10.0.0.0/33", "the prefix has 0 to 32 bits"},
        {"from", "10.0.0.0/08", "the prefix has 0 to 32 bits"},
        {"from", "2001:db8::/129", "the prefix has 0 to 128 bits"},
        {"from", "fe80::1%lo", "\"2001:db8::/32\"\n"},
        {"from", "::ffff:10.0.0.0/104", "write the IPv4 network instead"},
        {"to", "64:ff9b::/96", "write the IPv4 network instead"},
        {"to", "2002::/16", "write the IPv4 network instead"},
        {"to", "*.example", "begins with a dot; write .example\n"},
        {"to",
         "b\xc3\xbc"
         "cher.example",
         "such as xn--bcher-kva.example"},
        {"to", "example.com.", "remove the dot at the end"},
        {"to", "1.2", "(.example.com)\n"},
        {"to", "", "(.example.com)\n"},
        {"to", ".", "(.example.com)\n"},
        {"to", "a..b", "(.example.com)\n"},
        {"to", "a b", "(.example.com)\n"},
        {"ports", "0", "6881-6999\n"},
        {"ports", "65536", "6881-6999\n"},
        {"ports", "5-", "6881-6999\n"},
        {"ports", "-5", "6881-6999\n"},
        {"ports", "9-5", "the first port is higher than the last"},
        {"command", "tcp", "connect, bind or udp"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[128], place[64], *errors, *warnings;
        snprintf(text, sizeof(text), "rules: [{action: deny, %s: [\"%s\"]}]", wrong[i].key, wrong[i].value);
        snprintf(place, sizeof(place), ": rules[0].%s[0]: found \"", wrong[i].key);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        if (!strstr(errors, place) || !strstr(errors, wrong[i].hint))
            fail_msg("%s: %s", text, errors);
        free(errors);
        free(warnings);
    }
    bad("rules: [{to: [any]}]\n", "c.yaml:1:9: rules[0]: found no action, which is required: whether to allow or deny "
                                  "a request that the rule matches\n");
}

/* Where a term would never hold, or hold for some datagrams of an association only. */
static void terms_of_a_rule_must_apply_to_everything_it_allows(void **state)
{
    (void)state;
    static const char everywhere[] = "found together with to or ports, but a UDP association uses the same value for "
                                     "all destinations; remove to and ports";
    static const struct {
        const char *rule, *key, *hint;
    } wrong[] = {
        {"action: deny, mark: 1", "mark", "found in a rule with action: deny, expected only with action: allow"},
        {"action: allow, command: [connect, bind], filtering: address-dependent", "filtering",
         "found in a rule whose command does not include udp, expected only with udp"},
        {"action: allow, filtering: address-dependent, to: [10.0.0.0/8]", "filtering", everywhere},
        {"mark: 1, action: allow, ports: [53]", "mark", everywhere},
        {"interface: eth1, action: allow, ports: [53]", "interface", everywhere},
        {"dscp: 0, action: allow, ports: [53]", "dscp", everywhere},
        {"address_v4: 192.0.2.1, action: allow, command: [udp], to: [.x.test]", "address_v4", everywhere},
        {"address_v6: \"::1\", action: allow, command: [connect, udp], to: [private]", "address_v6", everywhere},
        {"bandwidth: 1MiB/s, action: allow, to: [private]", "bandwidth", everywhere},
        {"bandwidth: 1MiB/s, action: allow, to: [private], upstream: none", "bandwidth", everywhere},
        {"action: deny, bandwidth: 1MiB/s", "bandwidth",
         "found in a rule with action: deny, expected only with action: allow"},
        {"action: allow, command: [connect], datagrams: 1/s", "datagrams",
         "found in a rule whose command does not include udp, expected only with udp"},
    };
    static const char *const right[] = {
        "action: allow, mark: 1, filtering: address-dependent, address_v4: 192.0.2.1, address_v6: \"::1\"",
        "action: allow, mark: 1, from: [10.0.0.0/8], user: [bob], command: [udp], to: [any, 192.0.2.1]",
        "action: allow, mark: 1, address_v4: 192.0.2.1, command: [connect], to: [.x.test], ports: [443]",
        "action: allow, to: [.x.test], ports: [443]",
        "action: allow, to: [.x.test], ports: [443], upstream: none",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[256], expected[512];
        bool may_be_connect = wrong[i].hint == everywhere && !strstr(wrong[i].rule, "filtering");
        snprintf(text, sizeof(text), "rules: [{%s}]", wrong[i].rule);
        size_t column = (size_t)(strstr(text, wrong[i].key) - text) + strlen(wrong[i].key) + strlen(": ") + 1;
        snprintf(expected, sizeof(expected), "c.yaml:1:%zu: rules[0].%s: %s%s\n", column, wrong[i].key, wrong[i].hint,
                 may_be_connect ? ", or set command: [connect]" : "");
        bad(text, expected);
    }
    for (size_t i = 0; i < COUNT(right); i++) {
        char text[256];
        snprintf(text, sizeof(text), "rules: [{%s}]", right[i]);
        config_free(good(text));
    }
}

static void a_shared_port_must_not_need_root(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t port;
    } rows[] = {
        {"udp: {ports: 1080}", 1080},
        {"udp: {ports: 1024}", 1024},
        {"udp: {ports: 1080-1080}", 1080},
        {"udp: {ports: 1080-1081}", 0},
        {"udp: {ports: random}", 0},
        {"udp: {ports: 53-54}", 0},
        {"udp: {ports: 1080, external_ports: 1080-1081}", 1080},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *config = good(rows[i].text);
        assert_int_equal(config_shared_port(config), rows[i].port);
        config_free(config);
    }
    bad("udp: {ports: 1023}",
        "c.yaml:1:14: udp.ports: found 1023, expected one shared port of 1024 or above, a range, or random\n");
    bad("udp: {ports: 1080, external_ports: 1080}",
        "c.yaml:1:36: udp.external_ports: found the same port as udp.ports, expected other ports\n");
}

static void marks_and_interfaces_are_found_anywhere(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
    } rows[] = {
        {"{}", false},
        {"outbound: {mark: 1}", true},
        {"users: [{name: bob, password: " HASH "}, {name: al, password: " HASH ", mark: 1}]", true},
        {"rules: [{action: allow, address_v4: 192.0.2.1}]", false},
        {"rules: [{action: deny}, {action: allow, mark: 1}]", true},
        {"listen: [{}, {port: 1, mark: 1}]", true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        struct config *config = config_parse("c.yaml", rows[i].text, strlen(rows[i].text), &errors, &warnings);
        assert_non_null(config);
        assert_int_equal(config_has_mark(config), rows[i].has);
        config_free(config);
        free(warnings);
    }
}

static void users_make_a_login_required(void **state)
{
    (void)state;
    struct config *config = good(USERS "listen: [{}, {port: 1, auth: none}, {port: 2, auth: password}]");
    assert_true(config->listen[0].need_password);
    assert_false(config->listen[1].need_password);
    assert_true(config->listen[2].need_password);
    assert_string_equal(config->users[0].name, "alice");
    assert_string_equal(config->users[0].password, HASH);
    config_free(config);

    bad("listen:\n  - auth: password\n",
        "c.yaml:2:11: listen[0].auth: found password, but there are no users; expected users, or auth: none\n");
    config_free(
        good_with(USERS "listen: [{auth: none}]",
                  "c.yaml:1:16: warning: users: no listener requires a login, so these users have no effect\n"));
    config_free(good_with(USERS "listen: [{open: true}]",
                          "c.yaml:2:17: warning: listen[0].open: true has no effect where a password is required\n"));
}

static void names_and_listeners_are_unique(void **state)
{
    (void)state;
    bad("users:\n"
        "  - {name: b, password: " HASH "}\n"
        "  - {name: a, password: " HASH "}\n"
        "  - {name: b, password: " HASH "}\n"
        "listen: [{}, {port: 1080, address: 127.0.0.1}]\n",
        "c.yaml:5:36: listen[1].address: found the same address and port as listen[0], expected different ones\n"
        "c.yaml:4:12: users[2].name: found the same name as users[0], expected a different one\n");
}

static void bad_upstreams_are_refused(void **state)
{
    (void)state;
    bad("outbound: {upstream: fur}\n"
        "upstreams:\n"
        "- {name: far, address: 192.0.2.9}\n"
        "- {name: far, address: 192.0.2.9}\n"
        "- {name: none, address: 192.0.2.9}\n"
        "- {name: a, address: 127.0.0.1}\n"
        "- {name: b, address: 192.0.2.9, password: x}\n"
        "users: [{name: bob, password: " HASH ", upstream: fur}]\n"
        "rules:\n"
        "- {action: allow, upstream: Far}\n"
        "- {action: deny, upstream: far}\n"
        "- {action: allow, to: [192.0.2.1], upstream: far, mark: 1}\n"
        "- {action: allow, to: [192.0.2.1], upstream: none, command: [connect]}\n",
        "c.yaml:11:28: rules[1].upstream: found in a rule with action: deny, expected only with action: allow\n"
        "c.yaml:12:57: rules[2].mark: found together with to or ports, but a UDP association uses the same value "
        "for all destinations; remove to and ports, or set command: [connect]\n"
        "c.yaml:1:22: outbound.upstream: found a name that is not in upstreams, expected a name from there, or none\n"
        "c.yaml:8:102: users[0].upstream: found a name that is not in upstreams, expected a name from there, or none\n"
        "c.yaml:10:29: rules[0].upstream: found a name that is not in upstreams, expected a name from there, or none\n"
        "c.yaml:4:10: upstreams[1].name: found the same name as upstreams[0], expected a different one\n"
        "c.yaml:5:10: upstreams[2].name: found a reserved word, expected another name\n"
        "c.yaml:6:22: upstreams[3].address: found one of this proxy's own listeners, which would make a loop; expected "
        "another server\n"
        "c.yaml:7:43: upstreams[4].password: found a password without a user, expected both or neither\n");
    bad("upstreams: [{name: a, address: 0.0.0.0}, {name: b, address: \"a b\"}, {address: c.example}]\n",
        "c.yaml:1:32: upstreams[0].address: found \"0.0.0.0\", expected an IP address, such as 192.0.2.1 or "
        "2001:db8::1, "
        "or a host name; nothing can connect to this address\n"
        "c.yaml:1:61: upstreams[1].address: found \"a b\", expected an IP address, such as 192.0.2.1 or 2001:db8::1, "
        "or "
        "a host name\n"
        "c.yaml:1:69: upstreams[2]: found no name, which is required: the name that rules, users and outbound.upstream "
        "refer to\n");
}

/* An interface may get public addresses at any time: so it serves private clients only, as a private address does. */
static void an_interface_is_no_open_proxy(void **state)
{
    (void)state;
    char text[CONFIG_LISTENER_TEXT_MAX];
    struct config *config = good_with("listen: [{address: lo, port: 1080-1082}]",
                                      "c.yaml:1:20: warning: listen[0].address: anybody who can reach lo can use this "
                                      "proxy; add users, or set open: true if you want that\n");
    assert_true(config->listen[0].private_only);
    assert_string_equal(config_listener_format(&config->listen[0], text), "lo:1080-1082");
    config_free(config);
    config = good(USERS "listen: [{address: lo}, {address: \"::\"}]"); /* not the same address */
    assert_false(config->listen[0].private_only);
    const union netaddr local = config->listen[1].address;
    assert_ptr_equal(config_listener_for(config, &local, 1), &config->listen[0]);
    assert_ptr_equal(config_listener_for(config, &local, 0), &config->listen[1]);
    assert_ptr_equal(config_listener_for(config, &local, 2), &config->listen[1]); /* a link-local client's */
    config_free(config);
    bad("listen: [{address: lo, auth: none}]\nudp: {advertise_v4: 198.51.100.1}\n",
        "c.yaml:1:20: listen[0].address: found lo without a login while udp advertises a public address, which is an "
        "open proxy; expected one of: a login (add users; conesocks hash-password makes the hash); address: 127.0.0.1; "
        "rules that allow some clients (from) and then deny the others (- action: deny); or, to serve anybody, both "
        "auth: none and open: true\n");
    bad("listen: [{address: lo}, {address: lo}]\n",
        "c.yaml:1:35: listen[1].address: found the same address and port as listen[0], expected different ones\n");
    bad("listen: [{address: nosuchif}]\n",
        "c.yaml:1:20: listen[0].address: found \"nosuchif\", expected an IPv4 or IPv6 address without a port, such as "
        "127.0.0.1 or ::1, or an interface, such as eth0; this host has no interface with that name (ip link lists "
        "them)\n");
}

static void ports_of_listeners_are_their_own(void **state)
{
    (void)state;
    struct config *config = good("listen: [{port: 30000-31999}, {port: 32000-32001, address: 127.0.0.2}]");
    assert_int_equal(config->endpoint_count, 2002);
    assert_int_equal(netaddr_port(&config->listen[1].address), 32000);
    config_free(config);
    config_free(good("listen: [{port: 30000-31999}, {port: 30000, address: 127.0.0.2}]"));
    bad("listen: [{port: 30000-31999}, {port: 31998-32001}]\n",
        "c.yaml:1:38: listen[1].port: found port 31998, which listen[0] has at the same address, expected different "
        "ports\n");
    bad("listen: [{port: 1-16384}, {port: 16385}]\n",
        "c.yaml:1:9: listen: found too many ports, expected at most 16384 in all\n");
    bad("listen: [{port: 30000-30009}]\nadmin: {port: 30004}\n",
        "c.yaml:2:15: admin.port: found the same address and port as listen[0], expected different ones\n");
}

static void each_port_needs_an_address_of_its_own(void **state)
{
    (void)state;
    config_free(good("listen: [{port: 30000-30001, address_by_port: true, address_v4: 192.0.2.1 192.0.2.2,\n"
                     "          address_v6: \"2001:db8::/126\"}]"));
    bad("listen: [{port: 30000-30003, address_by_port: true, address_v4: 192.0.2.1 192.0.2.2,\n"
        "          address_v6: \"2001:db8::/126\"}]",
        "c.yaml:1:65: listen[0].address_v4: found 2 addresses for 4 ports, expected one for each (address_by_port)\n"
        "c.yaml:2:23: listen[0].address_v6: found 3 addresses for 4 ports, expected one for each (address_by_port)\n");
    bad("listen: [{address_by_port: true}]",
        "c.yaml:1:28: listen[0].address_by_port: found without addresses, expected address_v4 or address_v6 of this "
        "listener, too\n");
    bad("listen: [{address_by_port: true, address_v4: listener}]",
        "c.yaml:1:46: listen[0].address_v4: found listener together with address_by_port, expected a list of addresses "
        "or a network\n");
}

static void a_rule_about_a_listener_names_one(void **state)
{
    (void)state;
    config_free(good("listen: [{name: lan, upstream: far}, {name: lan, port: 1}]\n"
                     "upstreams: [{name: far, address: 192.0.2.9}]\n"
                     "rules: [{action: deny, listener: [lan]}]\n"));
    bad("listen: [{name: lan, upstream: fur}, {port: 1}]\nrules: [{action: deny, listener: [lan, dmz]}]\n",
        "c.yaml:2:40: rules[0].listener[1]: found a name that no listener has, expected a listen[].name\n"
        "c.yaml:1:32: listen[0].upstream: found a name that is not in upstreams, expected a name from there, or "
        "none\n");
    config_free(
        good_with("listen: [{name: lan}, {name: dmz, port: 1}]\n"
                  "rules: [{action: deny, listener: [lan]}, {action: allow, listener: [dmz]},\n"
                  "        {action: allow, listener: [lan], user: [bob]}]\n",
                  "c.yaml:3:18: warning: rules[2].action: has no effect: rules[0], above it, matches everything "
                  "that this rule matches\n"));
    bad("listen: [{name: lan, address: 0.0.0.0}]\n" /* which clients it is for, is not told */
        "rules: [{action: allow, listener: [lan]}, {action: deny}]\n",
        "c.yaml:1:31: listen[0].address: " OPEN_PROXY("0.0.0.0", ADD_USERS));
}

static void an_upstream_that_nothing_uses_is_a_warning(void **state)
{
    (void)state;
    char *errors, *warnings;
    const char *text = "upstreams: [{name: far, address: 192.0.2.9}]";
    struct config *config = parse_bytes(text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    assert_string_equal(warnings, "c.yaml:1:20: warning: upstreams[0].name: is not used: no rule, no user, no "
                                  "listener and no outbound.upstream refers to it\n");
    free(warnings);
    config_free(config);
}

static void a_log_file_needs_its_target(void **state)
{
    (void)state;
    bad("log:\n  target: file\n", "c.yaml:2:11: log.target: found file without log.file, expected both: log: {target: "
                                  "file, file: /var/log/conesocks/log}\n");
    config_free(
        good_with("log: {file: /run/log}", "c.yaml:1:13: warning: log.file: has no effect without log.target: file\n"));
}

/* Row 54. */
static void the_admin_listener_is_for_this_host_unless_open(void **state)
{
    (void)state;
#define SEEN                                                                                                           \
    ", where other hosts could see who uses the proxy; expected one of: 127.0.0.1; admin.socket instead; or, to "      \
    "show it to anybody who can reach it, open: true\n"
    bad("admin:\n  address: 0.0.0.0\n  port: 1081\n", "c.yaml:2:12: admin.address: found 0.0.0.0" SEEN);
    bad("admin: {port: 1081, address: 192.168.0.1}", "c.yaml:1:30: admin.address: found 192.168.0.1" SEEN);
    bad("admin: {port: 1081, address: \"::\"}", "c.yaml:1:30: admin.address: found ::" SEEN);
    bad("admin: {port: 1080}",
        "c.yaml:1:15: admin.port: found the same address and port as listen[0], expected different ones\n");
    config_free(good("admin: {port: 1081, address: 0.0.0.0, open: true}"));
    config_free(good("admin: {port: 1080, address: \"::1\"}"));
    config_free(good_with("admin: {port: 1081, open: true}",
                          "c.yaml:1:27: warning: admin.open: true has no effect for a loopback address\n"));
    char text[256], expected[256];
    snprintf(text, sizeof(text), "admin: {socket: /%0106d}", 0);
    config_free(good(text));
    snprintf(text, sizeof(text), "admin: {socket: /%0107d}", 0);
    snprintf(expected, sizeof(expected),
             "c.yaml:1:17: admin.socket: found a path of 108 bytes, expected at most 107\n");
    bad(text, expected);
}

static void a_short_idle_limit_is_a_warning(void **state)
{
    (void)state;
    static const char warning[] =
        "c.yaml:1:13: warning: udp.idle: is below 2m: a call or a game that is silent for that long loses its external "
        "port; applications count on two minutes (RFC 4787)\n";
    config_free(good_with("udp: {idle: 10s}", warning));
    config_free(good_with("udp: {idle: 119999ms}", warning));
    config_free(good("udp: {idle: 2m}"));
    config_free(good("udp: {idle: off}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_upstreams_are_refused),
        cmocka_unit_test(an_interface_is_no_open_proxy),
        cmocka_unit_test(ports_of_listeners_are_their_own),
        cmocka_unit_test(each_port_needs_an_address_of_its_own),
        cmocka_unit_test(a_rule_about_a_listener_names_one),
        cmocka_unit_test(an_upstream_that_nothing_uses_is_a_warning),
        cmocka_unit_test(an_open_proxy_is_refused),
        cmocka_unit_test(trusted_networks_of_strangers_are_refused),
        cmocka_unit_test(a_balancer_must_be_configured),
        cmocka_unit_test(behind_a_balancer_reach_is_public),
        cmocka_unit_test(a_private_listener_with_a_public_advertised_address_is_an_open_proxy),
        cmocka_unit_test(a_private_listener_without_a_login_is_a_warning),
        cmocka_unit_test(an_intended_open_proxy_or_loopback_is_fine),
        cmocka_unit_test(rules_that_name_clients_close_a_proxy),
        cmocka_unit_test(a_rule_that_never_matches_is_a_warning),
        cmocka_unit_test(a_bad_rule_is_refused),
        cmocka_unit_test(terms_of_a_rule_must_apply_to_everything_it_allows),
        cmocka_unit_test(a_shared_port_must_not_need_root),
        cmocka_unit_test(a_short_idle_limit_is_a_warning),
        cmocka_unit_test(marks_and_interfaces_are_found_anywhere),
        cmocka_unit_test(users_make_a_login_required),
        cmocka_unit_test(names_and_listeners_are_unique),
        cmocka_unit_test(the_admin_listener_is_for_this_host_unless_open),
        cmocka_unit_test(a_log_file_needs_its_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
