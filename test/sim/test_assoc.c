/*
 * The association in a world of the test's own: fake sockets, fake resolver, fake clock. Rows are those of the list of
 * attacks and faults that the integration tests name, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"

static const uint8_t no_hint[4];
/* ---- mapping and filtering ---- */

static void one_external_socket_serves_every_destination(void **state)
{
    (void)state;
    open_plain();
    union netaddr mapping = flow()->external[FAMILY_V4];
    from_client(&server, "a");
    from_client(&server2, "b");
    expect_up(&server, "a");
    expect_up(&server2, "b");
    assert_true(netaddr_equal(&mapping, &flow()->external[FAMILY_V4]));
    assert_int_equal(world_open_sockets(), 2);
}

static void the_other_family_opens_at_first_use_and_stays(void **state)
{
    (void)state;
    open_plain();
    assert_int_equal(netaddr_port(&flow()->external[FAMILY_V6]), 0);
    from_client(&server6, "six");
    expect_up(&server6, "six");
    union netaddr mapping = flow()->external[FAMILY_V6];
    from_client(&server6, "seven");
    expect_up(&server6, "seven");
    assert_true(netaddr_equal(&mapping, &flow()->external[FAMILY_V6]));
    from_internet(&server6, "back");
    expect_down(&client, &server6, "back");
    expect_alive();
}

static void a_family_that_cannot_be_opened_costs_only_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    world_open_fails_family = AF_INET6;
    world_open_error = EMFILE;
    from_client(&server6, "six");
    from_client(&server6, "six");
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 2);
    expect_alive();
    world_open_fails_family = AF_UNSPEC;
    pass(2000);
    from_client(&server6, "now");
    expect_up(&server6, "now");
}

static void an_unknown_source_is_relayed_with_its_address(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    from_internet(&server2, "you never asked me");
    expect_down(&client, &server2, "you never asked me");
}

static void address_dependent_filtering(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    union netaddr other_port = addr("192.0.2.10", 9999);
    from_internet(&other_port, "same host");
    expect_down(&client, &other_port, "same host");
    from_internet(&server2, "other host");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
}

static void address_and_port_dependent_filtering(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    union netaddr other_port = addr("192.0.2.10", 9999);
    from_internet(&other_port, "same host, other port");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    from_internet(&server, "exactly");
    expect_down(&client, &server, "exactly");
}

/* ---- the client's side ---- */

static void row_1_a_stranger_first(void **state)
{
    (void)state;
    open_plain();
    from_client_at(&stranger, &server, "let me in");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_STRANGER], 1);
    expect_alive();
}

static void row_3_the_hinted_port_wins(void **state)
{
    (void)state;
    open_with_hint("10.0.0.2", 7000);
    union netaddr neighbour = addr("10.0.0.2", 6000);
    from_client_at(&neighbour, &server, "neighbour");
    expect_up(&server, "neighbour");
    expect_alive();
    assert_false(from_client_at(&neighbour, &server, "again")); /* held: the kernel refuses it */
    expect_nothing();
    expect_alive();
}

static void a_wrong_hint_harms_nobody(void **state)
{
    (void)state;
    open_with_hint("0.0.0.0", 4321);
    expect_alive();
    pass(20000);
    expect_alive(); /* nobody came from the hinted port: the learned one is held now */
    union netaddr late = addr("10.0.0.2", 4321);
    assert_false(from_client_at(&late, &server, "too late"));
    expect_nothing();
    expect_alive();
}

static void rows_4_and_5_a_hint_at_somebody_else(void **state)
{
    (void)state;
    open_with_hint("192.0.2.10", 53);
    from_internet(&server, "before");
    expect_nothing(); /* Row 6, too: dropped, not queued */
    assert_int_equal(flow()->dropped[DROP_NO_CLIENT], 1);
    union netaddr third_party = addr("192.0.2.10", 53);
    from_client_at(&third_party, &server2, "spoof");
    assert_int_equal(flow()->dropped[DROP_STRANGER], 1);
    expect_nothing();
    expect_alive();
}

/* Nor does such a hint let its port take over from the client's. */
static void a_hint_that_is_not_the_clients_counts_for_nothing(void **state)
{
    (void)state;
    union netaddr other_port = addr("10.0.0.2", 8888);
    open_with_hint("192.0.2.10", 8888);
    expect_alive();
    assert_false(from_client_at(&other_port, &server, "x")); /* the socket is connected to the client */
    assoc_free(assoc);
    static const uint8_t name[] = {10, 0, 0, 2}; /* four letters that look like the client's address */
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_NAME, .host_len = 4, .host = name, .port = 8888};
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, NULL},
                               &control_local, &hint),
                     0);
    assoc_start(assoc);
    expect_alive();
    assert_false(from_client_at(&other_port, &server, "x"));
    expect_nothing();
}

static void it_sends_from_the_configured_address(void **state)
{
    (void)state;
    union netaddr v4 = addr("10.9.8.7", 0), v6 = addr("fd00::77", 0);
    world_config.outbound.address_v4 = (struct config_pool){&v4, 1, CONFIG_POOL_LIST, 0};
    world_config.outbound.address_v6 = (struct config_pool){&v6, 1, CONFIG_POOL_LIST, 0};
    open_plain();
    assert_true(netaddr_equal_host(&flow()->external[FAMILY_V4], &v4));
    from_client(&server6, "x");
    expect_up(&server6, "x");
    assert_true(netaddr_equal_host(&flow()->external[FAMILY_V6], &v6));
}

/* Row 63: only a port that something came to, or went from, has to rest. */
static void a_port_that_carried_nothing_does_not_rest(void **state)
{
    (void)state;
    open_plain();
    assoc_free(assoc);
    assert_int_equal(world_quiet_from_ms[FAMILY_V4], 0);
    open_plain();
    world_now_ms += 500000;
    from_client(&server, "x");
    const uint64_t carried_ms = world_now_ms;
    world_now_ms += 500000;
    assoc_free(assoc);
    assert_int_equal(world_quiet_from_ms[FAMILY_V4], carried_ms);
    open_plain();
    from_internet(&server, "a port scan, or what was for the port's last user");
    assoc_free(assoc);
    assert_int_equal(world_quiet_from_ms[FAMILY_V4], world_now_ms);
    open_plain();
    from_client(&server, "x");
    from_client(&server6, "y");
    assoc_free(assoc);
    assert_int_equal(world_quiet_from_ms[FAMILY_V4], world_now_ms);
    assert_int_equal(world_quiet_from_ms[FAMILY_V6], world_now_ms);
    assoc = NULL;
}

/* Row 29: whatever the destination is, one rule says how an association leaves, also its second family, later. */
static void a_rule_says_how_it_leaves_and_who_may_answer(void **state)
{
    (void)state;
    char interface[] = "eth1";
    union netaddr from[] = {addr("10.9.8.6", 0), addr("fd00::66", 0), addr("10.9.8.7", 0)};
    struct config_target somewhere = {.kind = CONFIG_TARGET_NETWORK, .network = {addr("192.0.2.0", 0), 24}};
    struct config_rule rules[] = {
        {.action = CONFIG_ACTION_ALLOW, .to = &somewhere, .to_count = 1},
        {.action = CONFIG_ACTION_ALLOW,
         .terms = {.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT,
                   .address_v4 = {&from[FAMILY_V4], 1, CONFIG_POOL_LIST, 0},
                   .address_v6 = {&from[FAMILY_V6], 1, CONFIG_POOL_LIST, 0},
                   .mark = 7,
                   .interface = interface,
                   .dscp = CONFIG_DSCP_SAID | 46}},
    };
    world_config.rules = rules;
    world_config.rule_count = 2;
    world_config.outbound.address_v4 = (struct config_pool){&from[2], 1, CONFIG_POOL_LIST, 0};
    struct rules *compiled = rules_compile(rules, 2);
    world_env.rules = compiled;
    open_plain();
    from_client(&server, "x"); /* which the first rule lets through */
    expect_up(&server, "x");
    interface[0] = '\0'; /* a reload takes the configuration away */
    from_client(&server6, "y");
    expect_up(&server6, "y");
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        assert_true(netaddr_equal_host(&flow()->external[slot], &from[slot]));
        const struct sock_egress *egress = world_egress_of(&flow()->external[slot]);
        assert_int_equal(egress->mark, 7);
        assert_string_equal(egress->interface, "eth1");
        assert_int_equal(egress->dscp, 46);
        assert_true(own_ports_has(world_env.policy.own_ports, OWN_PORT_EXTERNAL, &flow()->external[slot]));
    }
    assert_int_equal(world_egress_of(&flow()->relay)->mark, 0);
    assert_string_equal(world_egress_of(&flow()->relay)->interface, "");
    from_internet(&server2, "other host");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    const union netaddr gone = flow()->external[FAMILY_V4];
    assoc_free(assoc);
    assoc = NULL;
    assert_false(own_ports_has(world_env.policy.own_ports, OWN_PORT_EXTERNAL, &gone));
    rules_free(compiled);
    world_env.rules = NULL;
}

static void a_mark_that_cannot_be_set_is_no_association(void **state)
{
    (void)state;
    world_config.outbound.mark = 7;
    world_egress_error = EPERM;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_NAME};
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, NULL},
                               &control_local, &hint),
                     -EPERM);
    assert_int_equal(world_open_sockets(), 0);
    world_egress_error = 0;
    open_plain();
    world_egress_error = EPERM;
    from_client(&server6, "x"); /* the second family's socket */
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 1);
    expect_alive();
}

static void rows_7_and_8_a_stranger_in_the_same_batch(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "x");
    assert_true(world_arrive(&stranger, &flow()->relay, bytes, len));
    assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    assert_true(world_arrive(&stranger, &flow()->relay, bytes, len)); /* queued before the socket was connected */
    world_run();
    expect_up(&server, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_STRANGER], 2);
    assert_false(world_arrive(&stranger, &flow()->relay, bytes, len));
    expect_alive();
}

static void row_9_another_port_waits_for_silence(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    union netaddr rebound = addr("10.0.0.2", 7001);
    size_t len = wrap(bytes, &server, "x");
    assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    assert_true(world_arrive(&rebound, &flow()->relay, bytes, len)); /* queued before the connect */
    world_run();
    expect_up(&server, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OTHER_PORT], 1);

    pass(14999);
    assoc_sweep(assoc, world_now_ms);
    assert_false(from_client_at(&rebound, &server, "too early"));
    pass(1);
    assoc_sweep(assoc, world_now_ms);
    from_internet(&server, "still to the old port");
    expect_down(&client, &server, "still to the old port");
    assert_true(from_client_at(&rebound, &server, "rebound"));
    expect_up(&server, "rebound");
    from_internet(&server, "to the new port");
    expect_down(&rebound, &server, "to the new port");
    assert_false(from_client_at(&client, &server, "the old port is nobody now"));
    expect_nothing();
}

static void a_client_that_comes_back_is_held_again(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(60000);
    assoc_sweep(assoc, world_now_ms);
    expect_alive();
    union netaddr rebound = addr("10.0.0.2", 7001);
    assert_false(from_client_at(&rebound, &server, "x"));
}

static void bad_datagrams_do_not_name_the_client(void **state)
{
    (void)state;
    open_plain();
    union netaddr neighbour = addr("10.0.0.2", 6000);
    assert_true(world_arrive(&neighbour, &flow()->relay, "junk", 4));
    world_run();
    assert_int_equal(flow()->client.sa.sa_family, AF_UNSPEC);
    expect_alive();
}

/* ---- life ---- */

static void row_33_the_idle_limit(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 300 * 1000;
    open_plain();
    expect_alive();
    pass(299 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    from_internet(&server, "inbound only"); /* resets it */
    pass(299 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    from_client(&server, "outbound only"); /* does, too */
    pass(299999);
    assert_false(assoc_sweep(assoc, world_now_ms));
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

static void what_is_dropped_does_not_keep_it(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 300 * 1000;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    open_plain();
    from_client(&server, "x");
    expect_up(&server, "x");
    pass(299999);
    from_internet(&server2, "filtered");
    from_client_at(&stranger, &server, "not the client");
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

static void row_33_without_a_limit_it_stays(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(30ULL * 24 * 3600 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    expect_alive();
}

static void no_socket_no_association(void **state)
{
    (void)state;
    world_open_fails_family = AF_INET;
    world_open_error = EMFILE;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = no_hint};
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, NULL},
                               &control_local, &hint),
                     -EMFILE);
}

static void over_ipv6(void **state)
{
    (void)state;
    control_peer = addr("fd00::2", 5555);
    control_local = addr("fd00::1", 1080);
    client = addr("fd00::2", 7000);
    open_plain(); /* with an IPv4 hint, as hev sends it */
    assert_int_equal(flow()->external[FAMILY_V6].sa.sa_family, AF_INET6);
    from_client(&server6, "x");
    expect_up(&server6, "x");
    expect_alive();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(one_external_socket_serves_every_destination),
        TEST(the_other_family_opens_at_first_use_and_stays),
        TEST(a_family_that_cannot_be_opened_costs_only_its_datagrams),
        TEST(an_unknown_source_is_relayed_with_its_address),
        TEST(address_dependent_filtering),
        TEST(address_and_port_dependent_filtering),
        TEST(row_1_a_stranger_first),
        TEST(row_3_the_hinted_port_wins),
        TEST(a_wrong_hint_harms_nobody),
        TEST(rows_4_and_5_a_hint_at_somebody_else),
        TEST(a_hint_that_is_not_the_clients_counts_for_nothing),
        TEST(it_sends_from_the_configured_address),
        TEST(a_port_that_carried_nothing_does_not_rest),
        TEST(a_rule_says_how_it_leaves_and_who_may_answer),
        TEST(a_mark_that_cannot_be_set_is_no_association),
        TEST(rows_7_and_8_a_stranger_in_the_same_batch),
        TEST(row_9_another_port_waits_for_silence),
        TEST(a_client_that_comes_back_is_held_again),
        TEST(bad_datagrams_do_not_name_the_client),
        TEST(row_33_the_idle_limit),
        TEST(what_is_dropped_does_not_keep_it),
        TEST(row_33_without_a_limit_it_stays),
        TEST(no_socket_no_association),
        TEST(over_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
