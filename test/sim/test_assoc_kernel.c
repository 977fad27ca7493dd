/* What an association leaves to the kernel path, and how it accounts for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "association.h"
#include "kernel_world.h"
#include "net/dgram_io.h"
#include "policy/snapshot.h"
#include "proxy/assoc/names.h"

static int begin_with_path(void **state)
{
    begin(state);
    kernel_world_begin();
    return 0;
}

/* The next datagrams to the server are for the kernel. */
static void establish(void)
{
    for (int i = 0; i < 3; i++) {
        from_client(&server, "hello");
        expect_up(&server, "hello");
    }
    assert_int_equal(kernel_world_slots(), 1);
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_NONE);
    (void)kernel_world_calls();
}

static void send_twice(const union netaddr *to)
{
    from_client(to, "one");
    from_client(to, "two");
    while (world_next_sent())
        ;
}

/* ---- the slot and its flows ---- */

static void without_a_path_nothing_is_asked_for(void **state)
{
    (void)state;
    world_env.kernel = NULL;
    open_plain();
    send_twice(&server);
    send_twice(&server);
    assert_string_equal(kernel_world_calls(), "");
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_INACTIVE);
}

static void while_the_path_pauses_it_is_inactive(void **state)
{
    (void)state;
    open_plain();
    establish();
    kernel_world_paused = true;
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_INACTIVE);
    kernel_world_paused = false;
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_NONE);
}

static void a_single_exchange_gets_no_slot(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "query");
    from_internet(&server, "answer");
    from_client(&server2, "query");
    from_internet(&server2, "answer");
    assert_string_equal(kernel_world_calls(), "");
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_FLOW);
}

/* A flow is installed after its datagram has left, and before user space says that it has caught up. */
static void the_second_datagram_to_a_destination_opens_a_slot(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "one");
    from_client(&server, "two");
    assert_string_equal(kernel_world_calls(), "new sent:192.0.2.10:53@2 up:1@2");
    from_internet(&server, "answer");
    assert_string_equal(kernel_world_calls(), "down:1@3");
    from_client(&server, "three");
    assert_string_equal(kernel_world_calls(), "sent:192.0.2.10:53@4 up:1@4");
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_NONE);
    assert_true(netaddr_equal(&kernel_world_client, &client));
    assert_true(netaddr_equal(&kernel_world_relay, &flow()->relay));
    assert_true(netaddr_equal(&kernel_world_external, &flow()->external[FAMILY_V4]));
}

static void a_slot_carries_the_tos_bits_that_user_space_carries(void **state)
{
    (void)state;
    world_config.udp.carry = CONFIG_CARRY_ECN;
    world_config.outbound.dscp = CONFIG_DSCP_SAID | 46;
    open_plain();
    send_twice(&server);
    assert_int_equal(kernel_world_setup.tos_up.keep, DGRAM_ECN);
    assert_int_equal(kernel_world_setup.tos_up.set, 46 << 2);
    assert_int_equal(kernel_world_setup.tos_down.keep, DGRAM_ECN);
    assert_int_equal(kernel_world_setup.tos_down.set, 0);
}

static void runs_and_strangers_are_counted_as_the_program_counts(void **state)
{
    (void)state;
    uint8_t bytes[512];
    open_plain();
    establish();
    const size_t seg = wrap(bytes, &server, "abc");
    for (size_t i = 1; i < 5; i++)
        wrap(bytes + i * seg, &server, "abc");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, 5 * seg, seg));
    world_run();
    assert_string_equal(kernel_world_calls(), "sent:192.0.2.10:53@8 up:5@8");
    from_internet(&server2, "a stranger's");
    assert_string_equal(kernel_world_calls(), "down:1@9");
}

static void what_the_system_refuses_to_send_is_not_installed(void **state)
{
    (void)state;
    open_plain();
    send_twice(&server2);
    (void)kernel_world_calls();
    world_send_loss = DGRAM_LOST_DENIED; /* a packet filter's */
    from_client(&server, "one");
    from_client(&server, "two");
    assert_string_equal(kernel_world_calls(), "up:1@2 up:1@2");
}

static void another_address_family_stays_in_user_space(void **state)
{
    (void)state;
    open_plain();
    send_twice(&server6);
    send_twice(&server6);
    from_internet(&server6, "answer");
    (void)world_next_sent();
    assert_string_equal(kernel_world_calls(), "");
    establish();
    from_client(&server6, "six");
    assert_string_equal(kernel_world_calls(), "up:1@9");
    from_internet(&server6, "back");
    assert_string_equal(kernel_world_calls(), "");
}

static void the_advertised_address_stays_in_user_space(void **state)
{
    (void)state;
    world_env.policy.advertised[FAMILY_V4] = addr("192.0.2.11", 0);
    world_config.active_reach = CONFIG_REACH_ALL;
    open_plain();
    establish();
    from_client(&server2, "to another client of this proxy");
    assert_null(strstr(kernel_world_calls(), "sent"));
}

static void a_slot_ends_before_its_ports(void **state)
{
    (void)state;
    open_plain();
    establish();
    assert_int_equal(world_open_sockets(), 2);
    assoc_free(assoc);
    assoc = NULL;
    assert_string_equal(kernel_world_calls(), "free@2");
    assert_int_equal(kernel_world_slots(), 0);
}

static void no_slot_now_is_asked_for_again_later(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum kernel_reason reason;
        uint64_t later_ms;
    } rows[] = {
        {ENOSPC, KERNEL_REASON_SLOTS, 1000},
        {ENETUNREACH, KERNEL_REASON_INTERFACE, 60000}, /* its route seldom changes */
        {ENOMEM, KERNEL_REASON_RESOURCES, 1000},
    };
    open_plain();
    for (size_t i = 0; i < 3; i++) {
        kernel_world_error = rows[i].error;
        send_twice(&server);
        assert_string_equal(kernel_world_calls(), "new");
        assert_int_equal(assoc_kernel_use(assoc).reason, rows[i].reason);
        pass(rows[i].later_ms - 1);
        send_twice(&server);
        assert_string_equal(kernel_world_calls(), "");
        pass(1);
    }
    kernel_world_error = 0;
    establish();
}

/* ---- who gets none ---- */

static void expect_user_space(enum kernel_reason reason)
{
    send_twice(&server);
    send_twice(&server);
    assert_string_equal(kernel_world_calls(), "");
    assert_int_equal(assoc_kernel_use(assoc).reason, reason);
}

static void an_interface_keeps_it_in_user_space(void **state)
{
    (void)state;
    world_config.outbound.interface = (char *)(uintptr_t) "eth7";
    open_plain();
    expect_user_space(KERNEL_REASON_EGRESS);
}

static void a_mark_keeps_it_in_user_space(void **state)
{
    (void)state;
    world_config.outbound.mark = 7;
    open_plain();
    expect_user_space(KERNEL_REASON_EGRESS);
}

static void probing_keeps_it_in_user_space(void **state)
{
    (void)state;
    world_config.udp.df = CONFIG_DF_PROBE;
    open_plain();
    expect_user_space(KERNEL_REASON_PROBE);
}

static void one_shared_port_keeps_it_in_user_space(void **state)
{
    (void)state;
    world_env.shared_port = 1080;
    open_plain();
    expect_user_space(KERNEL_REASON_SHARED_PORT);
}

static void an_upstream_keeps_it_in_user_space(void **state)
{
    (void)state;
    struct config_upstream far = {.port = 1080, .name = (char *)(uintptr_t) "far"};
    far.host.address = addr("198.51.100.9", 0);
    world_config.upstreams = &far;
    world_config.upstream_count = 1;
    world_config.outbound.upstream = far.name;
    open_plain();
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_UPSTREAM);
}

static void a_client_port_that_may_change_keeps_it_in_user_space(void **state)
{
    (void)state;
    open_with_hint("0.0.0.0", 4321);
    expect_user_space(KERNEL_REASON_CLIENT);
    pass(15000);
    establish();
}

/* What the configuration alone tells is the same. */
static void terms_tell_it_beforehand(void **state)
{
    (void)state;
    struct config_upstream far = {0};
    char interface[] = "eth7";
    struct terms terms = {.dscp = 46};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_NONE);
    terms = (struct terms){.user = {.bytes = 1000}, .session = {.datagrams = 10}};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_NONE);
    terms = (struct terms){.mark = 1};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_EGRESS);
    terms = (struct terms){.interface = interface};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_EGRESS);
    terms = (struct terms){.upstream = &far};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_UPSTREAM);
    terms = (struct terms){0};
    world_config.udp.df = CONFIG_DF_PROBE;
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_PROBE);
    world_config.udp.ports = (struct config_ports){1080, 1080};
    assert_int_equal(kernel_reason_of(&world_config, &terms), KERNEL_REASON_SHARED_PORT);
}

/* ---- names ---- */

static void a_host_that_is_reached_by_name_stays_in_user_space(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("game.example", 53, "by name");
    assert_true(world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
    world_run();
    for (int i = 0; i < 4; i++)
        from_client_by_name("game.example", 53, "by name");
    from_client(&server, "by address");
    assert_string_equal(kernel_world_calls(), "");
    send_twice(&server2);
    assert_non_null(strstr(kernel_world_calls(), "sent:192.0.2.11:54"));
}

/* The name is forgotten before its datagram leaves: so many others come in the same event. */
static void a_forgotten_name_is_no_address(void **state)
{
    (void)state;
    enum { NAMES = NAMES_MAX + 1 };
    uint8_t bytes[2048];
    size_t len = 0;
    world_config.limits.lookups_per_association = 2 * NAMES;
    open_plain();
    from_client_by_name("name00", 53, "x");
    assert_true(world_answer("name00", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
    world_run();
    for (unsigned i = 0; i < NAMES; i++) {
        char name[sizeof("name00")];
        snprintf(name, sizeof(name), "name%02u", i);
        len += wrap_name(bytes + len, name, 53, "x");
    }
    const uint64_t before = world_sent_count();
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, len, len / NAMES));
    world_run();
    assert_int_equal(world_sent_count(), before + 1);
    assert_string_equal(kernel_world_calls(), "");
}

static void a_name_at_a_host_with_a_flow_ends_the_flow(void **state)
{
    (void)state;
    open_plain();
    establish();
    from_client_by_name("other.example", 53, "by name");
    assert_true(world_answer("other.example", AF_INET, RESOLVER_FOUND, "203.0.113.200"));
    world_run();
    assert_null(strstr(kernel_world_calls(), "free"));
    from_client_by_name("game.example", 53, "by name");
    assert_true(world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
    world_run();
    assert_non_null(strstr(kernel_world_calls(), "free"));
    pass(1000);
    send_twice(&server);
    assert_null(strstr(kernel_world_calls(), "sent"));
}

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
    assert_true(assoc_review(assoc));
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
    assert_true(assoc_review(assoc));
    assert_string_equal(kernel_world_calls(), "free@2");
    pass(1000);
    establish();
    assert_int_equal(kernel_world_setup.tos_up.keep, DGRAM_TOS);
    assert_int_equal(kernel_world_setup.tos_up.set, 0);
    world_config.udp.df = CONFIG_DF_PROBE;
    assert_true(assoc_review(assoc));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_path_nothing_is_asked_for),
        TEST(while_the_path_pauses_it_is_inactive),
        TEST(a_single_exchange_gets_no_slot),
        TEST(the_second_datagram_to_a_destination_opens_a_slot),
        TEST(a_slot_carries_the_tos_bits_that_user_space_carries),
        TEST(runs_and_strangers_are_counted_as_the_program_counts),
        TEST(what_the_system_refuses_to_send_is_not_installed),
        TEST(another_address_family_stays_in_user_space),
        TEST(the_advertised_address_stays_in_user_space),
        TEST(a_slot_ends_before_its_ports),
        TEST(no_slot_now_is_asked_for_again_later),
        TEST(an_interface_keeps_it_in_user_space),
        TEST(a_mark_keeps_it_in_user_space),
        TEST(probing_keeps_it_in_user_space),
        TEST(one_shared_port_keeps_it_in_user_space),
        TEST(an_upstream_keeps_it_in_user_space),
        TEST(a_client_port_that_may_change_keeps_it_in_user_space),
        TEST(terms_tell_it_beforehand),
        TEST(a_host_that_is_reached_by_name_stays_in_user_space),
        TEST(a_forgotten_name_is_no_address),
        TEST(a_name_at_a_host_with_a_flow_ends_the_flow),
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
