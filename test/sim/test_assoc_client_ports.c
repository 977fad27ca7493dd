/* udp.client_ports: a client that sends from several ports in one association. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "association.h"

static union netaddr client2, client3, client4;

static int begin_with_three(void **state)
{
    static uint64_t later;
    begin(state);
    world_now_ms += later += 1000000; /* nothing of the tests before rests any more */
    world_config.udp.client_ports = 3;
    client2 = addr("10.0.0.2", 7002);
    client3 = addr("10.0.0.2", 7003);
    client4 = addr("10.0.0.2", 7004);
    return 0;
}

static int begin_with_one_port(void **state)
{
    begin_with_three(state);
    world_env.shared_port = 1080;
    return 0;
}

static struct assoc_mapping mapping_of(const union netaddr *from)
{
    struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
    const size_t count = assoc_mappings(assoc, mappings);
    for (size_t i = 0; i < count; i++)
        if (mappings[i].client_port == netaddr_port(from))
            return mappings[i];
    return (struct assoc_mapping){0};
}

static size_t mapping_count(void)
{
    struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
    return assoc_mappings(assoc, mappings);
}

static union netaddr external_of(const union netaddr *from, int family)
{
    const struct assoc_mapping mapping = mapping_of(from);
    union netaddr external = netaddr_any(family);
    netaddr_set_port(&external, mapping.external_port[family_index(family)]);
    return external;
}

static void expect_up_from(const union netaddr *from, const union netaddr *to, const char *text)
{
    const union netaddr external = external_of(from, to->sa.sa_family);
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, to));
    assert_int_not_equal(netaddr_port(&external), 0);
    assert_true(netaddr_equal(&out->from, &external));
    assert_int_equal(out->len, strlen(text));
    assert_memory_equal(out->bytes, text, out->len);
}

static void answer_to(const union netaddr *to, const union netaddr *from, const char *text)
{
    const union netaddr external = external_of(to, from->sa.sa_family);
    assert_true(world_arrive(from, &external, text, strlen(text)));
    world_run();
}

/* Sends a datagram to a peer, and one back. */
static void expect_mapped(const union netaddr *from, const union netaddr *peer)
{
    assert_true(from_client_at(from, peer, "ping"));
    expect_up_from(from, peer, "ping");
    answer_to(from, peer, "pong");
    expect_down(from, peer, "pong");
    expect_nothing();
}

static void each_port_has_a_mapping(void **state)
{
    (void)state;
    open_plain();
    for (int again = 0; again < 2; again++) {
        expect_mapped(&client, &server);
        expect_mapped(&client2, &server);
        expect_mapped(&client2, &server6);
        expect_mapped(&client3, &server2);
        expect_mapped(&client, &server6);
    }
    assert_int_equal(mapping_count(), 3);
    for (int slot = 0; slot < FAMILY_COUNT; slot++)
        assert_int_not_equal(mapping_of(&client).external_port[slot], mapping_of(&client2).external_port[slot]);
    answer_to(&client2, &server2, "a peer that it has not sent to");
    expect_down(&client2, &server2, "a peer that it has not sent to");
    assert_int_equal(flow()->up_datagrams, 10);
    assert_int_equal(flow()->up_bytes, 40);
    assert_int_equal(flow()->down_datagrams, 11);
    assert_int_equal(world_env.metrics.udp_up_datagrams_total, 10);
    assert_int_equal(world_env.open.associations, 1);
    const bool is_shared = world_env.shared_port != 0;
    assert_int_equal(assoc_descriptors(assoc), is_shared ? 8 : 6);
    assert_int_equal(world_open_sockets(), is_shared ? 9 : 6);
}

static void another_port_waits_for_the_quietest(void **state)
{
    (void)state;
    open_plain();
    expect_mapped(&client, &server);
    pass(5000);
    expect_mapped(&client2, &server);
    pass(5000);
    expect_mapped(&client3, &server);
    from_client_at(&client4, &server, "x");
    expect_nothing();
    const uint16_t kept = mapping_of(&client).external_port[FAMILY_V4];
    pass(4999);
    assoc_sweep(assoc, world_now_ms);
    from_client_at(&client4, &server, "x");
    expect_nothing();
    assert_int_equal(world_env.metrics.udp_dropped_total[DROP_OTHER_PORT], 2);
    pass(1);
    assoc_sweep(assoc, world_now_ms);
    expect_mapped(&client4, &server);
    assert_int_equal(mapping_of(&client4).external_port[FAMILY_V4], kept);
    assert_int_equal(mapping_of(&client).client_port, 0);
    expect_mapped(&client2, &server);
    expect_mapped(&client3, &server);
    pass(15000);
    expect_mapped(&client3, &server);
    expect_mapped(&client4, &server);
    assoc_sweep(assoc, world_now_ms);
    expect_mapped(&client, &server); /* in place of client2: a branch moves as well */
    assert_int_equal(mapping_of(&client2).client_port, 0);
    assert_int_equal(mapping_count(), 3);
}

/* Others behind the client's own address may have come first. */
static void row_3_the_hinted_port_wins(void **state)
{
    (void)state;
    open_with_hint("10.0.0.2", 7004);
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server);
    expect_mapped(&client3, &server);
    expect_mapped(&client4, &server);
    expect_mapped(&client2, &server);
    expect_mapped(&client3, &server);
    from_client_at(&client, &server, "x");
    expect_nothing();
    assert_int_equal(mapping_count(), 3);
    expect_mapped(&client4, &server);
}

static void only_the_client_begins_a_mapping(void **state)
{
    (void)state;
    open_plain();
    expect_mapped(&client, &server);
    (void)from_client_at(&stranger, &server, "x");
    (void)world_arrive(&client2, &flow()->relay, "no header", 9);
    expect_nothing();
    assert_int_equal(mapping_count(), 1);
    assert_int_equal(world_env.metrics.udp_dropped_total[DROP_STRANGER], 1);
    assert_int_equal(world_env.metrics.udp_dropped_total[DROP_BAD_HEADER], 1);
}

static void all_in_one_batch(void **state)
{
    (void)state;
    open_plain();
    const union netaddr *const order[] = {&client, &client2, &client, &client3, &client2, &client4, &client};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        uint8_t bytes[512];
        const char text[] = {(char)('a' + i), '\0'};
        assert_true(world_arrive(order[i], &flow()->relay, bytes, wrap(bytes, &server, text)));
    }
    world_run();
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const char text[] = {(char)('a' + i), '\0'};
        if (order[i] != &client4)
            expect_up_from(order[i], &server, text);
    }
    expect_nothing();
    assert_int_equal(world_env.metrics.udp_dropped_total[DROP_OTHER_PORT], 1);
}

static void each_mapping_filters_for_itself(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    open_plain();
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server2);
    answer_to(&client2, &server, "it has sent nothing there");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    expect_mapped(&client2, &server);
    assert_int_equal(assoc_filtering(assoc), CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
}

static void names_leave_by_their_mapping(void **state)
{
    (void)state;
    uint8_t bytes[512];
    open_plain();
    expect_mapped(&client, &server);
    for (int i = 0; i < 2; i++) {
        const union netaddr *from = i ? &client2 : &client;
        assert_true(world_arrive(from, &flow()->relay, bytes, wrap_name(bytes, "game.example", 99, i ? "two" : "one")));
        world_run();
        world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.77");
        world_answer("game.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
        world_run();
        const union netaddr there = addr("192.0.2.77", 99);
        expect_up_from(from, &there, i ? "two" : "one");
    }
    expect_nothing();
}

static void silent_mappings_end_at_the_idle_limit(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 120000;
    open_plain();
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server);
    pass(119999);
    expect_mapped(&client2, &server);
    assert_false(assoc_sweep(assoc, world_now_ms));
    pass(1);
    assert_false(assoc_sweep(assoc, world_now_ms)); /* the second port keeps the first one's */
    assert_int_equal(mapping_count(), 2);
    expect_mapped(&client, &server);
    pass(119999);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(mapping_count(), 1);
    assert_int_equal(flow()->up_datagrams, 4);
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

static bool review(void)
{
    return assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL});
}

static void a_reload_changes_how_many(void **state)
{
    (void)state;
    world_config.udp.client_ports = 1;
    open_plain();
    expect_mapped(&client, &server);
    (void)from_client_at(&client2, &server, "x");
    expect_nothing();
    world_config.udp.client_ports = 2;
    world_env.generation++;
    assert_true(review());
    expect_mapped(&client2, &server);
    expect_mapped(&client, &server);
    (void)from_client_at(&client3, &server, "x");
    expect_nothing();
    world_config.udp.client_ports = 1;
    world_env.generation++;
    assert_true(review());
    expect_mapped(&client2, &server); /* it has it already */
    (void)from_client_at(&client3, &server, "x");
    expect_nothing();
    expect_mapped(&client, &server);
}

static bool may_not_go_on(void *arg)
{
    (void)arg;
    return false;
}

static void a_branch_relays_nothing_that_its_association_may_not(void **state)
{
    (void)state;
    open_plain();
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server);
    assoc_set_review(assoc, may_not_go_on, NULL);
    world_env.generation++;
    from_client_at(&client2, &server, "x");
    answer_to(&client2, &server, "y");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 2);
}

static void one_rate_for_all_ports(void **state)
{
    (void)state;
    world_config.limits.datagrams_per_association = 4;
    open_plain();
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server);
    expect_mapped(&client3, &server);
    for (int i = 0; i < 100; i++)
        from_client_at(i % 2 ? &client2 : &client, &server, "x");
    assert_true(flow()->dropped[DROP_RATE] > 0);
}

static void without_memory_there_are_no_more(void **state)
{
    (void)state;
    open_plain();
    expect_mapped(&client, &server);
    world_env.loans.withheld = LOANS_MAX;
    from_client_at(&client2, &server, "x");
    expect_nothing();
    assert_int_equal(world_env.metrics.udp_dropped_total[DROP_OTHER_PORT], 1);
    world_env.loans.withheld = 0;
    expect_mapped(&client2, &server);
    assert_true(world_env.loans.lent > 500);
    const size_t two = assoc_memory(assoc);
    pass(119999);
    assoc_call_loans(assoc);
    assert_int_equal(mapping_count(), 2);
    pass(1);
    assoc_call_loans(assoc);
    assert_int_equal(mapping_count(), 1);
    assert_int_equal(world_env.loans.lent, 0);
    assert_true(assoc_memory(assoc) < two);
    pass(250); /* with one port, its client's port rests */
    expect_mapped(&client2, &server);
}

static void each_keeps_its_port(void **state)
{
    (void)state;
    world_config.udp.keep_port = true;
    world_env.external_ports.random = true;
    open_plain();
    expect_mapped(&client, &server);
    expect_mapped(&client2, &server);
    expect_mapped(&client2, &server6);
    assert_int_equal(mapping_of(&client).external_port[FAMILY_V4], 7000);
    assert_int_equal(mapping_of(&client2).external_port[FAMILY_V4], 7002);
    assert_int_equal(mapping_of(&client2).external_port[FAMILY_V6], 7002);
}

static void a_mapping_without_a_socket_costs_only_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    expect_mapped(&client, &server);
    world_open_fails_family = AF_INET;
    world_open_error = EADDRINUSE;
    from_client_at(&client2, &server, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 1);
    world_open_fails_family = AF_UNSPEC;
    pass(1000);
    expect_mapped(&client2, &server);
    expect_mapped(&client, &server);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_three, end)
#define ONE_PORT(name)                                                                                                 \
    {                                                                                                                  \
        "one port: " #name, name, begin_with_one_port, end, NULL                                                       \
    }
#define BOTH(name) TEST(name), ONE_PORT(name)
    const struct CMUnitTest tests[] = {
        BOTH(each_port_has_a_mapping),
        BOTH(another_port_waits_for_the_quietest),
        BOTH(row_3_the_hinted_port_wins),
        BOTH(only_the_client_begins_a_mapping),
        TEST(all_in_one_batch),
        BOTH(each_mapping_filters_for_itself),
        BOTH(names_leave_by_their_mapping),
        BOTH(silent_mappings_end_at_the_idle_limit),
        BOTH(a_reload_changes_how_many),
        TEST(a_branch_relays_nothing_that_its_association_may_not),
        BOTH(one_rate_for_all_ports),
        BOTH(without_memory_there_are_no_more),
        BOTH(each_keeps_its_port),
        BOTH(a_mapping_without_a_socket_costs_only_its_datagrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
