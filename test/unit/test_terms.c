#include "policy/terms.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/rules.h"
#include "test.h"

#define HASH "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"

static struct config *config;
static union netaddr connected_to;

static void configure(const char *text)
{
    char *errors, *warnings;
    config_free(config);
    config = config_parse("terms", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    free(warnings);
}

static int tear_down(void **state)
{
    (void)state;
    config_free(config);
    config = NULL;
    connected_to = (union netaddr){0};
    return 0;
}

/* Everything is said on each level by somebody, and something by nobody. */
static void configure_all_levels(void)
{
    configure("udp: {filtering: address-dependent}\n"
              "outbound: {address_v4: 192.0.2.1, address_v6: \"2001:db8::1\", mark: 1, interface: wan1, dscp: 1}\n"
              "users:\n"
              "- {name: silent, password: " HASH "}\n"
              "- {name: alice, password: " HASH ", address_v4: 192.0.2.2, address_v6: \"2001:db8::2\", mark: 2,\n"
              "   interface: wan2, dscp: 2,\n"
              "   filtering: address-and-port-dependent}\n"
              "- {name: bob, password: " HASH ", address_v4: 192.0.2.3}\n"
              "rules:\n"
              "- {action: allow}\n"
              "- {action: allow, address_v4: 192.0.2.4, address_v6: \"2001:db8::4\", mark: 4,\n"
              "   interface: wan4, dscp: 0,\n"
              "   filtering: endpoint-independent}\n"
              "- {action: allow, address_v6: \"2001:db8::5\"}\n");
}

static const union netaddr client = {.v4 = {.sin_family = AF_INET, .sin_addr.s_addr = 1}};

static const struct config_user *entry_of(const char *user)
{
    for (size_t i = 0; user && i < config->user_count; i++)
        if (strcmp(config->users[i].name, user) == 0)
            return &config->users[i];
    return NULL;
}

static void connect_to(const char *host, uint16_t port)
{
    assert_true(netaddr_parse(&connected_to, host, port));
}

static struct terms_holder holder_of(const char *user, uint32_t rule, const union netaddr *from)
{
    return (struct terms_holder){rule, entry_of(user), config_listener_for(config, &connected_to, 0), from,
                                 &connected_to};
}

static struct terms terms_of(const char *user, uint32_t rule, const union netaddr *from)
{
    const struct terms_holder holder = holder_of(user, rule, from);
    return terms_find(config, &holder);
}

/* "192.0.2.1 2001:db8::1 mark filtering interface dscp" */
static const char *terms_as_text(const char *user, uint32_t rule)
{
    static char text[2 * NETADDR_TEXT_MAX + 32];
    char v4[NETADDR_TEXT_MAX], v6[NETADDR_TEXT_MAX];
    const struct terms terms = terms_of(user, rule, &client);
    snprintf(text, sizeof(text), "%s %s %u %d %s %u", netaddr_format_host(&terms.address_v4, v4),
             netaddr_format_host(&terms.address_v6, v6), terms.mark, (int)terms.filtering,
             terms.interface ? terms.interface : "-", terms.dscp);
    return text;
}

static void the_rule_is_asked_before_the_user_and_the_user_before_the_configuration(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        uint32_t rule;
        const char *expected;
    } rows[] = {
        {NULL, RULES_NO_MATCH, "192.0.2.1 2001:db8::1 1 2 wan1 1"},
        {"nobody", RULES_NO_MATCH, "192.0.2.1 2001:db8::1 1 2 wan1 1"},
        {"silent", 0, "192.0.2.1 2001:db8::1 1 2 wan1 1"},
        {"alice", RULES_NO_MATCH, "192.0.2.2 2001:db8::2 2 3 wan2 2"},
        {"alice", 0, "192.0.2.2 2001:db8::2 2 3 wan2 2"},
        {"alice", 1, "192.0.2.4 2001:db8::4 4 1 wan4 0"},
        {"alice", 2, "192.0.2.2 2001:db8::5 2 3 wan2 2"},
        {"bob", RULES_NO_MATCH, "192.0.2.3 2001:db8::1 1 2 wan1 1"},
        {"bob", 2, "192.0.2.3 2001:db8::5 1 2 wan1 1"},
        {NULL, 1, "192.0.2.4 2001:db8::4 4 1 wan4 0"},
    };
    configure_all_levels();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(terms_as_text(rows[i].user, rows[i].rule), rows[i].expected);
}

static void without_a_word_the_system_chooses(void **state)
{
    (void)state;
    configure("{}");
    assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), "none none 0 1 - 0");
}

static char *explained(const char *user, uint32_t rule)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    const struct terms_holder holder = holder_of(user, rule, &client);
    terms_explain(config, &holder, out);
    fclose(out);
    return text;
}

static void each_term_is_told_with_whose_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        uint32_t rule;
        const char *expected;
    } rows[] = {
        {NULL, RULES_NO_MATCH, ""},
        {"silent", 0, ""},
        {"bob", 0, "terms: address_v4 192.0.2.3 (users[2])\n"},
        {"bob", 2, "terms: address_v6 2001:db8::5 (rules[2]), address_v4 192.0.2.3 (users[2])\n"},
        {"alice", 1,
         "terms: address_v4 192.0.2.4 (rules[1]), address_v6 2001:db8::4 (rules[1]), mark 0x4 (rules[1]), interface "
         "wan4 (rules[1]), dscp cs0 (rules[1]), filtering "
         "endpoint-independent (rules[1])\n"},
        {"alice", 2,
         "terms: address_v6 2001:db8::5 (rules[2]), address_v4 192.0.2.2 (users[1]), mark 0x2 (users[1]), interface "
         "wan2 (users[1]), dscp 2 (users[1]), filtering "
         "address-and-port-dependent (users[1])\n"},
    };
    configure_all_levels();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = explained(rows[i].user, rows[i].rule);
        assert_string_equal(text, rows[i].expected);
        free(text);
    }
}

/* The rule, the user, the listener, the rest. */
static void the_listener_is_asked_after_the_user(void **state)
{
    (void)state;
    configure("udp: {filtering: address-dependent}\n"
              "outbound: {address_v4: 192.0.2.1, address_v6: \"2001:db8::1\", mark: 1, interface: wan1, dscp: 1}\n"
              "listen:\n"
              "- {port: 1080}\n"
              "- {port: 1081, address_v4: 192.0.2.6, mark: 6, interface: wan6, dscp: 6, bandwidth: 6MiB/s,\n"
              "   filtering: endpoint-independent, upstream: far}\n"
              "users:\n"
              "- {name: bob, password: " HASH ", address_v4: 192.0.2.3, bandwidth: 3MiB/s}\n"
              "rules: [{action: allow, mark: 4, upstream: none}]\n"
              "upstreams: [{name: far, address: 192.0.2.9}]\n");
    connect_to("127.0.0.1", 1080);
    assert_string_equal(terms_as_text("bob", RULES_NO_MATCH), "192.0.2.3 2001:db8::1 1 2 wan1 1");
    connect_to("127.0.0.1", 1081);
    assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), "192.0.2.6 2001:db8::1 6 1 wan6 6");
    assert_string_equal(terms_as_text("bob", RULES_NO_MATCH), "192.0.2.3 2001:db8::1 6 1 wan6 6");
    assert_string_equal(terms_as_text("bob", 0), "192.0.2.3 2001:db8::1 4 1 wan6 6");
    const struct terms terms = terms_of("bob", RULES_NO_MATCH, &client), other = terms_of("bob", 0, &client);
    assert_int_equal(terms.session.bytes, 6 << 20);
    assert_int_equal(terms.user.bytes, 3 << 20);
    assert_string_equal(terms.upstream->name, "far");
    assert_null(other.upstream);
    char *text = explained("bob", 0);
    assert_string_equal(text, "terms: mark 0x4 (rules[0]), upstream none (rules[0]), address_v4 192.0.2.3 (users[0]), "
                              "bandwidth 3MiB/s (users[0]), interface wan6 (listen[1]), dscp 6 (listen[1]), filtering "
                              "endpoint-independent (listen[1]), bandwidth 6MiB/s (listen[1])\n");
    free(text);
    connect_to("127.0.0.1", 1082); /* a listener that a reload has removed */
    assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), "192.0.2.1 2001:db8::1 1 2 wan1 1");
}

static void traffic_leaves_from_the_address_that_the_client_connected_to(void **state)
{
    (void)state;
    static const struct {
        const char *local, *expected;
    } rows[] = {
        {"192.0.2.7", "192.0.2.7 none 0 1 - 0"},
        {"2001:db8::7", "none 2001:db8::7 0 1 - 0"},
        {"10.0.0.7", "10.0.0.7 none 0 1 - 0"},
        {"127.0.0.1", "none none 0 1 - 0"},
        {"::1", "none none 0 1 - 0"},
        {"169.254.0.7", "none none 0 1 - 0"},
        {"fe80::7", "none none 0 1 - 0"},
    };
    configure("outbound: {address_v4: listener, address_v6: listener}\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        connect_to(rows[i].local, 1080);
        assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), rows[i].expected);
    }
    const struct terms terms = terms_of(NULL, RULES_NO_MATCH, &client);
    assert_int_equal(netaddr_port(&terms.address_v4), 0);
    configure("outbound: {address_v4: listener}\nlisten: [{address_v4: 192.0.2.6}]\n"
              "rules: [{action: allow, address_v4: listener}]\n");
    connect_to("127.0.0.1", 1080);
    assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), "192.0.2.6 none 0 1 - 0");
    assert_string_equal(terms_as_text(NULL, 0), "none none 0 1 - 0");
    char *text = explained(NULL, 0);
    assert_string_equal(text, "terms: address_v4 listener (rules[0])\n");
    free(text);
}

static void a_session_has_a_random_address_of_a_network(void **state)
{
    (void)state;
    char first[128], text[128];
    size_t others = 0;
    configure("outbound: {address_v4: 198.51.100.252/30, address_v6: \"2001:db8:1:2::/64\"}\n");
    snprintf(first, sizeof(first), "%s", terms_as_text(NULL, RULES_NO_MATCH));
    for (int i = 0; i < 200; i++) {
        const struct terms terms = terms_of(NULL, RULES_NO_MATCH, &client);
        const struct config_network network = {config->outbound.address_v6.addresses[0], 64};
        assert_true(config_network_contains(&network, &terms.address_v6));
        assert_true(terms.from_network);
        snprintf(text, sizeof(text), "%s", terms_as_text(NULL, RULES_NO_MATCH));
        others += strcmp(first, text) != 0;
        const uint32_t host = ntohl(terms.address_v4.v4.sin_addr.s_addr);
        assert_true(host == 0xc63364fd || host == 0xc63364fe); /* neither the network's nor the broadcast address */
    }
    assert_true(others > 190);
}

static void each_port_leaves_by_an_address_of_its_own(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        const char *expected;
    } rows[] = {
        {30000, "none 2001:db8:1::1 0 1 - 0"},  {30001, "none 2001:db8:1::2 0 1 - 0"},
        {30254, "none 2001:db8:1::ff 0 1 - 0"}, {30255, "none 2001:db8:1::100 0 1 - 0"},
        {31000, "192.0.2.7 none 0 1 - 0"},      {31001, "192.0.2.6 none 0 1 - 0"},
    };
    configure("listen:\n"
              "- {port: 30000-30255, address_by_port: true, address_v6: \"2001:db8:1::/112\"}\n"
              "- {port: 31000-31001, address_by_port: true, address_v4: 192.0.2.7 192.0.2.6}\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        connect_to("127.0.0.1", rows[i].port);
        assert_string_equal(terms_as_text(NULL, RULES_NO_MATCH), rows[i].expected);
    }
}

static const char *upstream_of(const char *user, uint32_t rule)
{
    const struct terms terms = terms_of(user, rule, &(const union netaddr){0});
    return terms.upstream ? terms.upstream->name : "none";
}

/* "none" is a word, too: it is not silence. */
static void the_nearest_upstream_counts(void **state)
{
    (void)state;
    configure("upstreams:\n"
              "- {name: far, address: 192.0.2.9}\n"
              "- {name: near, address: 192.0.2.8}\n"
              "outbound: {upstream: far}\n"
              "users:\n"
              "- {name: silent, password: " HASH "}\n"
              "- {name: alice, password: " HASH ", upstream: near}\n"
              "- {name: bob, password: " HASH ", upstream: none}\n"
              "rules:\n"
              "- {action: allow}\n"
              "- {action: allow, upstream: near}\n"
              "- {action: allow, upstream: none}\n");
    assert_string_equal(upstream_of(NULL, RULES_NO_MATCH), "far");
    assert_string_equal(upstream_of("silent", 0), "far");
    assert_string_equal(upstream_of("alice", 0), "near");
    assert_string_equal(upstream_of("alice", 2), "none");
    assert_string_equal(upstream_of("bob", RULES_NO_MATCH), "none");
    assert_string_equal(upstream_of("bob", 1), "near");
    char *text = explained("alice", 2);
    assert_string_equal(text, "terms: upstream none (rules[2])\n");
    free(text);
}

/* A rule's rates are each session's, a user's entry has those of all the user's sessions together. */
static void the_nearest_rate_counts(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        uint32_t rule;
        struct rate session, of_user;
    } rows[] = {
        {NULL, RULES_NO_MATCH, {2048, 0}, {4096, 40}},
        {"alice", RULES_NO_MATCH, {2048, 0}, {3072, 0}},
        {"bob", 0, {1024, 0}, {4096, 40}},
        {"alice", 1, {0, 10}, {3072, 0}},
        {"nobody", 1, {0, 10}, {4096, 40}},
    };
    configure("limits: {bandwidth_per_session: 2KiB/s, bandwidth_per_user: 4KiB/s, datagrams_per_user: 40/s}\n"
              "users:\n"
              "- {name: alice, password: " HASH ", bandwidth: 3KiB/s, datagrams: unlimited}\n"
              "- {name: bob, password: " HASH "}\n"
              "rules:\n"
              "- {action: allow, bandwidth: 1KiB/s}\n"
              "- {action: allow, bandwidth: unlimited, datagrams: 10/s}\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct terms terms = terms_of(rows[i].user, rows[i].rule, &client);
        assert_memory_equal(&terms.session, &rows[i].session, sizeof(struct rate));
        assert_memory_equal(&terms.user, &rows[i].of_user, sizeof(struct rate));
    }
    char *text = explained("alice", 1);
    assert_string_equal(text, "terms: bandwidth unlimited (rules[1]), datagrams 10/s (rules[1]), "
                              "bandwidth 3KiB/s (users[0]), datagrams unlimited (users[0])\n");
    free(text);
}

/* ---- several addresses ---- */

static union netaddr source_of(const char *host, bool v6)
{
    union netaddr from;
    assert_true(netaddr_parse(&from, host, 0));
    const struct terms terms = terms_of(NULL, RULES_NO_MATCH, &from);
    return v6 ? terms.address_v6 : terms.address_v4;
}

static void assert_same_source(const char *a, const char *b)
{
    const union netaddr of_a = source_of(a, false), of_b = source_of(b, false);
    assert_true(netaddr_equal(&of_a, &of_b));
}

/* Clients 10.0.0.0 to 10.0.1.143; where[i] becomes the last byte of client i's source. */
#define CLIENTS 400
static void spread(bool v6, uint8_t where[CLIENTS], unsigned counts[256])
{
    memset(counts, 0, 256 * sizeof(*counts));
    for (unsigned i = 0; i < CLIENTS; i++) {
        char host[32];
        size_t len;
        snprintf(host, sizeof(host), "10.0.%u.%u", i / 256, i % 256);
        const union netaddr source = source_of(host, v6);
        where[i] = netaddr_host(&source, &len)[(v6 ? 16 : 4) - 1];
        counts[where[i]]++;
    }
}

/* RFC 4787 REQ-2: "paired" pooling. */
static void a_client_has_one_of_several_addresses_and_clients_are_spread_over_all(void **state)
{
    (void)state;
    uint8_t before[CLIENTS], after[CLIENTS];
    unsigned counts[256];
    configure("outbound: {address_v4: 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4,\n"
              "           address_v6: \"2001:db8::1 2001:db8::2\"}\n");
    spread(false, before, counts);
    for (unsigned i = 1; i <= 4; i++)
        assert_in_range(counts[i], CLIENTS / 8, CLIENTS / 2);
    spread(true, after, counts);
    for (unsigned i = 1; i <= 2; i++)
        assert_in_range(counts[i], CLIENTS / 3, CLIENTS * 2 / 3);
    assert_same_source("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"); /* one subscriber's */
    assert_same_source("::ffff:10.0.0.7", "10.0.0.7");

    /* In another order, and without one of them: only its own clients move. */
    configure("outbound: {address_v4: 192.0.2.4 192.0.2.1 192.0.2.2}\n");
    spread(false, after, counts);
    assert_int_equal(counts[3], 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_true(before[i] == 3 || before[i] == after[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_is_asked_before_the_user_and_the_user_before_the_configuration),
        cmocka_unit_test(without_a_word_the_system_chooses),
        cmocka_unit_test(each_term_is_told_with_whose_it_is),
        cmocka_unit_test(the_listener_is_asked_after_the_user),
        cmocka_unit_test(traffic_leaves_from_the_address_that_the_client_connected_to),
        cmocka_unit_test(a_session_has_a_random_address_of_a_network),
        cmocka_unit_test(each_port_leaves_by_an_address_of_its_own),
        cmocka_unit_test(the_nearest_upstream_counts),
        cmocka_unit_test(the_nearest_rate_counts),
        cmocka_unit_test(a_client_has_one_of_several_addresses_and_clients_are_spread_over_all),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
