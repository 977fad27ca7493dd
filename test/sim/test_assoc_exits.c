/* Rules about destinations that name upstreams: an association leaves by several ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "association.h"

#define UPSTREAMS "upstreams: [{name: far, address: 198.51.100.9}, {name: near, address: 198.51.100.9}]\n"
#define CONTROLS  4

static union netaddr client2, elsewhere;
static int control[CONTROLS][2]; /* ours, the upstream's */
static size_t control_count;     /* that are in use */
static struct config *config;
static struct rules *rules;

static void use(const char *text)
{
    char *errors, *warnings;
    struct config *before = config;
    struct rules *rules_before = rules;
    config = config_parse("", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    free(warnings);
    config->active_reach = CONFIG_REACH_ALL;
    rules = rules_compile(config->rules, config->rule_count);
    world_env.config = world_env.policy.config = config;
    world_env.rules = rules;
    world_env.generation++;
    if (assoc)
        assert_true(assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL}));
    rules_free(rules_before);
    config_free(before);
}

static int begin_exits(void **state)
{
    begin(state);
    client2 = addr("10.0.0.2", 7002);
    elsewhere = addr("203.0.113.5", 53);
    world_upstream = addr("198.51.100.9", 1080);
    world_upstream_local = addr("198.51.100.1", 5555);
    control_count = 0;
    config = NULL;
    rules = NULL;
    for (size_t i = 0; i < CONTROLS; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control[i]), 0);
    return 0;
}

static int end_exits(void **state)
{
    const int result = end(state);
    for (size_t i = 0; i < CONTROLS; i++) {
        if (i >= control_count)
            close(control[i][0]);
        close(control[i][1]);
    }
    rules_free(rules);
    config_free(config);
    return result;
}

/* Its relay has the port 4000, the next one's 4001 ... */
static void grant(const char *name)
{
    const union netaddr relay = addr("198.51.100.9", (uint16_t)(4000 + control_count));
    assert_non_null(world_upstream_asked());
    assert_string_equal(world_upstream_asked(), name);
    assert_true(world_upstream_answers(SOCKS5_REPLY_SUCCEEDED, control[control_count++][0], &relay));
    world_run();
}

static union netaddr expect_at(uint16_t port, const uint8_t *bytes, size_t len)
{
    const union netaddr there = addr("198.51.100.9", port);
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, &there));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, bytes, len);
    return out->from;
}

/* Returns where it has left from. */
static union netaddr expect_by(uint16_t port, const union netaddr *to, const char *text)
{
    uint8_t bytes[512];
    return expect_at(port, bytes, wrap(bytes, to, text));
}

static union netaddr expect_direct(const union netaddr *to, const char *text)
{
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, to));
    assert_int_equal(out->len, strlen(text));
    return out->from;
}

static void back_by(const union netaddr *external, uint16_t port, const union netaddr *origin, const char *text)
{
    const union netaddr relay = addr("198.51.100.9", port);
    uint8_t bytes[512];
    assert_true(world_arrive(&relay, external, bytes, wrap(bytes, origin, text)));
    world_run();
}

static void each_destination_leaves_as_its_rule_says(void **state)
{
    (void)state;
    use(UPSTREAMS
        "rules: [{action: allow, to: [192.0.2.0/24], upstream: far}, {action: allow, ports: [5000], upstream: near}]");
    const union netaddr game = addr("203.0.113.5", 5000);
    open_plain();
    from_client(&elsewhere, "direct");
    const union netaddr direct = expect_direct(&elsewhere, "direct");
    from_client(&server, "waits");
    expect_nothing();
    grant("far");
    const union netaddr far = expect_by(4000, &server, "waits");
    from_client(&game, "port");
    grant("near");
    expect_by(4001, &game, "port");
    from_client(&server2, "again");
    const union netaddr again = expect_by(4000, &server2, "again");
    assert_true(netaddr_equal(&far, &again)); /* one mapping, whatever the destination */
    from_client(&elsewhere, "direct");
    const union netaddr direct_again = expect_direct(&elsewhere, "direct");
    assert_true(netaddr_equal(&direct, &direct_again));
    back_by(&far, 4000, &elsewhere, "whoever the upstream lets in");
    expect_down(&client, &elsewhere, "whoever the upstream lets in");
    from_internet(&server, "whoever");
    expect_down(&client, &server, "whoever");
    char text[64];
    assert_string_equal(assoc_exits(assoc, text, sizeof(text)), "far, near");
    assert_null(assoc_upstream(assoc));
    assert_int_equal(flow()->up_datagrams, 5);
    assert_int_equal(flow()->down_datagrams, 2);
    assert_int_equal(assoc_descriptors(assoc), 2 + 2 * 2);
    assert_int_equal(world_env.open.associations, 1);
}

static void a_batch_for_several_ends(void **state)
{
    (void)state;
    uint8_t bytes[512];
    use(UPSTREAMS "rules: [{action: allow, to: [192.0.2.0/24], upstream: far}]");
    open_plain();
    from_client(&server, "x");
    grant("far");
    expect_by(4000, &server, "x");
    for (int i = 0; i < 6; i++) {
        const union netaddr *to = i % 2 ? &server : &elsewhere;
        assert_true(world_arrive(&client, &flow()->relay, bytes, wrap(bytes, to, "y")));
    }
    world_run();
    for (int i = 0; i < 6; i++)
        if (i % 2)
            expect_by(4000, &server, "y");
        else
            expect_direct(&elsewhere, "y");
}

static void ignore_answer(void *arg, enum socks5_reply code)
{
    (void)arg, (void)code;
}

static void ignore_end(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void none_leaves_directly(void **state)
{
    static const struct assoc_upstream_hooks hooks = {ignore_answer, ignore_end, NULL};
    (void)state;
    use(UPSTREAMS "outbound: {upstream: far, address_v4: 192.0.2.200}\n"
                  "udp: {filtering: address-dependent}\n"
                  "rules: [{action: allow, to: [203.0.113.0/24, .local.example], upstream: none}]");
    open_plain();
    assert_true(assoc_expect_upstream(assoc, &hooks));
    grant("far");
    from_client(&server, "by far");
    expect_by(4000, &server, "by far");
    from_client(&elsewhere, "direct");
    const union netaddr external = expect_direct(&elsewhere, "direct"), own = addr("192.0.2.200", 0);
    assert_true(netaddr_equal_host(&external, &own));
    assert_true(world_arrive(&elsewhere, &external, "back", 4));
    world_run();
    expect_down(&client, &elsewhere, "back");
    assert_true(world_arrive(&server, &external, "not asked", 9));
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    from_client_by_name("game.local.example", 99, "resolved here");
    world_answer("game.local.example", AF_INET, RESOLVER_FOUND, "192.0.2.77");
    world_answer("game.local.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    world_run();
    const union netaddr named = addr("192.0.2.77", 99);
    expect_direct(&named, "resolved here");
    from_client_by_name("game.example", 99, "there");
    uint8_t bytes[512];
    expect_at(4000, bytes, wrap_name(bytes, "game.example", 99, "there"));
    assert_int_equal(world_pending_queries(), 0);
}

static void names_leave_as_rules_about_names_say(void **state)
{
    (void)state;
    uint8_t bytes[512];
    use(UPSTREAMS "rules: [{action: allow, to: [.far.example], upstream: far}, {action: allow, to: [192.0.2.0/24], "
                  "upstream: near}]");
    open_plain();
    from_client_by_name("game.far.example", 99, "as it is");
    assert_int_equal(world_pending_queries(), 0);
    grant("far");
    expect_at(4000, bytes, wrap_name(bytes, "game.far.example", 99, "as it is"));
    from_client_by_name("game.example", 99, "by its address");
    assert_true(world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.77"));
    (void)world_answer("game.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    world_run();
    grant("near");
    const union netaddr named = addr("192.0.2.77", 99);
    const union netaddr external = expect_by(4001, &named, "by its address");
    back_by(&external, 4001, &named, "answer");
    expect_down(&client, &named, "answer");
    pass(10000); /* it has answered: no other address is looked for */
    from_client_by_name("game.example", 99, "again");
    expect_by(4001, &named, "again");
    assert_int_equal(world_pending_queries(), 0);
}

static void a_dead_upstream_costs_its_datagrams_only(void **state)
{
    (void)state;
    const union netaddr none = addr("0.0.0.0", 0);
    use(UPSTREAMS "rules: [{action: allow, to: [192.0.2.0/24], upstream: far}]");
    open_plain();
    from_client(&server, "x");
    assert_true(world_upstream_answers(SOCKS5_REPLY_GENERAL_FAILURE, -1, &none));
    from_client(&server, "y");
    assert_null(world_upstream_asked());
    assert_int_equal(flow()->dropped[DROP_NO_UPSTREAM], 2);
    from_client(&elsewhere, "direct");
    expect_direct(&elsewhere, "direct");
    pass(1000);
    from_client(&server, "z");
    grant("far");
    expect_by(4000, &server, "z");
    shutdown(control[0][1], SHUT_RDWR);
    world_run();
    from_client(&elsewhere, "direct");
    expect_direct(&elsewhere, "direct");
}

static void a_reload_changes_them(void **state)
{
    (void)state;
    use(UPSTREAMS "rules: [{action: allow, to: [192.0.2.0/24], upstream: far}]");
    open_plain();
    from_client(&server, "x");
    grant("far");
    const union netaddr far = expect_by(4000, &server, "x");
    use(UPSTREAMS "rules: [{action: allow, to: [192.0.2.0/24], upstream: near}]");
    from_client(&server, "y");
    grant("near");
    expect_by(4001, &server, "y");
    back_by(&far, 4000, &server, "late");
    expect_down(&client, &server, "late");
    use("upstreams: [{name: near, address: 198.51.100.9}]\n"
        "rules: [{action: allow, to: [203.0.113.0/24], upstream: near}]");
    assoc_sweep(assoc, world_now_ms);
    char text[64];
    assert_string_equal(assoc_exits(assoc, text, sizeof(text)), "near");
    from_client(&server, "direct");
    expect_direct(&server, "direct");
    from_client(&elsewhere, "z");
    expect_by(4001, &elsewhere, "z");
    assert_int_equal(flow()->up_datagrams, 4);
}

static void there_are_eight_ends_at_most(void **state)
{
    (void)state;
    char text[2048];
    int len = snprintf(text, sizeof(text), "upstreams:\n");
    for (int i = 0; i < 8; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "- {name: u%d, address: 198.51.100.9}\n", i);
    len += snprintf(text + len, sizeof(text) - (size_t)len, "rules:\n");
    for (int i = 0; i < 8; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "- {action: allow, to: [192.0.2.%d], upstream: u%d}\n",
                        i, i);
    use(text);
    open_plain();
    for (int i = 0; i < 8; i++) {
        char host[32];
        snprintf(host, sizeof(host), "192.0.2.%d", i);
        const union netaddr to = addr(host, 53);
        from_client(&to, "x");
        assert_int_equal(flow()->dropped[DROP_NO_UPSTREAM], i == 7);
    }
    from_client(&elsewhere, "direct");
    expect_direct(&elsewhere, "direct");
}

static void each_client_port_has_its_own(void **state)
{
    (void)state;
    use(UPSTREAMS "udp: {client_ports: 2}\nrules: [{action: allow, to: [192.0.2.0/24], upstream: far}]");
    open_plain();
    from_client(&server, "one");
    grant("far");
    const union netaddr first = expect_by(4000, &server, "one");
    from_client_at(&client2, &server, "two");
    grant("far");
    const union netaddr second = expect_by(4001, &server, "two");
    from_client_at(&client2, &elsewhere, "direct");
    expect_direct(&elsewhere, "direct");
    back_by(&second, 4001, &server, "to the second");
    expect_down(&client2, &server, "to the second");
    back_by(&first, 4000, &server, "to the first");
    expect_down(&client, &server, "to the first");
    assert_int_equal(flow()->up_datagrams, 3);
    struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
    assert_int_equal(assoc_mappings(assoc, mappings), 2);
}

/* RFC 4787 REQ-6: what the client sends keeps a mapping, even if nobody answers. */
static void what_is_sent_keeps_an_exit(void **state)
{
    (void)state;
    uint8_t bytes[512];
    use(UPSTREAMS "udp: {idle: 2m}\n"
                  "rules: [{action: allow, to: [192.0.2.0/24], upstream: far}, {action: allow, to: [.near.example], "
                  "upstream: near}]");
    open_plain();
    from_client(&server, "x");
    grant("far");
    const union netaddr far = expect_by(4000, &server, "x");
    from_client_by_name("game.near.example", 99, "x");
    grant("near");
    const size_t len = wrap_name(bytes, "game.near.example", 99, "x");
    const union netaddr near = expect_at(4001, bytes, len);
    for (int i = 0; i < 3; i++) {
        pass(100000);
        from_client(&server, "x");
        const union netaddr still_far = expect_by(4000, &server, "x");
        from_client_by_name("game.near.example", 99, "x");
        const union netaddr still_near = expect_at(4001, bytes, len);
        assert_false(assoc_sweep(assoc, world_now_ms));
        assoc_call_loans(assoc);
        assert_true(netaddr_equal(&far, &still_far));
        assert_true(netaddr_equal(&near, &still_near));
    }
    pass(110000);
    from_client(&elsewhere, "direct");
    expect_direct(&elsewhere, "direct");
    pass(10000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(assoc_descriptors(assoc), 2); /* nothing has been sent by them for two minutes */
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_exits, end_exits)
    const struct CMUnitTest tests[] = {
        TEST(each_destination_leaves_as_its_rule_says),
        TEST(a_batch_for_several_ends),
        TEST(none_leaves_directly),
        TEST(names_leave_as_rules_about_names_say),
        TEST(a_dead_upstream_costs_its_datagrams_only),
        TEST(a_reload_changes_them),
        TEST(there_are_eight_ends_at_most),
        TEST(each_client_port_has_its_own),
        TEST(what_is_sent_keeps_an_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
