/* How an association accounts for what the kernel path relays, and what ends its slot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "kernel_association.h"
#include "net/dgram_io.h"
#include "policy/snapshot.h"

/* ---- accounting ---- */

static void what_the_kernel_relays_counts(void **state)
{
    (void)state;
    const struct metrics *metrics = &world_env.metrics;
    open_plain();
    establish();
    pass(5000);
    kernel_world_relays(KERNEL_UP, 10, 1000, world_now_ms - 2000);
    kernel_world_relays(KERNEL_DOWN, 20, 4000, world_now_ms - 1000);
    assert_int_equal(flow()->up_datagrams, 13);
    assert_int_equal(flow()->up_bytes, 1015);
    assert_int_equal(flow()->down_datagrams, 20);
    assert_int_equal(flow()->down_bytes, 4000);
    assert_int_equal(flow()->last_up_ms, world_now_ms - 2000);
    assert_int_equal(flow()->last_down_ms, world_now_ms - 1000);
    assert_int_equal(assoc_kernel_use(assoc).up_datagrams, 10);
    assert_int_equal(assoc_kernel_use(assoc).down_datagrams, 20);
    assert_int_equal(metrics->udp_up_datagrams_total, 13);
    assert_int_equal(metrics->udp_up_bytes_total, 1015);
    assert_int_equal(metrics->udp_down_datagrams_total, 20);
    assert_int_equal(metrics->udp_down_bytes_total, 4000);
    assert_int_equal(metrics->udp_kernel_up_datagrams_total, 10);
    assert_int_equal(metrics->udp_kernel_up_bytes_total, 1000);
    assert_int_equal(metrics->udp_kernel_down_datagrams_total, 20);
    assert_int_equal(metrics->udp_kernel_down_bytes_total, 4000);
}

static void the_last_datagrams_of_an_association_count(void **state)
{
    (void)state;
    open_plain();
    establish();
    kernel_world_relays(KERNEL_DOWN, 2, 20, world_now_ms + 3000);
    pass(3000);
    assoc_leave_kernel(assoc);
    assert_int_equal(flow()->down_datagrams, 2);
    assert_int_equal(assoc_kernel_use(assoc).down_datagrams, 2);
    pass(1000);
    establish();
    pass(300);
    kernel_world_relays(KERNEL_UP, 5, 50, world_now_ms);
    const uint64_t last_ms = world_now_ms;
    pass(500);
    assoc_free(assoc);
    assoc = NULL;
    assert_int_equal(world_env.metrics.udp_kernel_up_datagrams_total, 5);
    assert_int_equal(world_quiet_from_ms[FAMILY_V4], last_ms); /* its port rests from then on */
}

static void kernel_traffic_keeps_an_association_alive(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 120000;
    open_plain();
    establish();
    for (int i = 0; i < 5; i++) {
        pass(100000);
        assert_int_equal(assoc_idle_ms(assoc, world_now_ms), 100000);
        kernel_world_relays(KERNEL_DOWN, 1, 10, world_now_ms);
        if (i % 2) /* with shedding, nobody waits for a sweep */
            assert_int_equal(assoc_idle_ms(assoc, world_now_ms), 0);
        assert_false(assoc_sweep(assoc, world_now_ms));
        assert_int_equal(assoc_idle_ms(assoc, world_now_ms), 0);
    }
    pass(119999);
    assert_false(assoc_sweep(assoc, world_now_ms));
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

/* A sweep takes a while: the program relays something after the sweep has read the clock. */
static void a_datagram_after_the_event_began_is_not_idleness(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 120000;
    open_plain();
    establish();
    const uint64_t swept_ms = world_now_ms;
    kernel_world_relays(KERNEL_UP, 1, 10, swept_ms + 7);
    kernel_world_relays(KERNEL_DOWN, 1, 10, swept_ms + 7);
    assert_false(assoc_sweep(assoc, swept_ms));
    assert_int_equal(assoc_idle_ms(assoc, swept_ms), 0);
    pass(7);
    kernel_world_relays(KERNEL_UP, 1, 10, world_now_ms);
    assert_int_equal(flow()->last_up_ms, swept_ms + 7); /* for a list that has begun earlier */
    assert_int_equal(assoc_idle_ms(assoc, swept_ms), 0);
}

/* ---- the client's port ---- */

static void another_port_waits_while_the_kernel_hears_the_client(void **state)
{
    (void)state;
    uint8_t bytes[64];
    union netaddr rebound = addr("10.0.0.2", 7001);
    open_plain();
    establish();
    pass(16000);
    assert_false(assoc_sweep(assoc, world_now_ms)); /* silent: other ports are heard from now on */
    const size_t len = wrap(bytes, &server, "too early");
    assert_true(world_arrive(&rebound, &flow()->relay, bytes, len));
    kernel_world_relays(KERNEL_UP, 1, 10, world_now_ms);
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OTHER_PORT], 1);
    assert_string_equal(kernel_world_calls(), "up:0@3"); /* the program does not count it either */
    assert_false(assoc_sweep(assoc, world_now_ms));      /* the client is back: others are not heard any more */
    assert_false(from_client_at(&rebound, &server, "unheard"));
}

static void a_client_that_was_silent_may_come_from_another_port(void **state)
{
    (void)state;
    union netaddr rebound = addr("10.0.0.2", 7001);
    open_plain();
    establish();
    pass(15000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_true(from_client_at(&rebound, &server, "rebound"));
    expect_up(&server, "rebound");
    assert_string_equal(kernel_world_calls(), "move:7001 sent:192.0.2.10:53@4 up:1@4");
    assert_true(netaddr_equal(&flow()->client, &rebound));
}

static void a_port_that_is_not_settled_ends_the_slot(void **state)
{
    (void)state;
    union netaddr neighbour = addr("10.0.0.2", 7001);
    open_with_hint("10.0.0.2", 7000);
    establish();
    pass(15000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_true(from_client_at(&neighbour, &server, "for now"));
    assert_string_equal(kernel_world_calls(), "free@2");
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_CLIENT);
}

/* ---- rules, sizes ---- */

static void new_rules_revoke_the_flows(void **state)
{
    (void)state;
    struct snapshot snapshot = {.config = &world_config, .holders = 1};
    open_plain();
    establish();
    (void)env_use(&world_env, &snapshot);
    assert_int_equal(kernel_world_revoked, 1);
    assert_true(assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL}));
    assert_string_equal(kernel_world_calls(), "");
    world_env.snapshot = NULL;
}

static void a_slot_ends_where_new_rules_ask_for_another(void **state)
{
    (void)state;
    world_config.outbound.dscp = CONFIG_DSCP_SAID | 46;
    open_plain();
    establish();
    world_config.udp.carry = CONFIG_CARRY_ECN_AND_DSCP;
    assert_true(assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL}));
    assert_string_equal(kernel_world_calls(), "free@2");
    pass(1000);
    establish();
    assert_int_equal(kernel_world_setup.tos_up.keep, DGRAM_TOS);
    assert_int_equal(kernel_world_setup.tos_up.set, 0);
    world_config.udp.df = CONFIG_DF_PROBE;
    assert_true(assoc_review(assoc, &(struct proxy_client){control_peer, control_local, 0, NULL}));
    assert_string_equal(kernel_world_calls(), "free@2");
}

static void a_path_that_became_narrower_ends_the_slot(void **state)
{
    (void)state;
    control_peer = addr("2001:db8::2", 5555);
    control_local = addr("2001:db8::1", 1080);
    client = addr("2001:db8::2", 7000);
    server = server6;
    open_plain();
    establish();
    world_icmp_too_big = 1;
    from_internet(&server, "behind the error");
    assert_string_equal(kernel_world_calls(), "free@2");
    send_twice(&server); /* a router that says so at every datagram costs a slot a second */
    assert_string_equal(kernel_world_calls(), "");
    pass(1000);
    establish();
    world_icmp_too_big = 1;
    from_client(&server, "towards the client");
    assert_string_equal(kernel_world_calls(), "free@2");
    assert_int_equal(world_env.metrics.udp_icmp_too_big_total, 0);
}

static void ipv4_sockets_keep_no_errors(void **state)
{
    (void)state;
    open_plain();
    establish();
    world_icmp_too_big = 1;
    from_internet(&server, "no error");
    assert_string_equal(kernel_world_calls(), "down:1@4");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_path, end)

static void what_a_packet_filter_drops_ends_the_slot(void **state)
{
    (void)state;
    open_plain();
    for (int way = KERNEL_UP; way <= KERNEL_DOWN; way++) {
        establish();
        kernel_world_stuck = way;
        assert_false(assoc_sweep(assoc, world_now_ms));
        assert_int_equal(kernel_world_slots(), 0);
        kernel_world_stuck = -1;
        pass(1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_path, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_kernel_relays_counts),
        TEST(the_last_datagrams_of_an_association_count),
        TEST(kernel_traffic_keeps_an_association_alive),
        TEST(a_datagram_after_the_event_began_is_not_idleness),
        TEST(another_port_waits_while_the_kernel_hears_the_client),
        TEST(a_client_that_was_silent_may_come_from_another_port),
        TEST(a_port_that_is_not_settled_ends_the_slot),
        TEST(new_rules_revoke_the_flows),
        TEST(a_slot_ends_where_new_rules_ask_for_another),
        TEST(a_path_that_became_narrower_ends_the_slot),
        TEST(ipv4_sockets_keep_no_errors),
        TEST(what_a_packet_filter_drops_ends_the_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
