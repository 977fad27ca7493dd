/* What becomes of single datagrams, and of names, in an association. */
#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"
#include "proxy/assoc/sketch.h"

/* ---- bad datagrams ---- */

static void rows_13_and_14_bad_then_good(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "");
    for (size_t cut = 0; cut < len; cut++) {
        world_arrive(&client, &flow()->relay, bytes, cut);
        world_run();
    }
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], len);
    for (unsigned fragment = 1; fragment <= 255; fragment++) {
        bytes[2] = (uint8_t)fragment;
        world_arrive(&client, &flow()->relay, bytes, len);
        world_run();
    }
    assert_int_equal(flow()->dropped[DROP_FRAGMENT], 255);
    expect_nothing();
    expect_alive();
    from_client(&server, ""); /* an empty payload is a datagram like any other */
    expect_up(&server, "");
    from_internet(&server, "");
    expect_down(&client, &server, "");
}

static void row_28_port_0_and_refused_destinations(void **state)
{
    (void)state;
    open_plain();
    union netaddr port_0 = addr("192.0.2.10", 0), multicast = addr("224.0.0.1", 53),
                  everybody = addr("255.255.255.255", 53);
    from_client(&port_0, "x");
    from_client(&multicast, "x");
    from_client(&everybody, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 1);
    assert_int_equal(flow()->dropped[DROP_REFUSED], 2);
    expect_alive();
}

/* Those that datagrams went to: however often, by address or by name, and none that was refused. */
static void distinct_destinations_are_counted(void **state)
{
    (void)state;
    open_plain();
    union netaddr multicast = addr("224.0.0.1", 53), other_port = addr("192.0.2.10", 54);
    assert_int_equal(sketch_estimate(flow()->destinations), 0);
    from_client(&multicast, "x");
    assert_int_equal(sketch_estimate(flow()->destinations), 0);
    for (int again = 0; again < 3; again++) {
        from_client(&server, "x");
        expect_up(&server, "x");
    }
    from_internet(&stranger, "x");
    assert_int_equal(sketch_estimate(flow()->destinations), 1);
    from_client(&other_port, "x");
    from_client(&server6, "x");
    assert_int_equal(sketch_estimate(flow()->destinations), 3);
    from_client_by_name("game.example", 99, "x");
    assert_int_equal(sketch_estimate(flow()->destinations), 3);
    world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.77");
    world_answer("game.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    assert_int_equal(sketch_estimate(flow()->destinations), 4);
}

static void what_is_refused_later_is_refused(void **state)
{
    (void)state;
    open_plain();
    union netaddr private = addr("10.0.0.9", 53);
    from_client(&private, "x");
    expect_up(&private, "x");
    world_config.active_reach = CONFIG_REACH_PUBLIC; /* Row 26: judged per datagram */
    from_client(&private, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
}

/* What a reload does to the env. */
static struct config *use_rules(const char *text)
{
    char *errors, *warnings;
    struct config *config = config_parse("", text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    config->active_reach = CONFIG_REACH_ALL;
    world_env.config = world_env.policy.config = config;
    world_env.rules = rules_compile(config->rules, config->rule_count);
    world_env.generation++;
    return config;
}

static void free_rules(struct config *config, const struct rules *rules)
{
    rules_free((struct rules *)(uintptr_t)rules);
    config_free(config);
}

static bool review(void *arg)
{
    (void)arg;
    return assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL});
}

/* Row 27. */
static void other_rules_hold_from_the_next_datagram_on(void **state)
{
    (void)state;
    open_plain();
    assoc_set_review(assoc, review, NULL);
    union netaddr external = flow()->external[FAMILY_V4];
    from_client(&server, "x");
    expect_up(&server, "x");
    struct config *others = use_rules("rules: [{action: deny, to: [192.0.2.10], user: [alice]}]");
    const struct rules *others_rules = world_env.rules;
    from_client(&server, "x"); /* of this one the rule says nothing */
    expect_up(&server, "x");
    struct config *denying = use_rules("rules: [{action: deny, to: [192.0.2.10], from: [10.0.0.0/8]}]");
    const struct rules *denying_rules = world_env.rules;
    from_client(&server, "x"); /* it is reviewed first */
    expect_nothing();
    free_rules(others, others_rules); /* nothing of the old ones is looked at any more */
    from_client(&server2, "y");
    expect_up(&server2, "y");
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
    assert_true(netaddr_equal(&external, &flow()->external[FAMILY_V4]));
    struct config *closed = use_rules("rules: [{action: deny}]");
    const struct rules *closed_rules = world_env.rules;
    assert_false(review(NULL));
    free_rules(denying, denying_rules);
    world_env.config = world_env.policy.config = &world_config;
    world_env.rules = NULL;
    assert_true(review(NULL));
    free_rules(closed, closed_rules);
    expect_alive();
}

static bool may_not_go_on(void *arg)
{
    ++*(int *)arg;
    return false;
}

/* Row 27. Its owner has no time yet to end it. */
static void one_that_may_not_go_on_relays_nothing(void **state)
{
    (void)state;
    int asked = 0;
    open_plain();
    expect_alive();
    assoc_set_review(assoc, may_not_go_on, &asked);
    expect_alive();
    assert_int_equal(asked, 0);
    world_env.generation++;
    from_client(&server, "x");
    expect_nothing();
    world_arrive(&server, &flow()->external[FAMILY_V4], "y", 1);
    expect_nothing();
    assert_int_equal(asked, 2);
    assert_int_equal(flow()->dropped[DROP_REFUSED], 2);
    assert_true(assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL}));
    expect_alive();
}

static void too_large_with_its_header(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    static uint8_t huge[DGRAM_PAYLOAD_MAX];
    world_arrive(&server, &flow()->external[FAMILY_V4], huge, sizeof(huge));
    world_run();
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OVERSIZE], 1);
    world_arrive(&server, &flow()->external[FAMILY_V4], huge, sizeof(huge) - SOCKS5_UDP_HEADER_V4);
    world_run();
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_int_equal(out->len, DGRAM_PAYLOAD_MAX);
    expect_alive();
}

static void a_full_send_buffer_loses_and_counts(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "x");
    expect_up(&server, "x");
    world_send_loss = DGRAM_LOST_FULL;
    from_client(&server, "x");
    from_internet(&server, "y");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_SEND_FULL], 2);
    world_send_loss = DGRAM_LOST_UNREACHABLE;
    from_client(&server, "x");
    assert_int_equal(flow()->dropped[DROP_UNREACHABLE], 1);
    assert_int_equal(flow()->up_datagrams, 1);
    world_send_loss = -1;
    expect_alive();
}

static void a_joined_run_is_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    /* Two equal segments and a shorter last one, to two destinations. */
    uint8_t bytes[512];
    size_t seg = wrap(bytes, &server, "12345");
    size_t len = seg + wrap(bytes + seg, &server2, "67890");
    len += wrap(bytes + len, &server, "ab");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, len, seg));
    world_run();
    expect_up(&server, "12345");
    expect_up(&server2, "67890");
    expect_up(&server, "ab");
    assert_true(world_arrive_run(&server, &flow()->external[FAMILY_V4], "aaabbbc", 7, 3));
    world_run();
    expect_down(&client, &server, "aaa");
    expect_down(&client, &server, "bbb");
    expect_down(&client, &server, "c");
    expect_nothing();
}

/* Row 14 within a run: the bad ones are cut out, the good ones go. */
static void a_joined_run_with_bad_ones_in_it(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    uint8_t bytes[512];
    size_t seg = wrap(bytes, &server, "1");
    for (int i = 1; i < 5; i++)
        wrap(bytes + (size_t)i * seg, &server, "1");
    bytes[seg + 2] = 1;       /* the second is a fragment, */
    bytes[2 * seg + 3] = 9;   /* the third has no address type, */
    size_t len = 4 * seg + 5; /* and the last is cut within its header */
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, len, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "1");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FRAGMENT], 1);
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], 2);
    /* A last one that is only a header is an empty datagram. */
    assert_true(world_arrive_run(&client, &flow()->relay, bytes + 3 * seg, seg + SOCKS5_UDP_HEADER_V4, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "");
    expect_nothing();
}

static void a_joined_run_by_name(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t seg = wrap_name(bytes, "game.example", 53, "1");
    wrap_name(bytes + seg, "game.example", 53, "2");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, 2 * seg, seg));
    world_run();
    world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    world_answer("game.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&server, "1");
    expect_up(&server, "2");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, 2 * seg, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "2");
}

static void more_than_a_batch_is_all_relayed(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "x");
    for (int i = 0; i < 60; i++)
        assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    world_run();
    for (int i = 0; i < 60; i++)
        expect_up(&server, "x");
    expect_nothing();
}

/* ---- names ---- */

static void a_name_is_resolved_once_and_kept(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("Game.Example", 53, "one");
    from_client_by_name("game.example.", 54, "two");
    expect_nothing();
    assert_int_equal(world_pending_queries(), 2); /* one for each family */
    assert_true(world_answer("game.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10"));
    assert_null(world_next_sent());
    assert_true(world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
    expect_up(&server, "one"); /* the client's own family */
    union netaddr second = addr("192.0.2.10", 54);
    expect_up(&second, "two");
    from_internet(&second, "answer");
    expect_down(&client, &second, "answer");
    for (int i = 0; i < 10; i++) {
        pass(200 * 1000);
        from_client_by_name("game.example", 53, "more");
        expect_up(&server, "more");
    }
    assert_int_equal(world_pending_queries(), 0);
    pass(301 * 1000);
    from_client_by_name("game.example", 53, "after a long pause");
    assert_int_equal(world_pending_queries(), 2);
}

static void the_family_with_a_route_is_taken(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("six.example", 53, "x");
    world_answer("six.example", AF_INET, RESOLVER_NOT_FOUND, NULL);
    world_answer("six.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10");
    expect_up(&server6, "x");
    world_config.outbound.prefer = CONFIG_PREFER_IPV4_ONLY;
    from_client_by_name("four.example", 53, "x");
    assert_int_equal(world_pending_queries(), 1);
    world_answer("four.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    expect_up(&server, "x");
}

static void row_38_a_failed_name_costs_only_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("gone.example", 53, "x");
    expect_alive(); /* others do not wait for it */
    for (int i = 0; i < 20; i++)
        from_client_by_name("gone.example", 53, "x");
    assert_int_equal(flow()->dropped[DROP_QUEUE_FULL], 5); /* 16 wait */
    world_answer("gone.example", AF_INET, RESOLVER_TIMED_OUT, NULL);
    world_answer("gone.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    assert_int_equal(flow()->dropped[DROP_UNRESOLVED], 16);
    from_client_by_name("gone.example", 53, "x");
    assert_int_equal(flow()->dropped[DROP_UNRESOLVED], 17);
    assert_int_equal(world_pending_queries(), 0);
    pass(2000);
    from_client_by_name("gone.example", 53, "better now");
    world_answer("gone.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    world_answer("gone.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&server, "better now");
    expect_alive();
}

static void row_36_lookups_are_bounded(void **state)
{
    (void)state;
    open_plain();
    char name[] = "nXX.example";
    for (int i = 0; i < 100; i++) {
        name[1] = (char)('a' + i / 10);
        name[2] = (char)('a' + i % 10);
        from_client_by_name(name, 53, "x");
    }
    assert_int_equal(world_pending_queries(), 16 * 2);
    assert_int_equal(flow()->dropped[DROP_QUEUE_FULL], 84);
    expect_alive();
}

static void remembered_names_are_bounded(void **state)
{
    (void)state;
    open_plain();
    char name[] = "nXX.example";
    for (int i = 0; i < 100; i++) {
        name[1] = (char)('a' + i / 10);
        name[2] = (char)('a' + i % 10);
        pass(1);
        from_client_by_name(name, 53, "x");
        world_answer(name, AF_INET, RESOLVER_FOUND, "192.0.2.10");
        world_answer(name, AF_INET6, RESOLVER_NOT_FOUND, NULL);
        expect_up(&server, "x");
    }
    from_client_by_name("naa.example", 53, "x"); /* the longest unused was forgotten */
    assert_int_equal(world_pending_queries(), 2);
    from_client_by_name("njj.example", 53, "x");
    expect_up(&server, "x");
}

static void a_literal_as_a_name_is_an_address(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("192.0.2.10", 53, "x");
    expect_up(&server, "x");
    from_client_by_name("2001:db8::10", 53, "x");
    expect_up(&server6, "x");
    from_client_by_name("[2001:db8::10]", 53, "x");
    expect_up(&server6, "x");
    assert_int_equal(world_pending_queries(), 0);
    from_client_by_name("bad name", 53, "x");
    from_client_by_name("[192.0.2.10]", 53, "x");
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 2);
}

static void it_ends_while_a_name_is_being_resolved(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("slow.example", 53, "x");
    assoc_free(assoc);
    assoc = NULL;
    assert_false(world_answer("slow.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
}

static void row_25_a_name_is_judged_by_its_address(void **state)
{
    (void)state;
    world_config.active_reach = CONFIG_REACH_PUBLIC;
    open_plain();
    from_client_by_name("inside.example", 53, "x");
    world_answer("inside.example", AF_INET, RESOLVER_FOUND, "10.0.0.9");
    world_answer("inside.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
}

static void row_68_of_a_names_addresses_an_allowed_one_is_used(void **state)
{
    (void)state;
    const union netaddr allowed = addr("8.8.8.8", 53);
    world_config.active_reach = CONFIG_REACH_PUBLIC;
    open_plain();
    from_client_by_name("mixed.example", 53, "x");
    world_answer("mixed.example", AF_INET, RESOLVER_FOUND, "10.0.0.9 8.8.8.8");
    world_answer("mixed.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&allowed, "x");
    assert_int_equal(flow()->dropped[DROP_REFUSED], 0);
    assert_int_equal(world_env.metrics.refused_by_reach_total, 0);
}

static void row_68_a_family_without_a_socket_is_passed_over(void **state)
{
    (void)state;
    open_plain();
    world_open_fails_family = AF_INET6;
    world_open_error = EAFNOSUPPORT;
    from_client_by_name("two.example", 53, "x");
    world_answer("two.example", AF_INET, RESOLVER_NOT_FOUND, NULL);
    world_answer("two.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10 ::ffff:192.0.2.10");
    expect_up(&server, "x");
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 0);
}

static void row_68_a_silent_address_gives_way_to_one_that_answers(void **state)
{
    (void)state;
    const uint64_t long_enough_ms = 10 * 1000;
    const union netaddr dead = addr("192.0.2.66", 53);
    open_plain();
    from_client_by_name("two.example", 53, "x");
    world_answer("two.example", AF_INET, RESOLVER_FOUND, "192.0.2.66 192.0.2.10");
    world_answer("two.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&dead, "x");
    from_internet(&server2, "another's"); /* proves nothing */
    expect_down(&client, &server2, "another's");
    for (int i = 0; i < 5; i++) {
        pass(long_enough_ms);
        from_client_by_name("two.example", 53, "again");
        expect_up(i == 0 ? &dead : &server, "again");
        world_answer("two.example", AF_INET, RESOLVER_FOUND, "192.0.2.66 192.0.2.10");
        world_answer("two.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
        from_client_by_name("two.example", 53, "x");
        expect_up(&server, "x");
        from_internet(&server, "answer");
        expect_down(&client, &server, "answer");
    }
}

/* ECN goes along both ways, for runs, for single datagrams, and where a name is known. */
static void the_tos_byte_goes_along(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    world_tos = 3;
    from_client(&server, "up");
    const struct sent *sent = world_next_sent();
    assert_non_null(sent);
    assert_int_equal(sent->tos, 3);
    from_client_by_name("192.0.2.10", 9, "up");
    sent = world_next_sent();
    assert_non_null(sent);
    assert_int_equal(sent->tos, 3);
    world_tos = 1;
    from_internet(&server, "down");
    sent = world_next_sent();
    assert_non_null(sent);
    assert_int_equal(sent->tos, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(rows_13_and_14_bad_then_good),
        TEST(row_28_port_0_and_refused_destinations),
        TEST(distinct_destinations_are_counted),
        TEST(what_is_refused_later_is_refused),
        TEST(other_rules_hold_from_the_next_datagram_on),
        TEST(one_that_may_not_go_on_relays_nothing),
        TEST(too_large_with_its_header),
        TEST(a_full_send_buffer_loses_and_counts),
        TEST(a_joined_run_is_its_datagrams),
        TEST(a_joined_run_with_bad_ones_in_it),
        TEST(a_joined_run_by_name),
        TEST(more_than_a_batch_is_all_relayed),
        TEST(a_name_is_resolved_once_and_kept),
        TEST(the_family_with_a_route_is_taken),
        TEST(row_38_a_failed_name_costs_only_its_datagrams),
        TEST(row_36_lookups_are_bounded),
        TEST(remembered_names_are_bounded),
        TEST(a_literal_as_a_name_is_an_address),
        TEST(it_ends_while_a_name_is_being_resolved),
        TEST(row_25_a_name_is_judged_by_its_address),
        TEST(row_68_of_a_names_addresses_an_allowed_one_is_used),
        TEST(row_68_a_family_without_a_socket_is_passed_over),
        TEST(row_68_a_silent_address_gives_way_to_one_that_answers),
        TEST(the_tos_byte_goes_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
