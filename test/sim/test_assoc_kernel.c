/* What an association leaves to the kernel path. */
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
#include "proxy/assoc/names.h"

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_path, end)

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
