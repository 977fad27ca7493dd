/* Rates of an association: runs are cut where they end, users share theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"
#include "policy/snapshot.h"

static const uint8_t no_hint[4];

/* `count` of the client's datagrams to the server, as one run. */
static void run_from_client(const union netaddr *to, size_t count)
{
    uint8_t bytes[2048];
    size_t seg = wrap(bytes, to, "up");
    assert_true(count * seg <= sizeof(bytes));
    for (size_t i = 1; i < count; i++)
        wrap(bytes + i * seg, to, "up");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, count * seg, seg));
    world_run();
}

static void run_from_internet(size_t count)
{
    static const uint8_t bytes[1024];
    assert_true(world_arrive_run(&server, &flow()->external[FAMILY_V4], bytes, count * 3, 3));
    world_run();
}

static size_t count_sent(void)
{
    size_t count = 0;
    while (world_next_sent())
        count++;
    return count;
}

/* Whole runs are cut where the rate ends; the ways do not share. */
static void beyond_the_rate_of_datagrams(void **state)
{
    (void)state;
    world_config.limits.datagrams_per_association = 10; /* and 64 at once */
    open_plain();
    run_from_client(&server, 50);
    assert_int_equal(count_sent(), 50);
    run_from_client(&server2, 50);
    assert_int_equal(count_sent(), 14);
    assert_int_equal(flow()->dropped[DROP_RATE], 36);
    run_from_internet(60);
    run_from_internet(60);
    assert_int_equal(count_sent(), 64);
    assert_int_equal(flow()->dropped[DROP_RATE], 36 + 56);
    assert_int_equal(flow()->up_datagrams, 64);
    assert_int_equal(flow()->down_datagrams, 64);
    from_client(&server, "");
    expect_nothing(); /* an empty one is one */
    pass(200);
    assert_true(world_arrive_run(&server, &flow()->external[FAMILY_V4], "aaabbbc", 7, 3));
    world_run();
    expect_down(&client, &server, "aaa");
    expect_down(&client, &server, "bbb");
    expect_nothing();
    pass(100);
    from_client(&server, "1");
    from_client(&server, "2");
    from_client(&server, "3");
    assert_int_equal(count_sent(), 3);
    pass(99);
    from_client(&server, "early");
    expect_nothing();
    pass(1);
    expect_alive();
}

static void beyond_the_rate_of_bytes(void **state)
{
    (void)state;
    static uint8_t bytes[10 + 2000];
    world_config.limits.bandwidth_per_session = 10000; /* and 65536 at once */
    open_plain();
    size_t header = wrap(bytes, &server, "");
    for (int i = 0; i < 40; i++)
        assert_true(world_arrive(&client, &flow()->relay, bytes, header + 2000));
    world_run();
    assert_int_equal(count_sent(), 32); /* 1536 are left */
    assert_int_equal(flow()->dropped[DROP_RATE], 8);
    expect_alive();
    from_client(&server, ""); /* which holds no bytes */
    expect_up(&server, "");
}

static void beyond_the_rate_nothing_is_resolved(void **state)
{
    (void)state;
    world_config.limits.datagrams_per_association = 10;
    open_plain();
    run_from_client(&server, 64);
    from_client_by_name("host.example", 53, "x");
    assert_int_equal(world_pending_queries(), 0);
    assert_int_equal(flow()->dropped[DROP_RATE], 1);
}

/* What the filter keeps out costs the client nothing of its rate. */
static void strangers_do_not_use_the_rate(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    world_config.limits.datagrams_per_association = 10;
    open_plain();
    from_client(&server2, "x");
    assert_int_equal(count_sent(), 1);
    run_from_internet(60);
    run_from_internet(60);
    assert_int_equal(flow()->dropped[DROP_FILTERED], 120);
    expect_alive();
}

static void associations_of_a_user_share_a_rate(void **state)
{
    (void)state;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = no_hint};
    struct snapshot without_entries = {0};
    struct assoc *one;
    world_env.snapshot = &without_entries;
    world_config.limits.datagrams_per_user = 10;
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, "alice"},
                               &control_local, &hint),
                     0);
    assoc_start(assoc);
    run_from_client(&server, 50);
    one = assoc;
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, "alice"},
                               &control_local, &hint),
                     0);
    assoc_start(assoc);
    run_from_client(&server, 50);
    assert_int_equal(count_sent(), 64);
    assert_int_equal(flow()->dropped[DROP_RATE], 36);
    assoc_free(one);
    one = assoc;
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, "bob"},
                               &control_local, &hint),
                     0);
    assoc_start(assoc);
    run_from_client(&server, 50);
    assert_int_equal(count_sent(), 50);
    assoc_free(one);
}

static void a_rule_sets_the_rate(void **state)
{
    (void)state;
    struct config_target any = {.kind = CONFIG_TARGET_ANY};
    struct config_rule rules[] = {{.action = CONFIG_ACTION_ALLOW, .to = &any, .to_count = 1, .terms.datagrams = 1}};
    world_config.limits.datagrams_per_association = CONFIG_UNLIMITED;
    world_config.rules = rules;
    world_config.rule_count = 1;
    struct rules *compiled = rules_compile(rules, 1);
    world_env.rules = compiled;
    open_plain();
    run_from_client(&server, 50);
    run_from_client(&server, 50);
    assert_int_equal(count_sent(), 64);
    assoc_free(assoc);
    assoc = NULL;
    rules_free(compiled);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(beyond_the_rate_of_datagrams),        TEST(beyond_the_rate_of_bytes),
        TEST(beyond_the_rate_nothing_is_resolved), TEST(strangers_do_not_use_the_rate),
        TEST(associations_of_a_user_share_a_rate), TEST(a_rule_sets_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
