/* Associations whose clients send to one port. The control connection's local port, 1080, is the relay's, too. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"

#define PORT 1080

static struct assoc *second;
static union netaddr client2;

static int begin_shared(void **state)
{
    begin(state);
    world_env.shared_port = PORT;
    static uint64_t later;
    world_now_ms += later += 1000000; /* nothing of the tests before rests any more */
    second = NULL;
    client2 = addr("10.0.0.2", 7002);
    return 0;
}

static int end_shared(void **state)
{
    assoc_free(second);
    return end(state);
}

static void open_second_of(struct env *env)
{
    static const struct socks5_addr no_hint = {.atyp = SOCKS5_ATYP_NAME};
    assert_int_equal(
        assoc_new(&second, env, &(struct proxy_client){control_peer, control_local, 0, NULL}, &control_local, &no_hint),
        0);
    assoc_start(second);
}

static void open_second(void)
{
    open_second_of(&world_env);
}

static uint64_t dropped(enum drop_reason reason)
{
    return world_env.metrics.udp_dropped_total[reason];
}

static void expect_up_by(const struct assoc *by, const union netaddr *to, const char *text)
{
    struct assoc *first = assoc;
    assoc = (struct assoc *)by;
    expect_up(to, text);
    assoc = first;
}

static void answers_leave_from_the_port(void **state)
{
    (void)state;
    open_plain();
    assert_int_equal(netaddr_port(&flow()->relay), PORT);
    assert_true(own_ports_has(world_env.policy.own_ports, OWN_PORT_RELAY, &flow()->relay));
    expect_alive();
    const union netaddr relay = flow()->relay;
    assoc_free(assoc);
    assoc = NULL;
    assert_false(own_ports_has(world_env.policy.own_ports, OWN_PORT_RELAY, &relay));
}

static void rows_1_and_7_strangers(void **state)
{
    (void)state;
    open_plain();
    from_client_at(&stranger, &server, "mine");
    expect_nothing();
    assert_int_equal(dropped(DROP_STRANGER), 1);
    expect_alive();
    from_client_at(&stranger, &server, "mine");
    expect_nothing();
    assert_int_equal(dropped(DROP_STRANGER), 2);
    from_client_at(&client2, &server, "not mine either");
    expect_nothing();
    assert_int_equal(dropped(DROP_OTHER_PORT), 1);
    expect_alive();
}

static void each_has_its_own_client(void **state)
{
    (void)state;
    open_plain();
    open_second();
    from_client(&server, "first");
    expect_up(&server, "first");
    from_client_at(&client2, &server, "second");
    expect_up_by(second, &server, "second");
    from_client(&server, "first again");
    expect_up(&server, "first again");
    from_client_at(&client2, &server, "second again");
    expect_up_by(second, &server, "second again");
    expect_nothing();
}

static void arrive_meanwhile(void)
{
    uint8_t bytes[512];
    const union netaddr *const from[] = {&client, &client2, &stranger, &client};
    world_on_bind = NULL;
    for (size_t i = 0; i < 4; i++)
        assert_true(world_arrive(from[i], &flow()->relay, bytes, wrap(bytes, &server, "meanwhile")));
}

/* Row 8: between bind and connect the first one's socket hears everybody; what is the second's reaches the second. */
static void row_8_what_comes_between_bind_and_connect(void **state)
{
    (void)state;
    open_plain();
    open_second();
    world_on_bind = arrive_meanwhile;
    from_client(&server, "first");
    expect_up(&server, "first");
    expect_up(&server, "meanwhile");
    expect_up_by(second, &server, "meanwhile");
    expect_up(&server, "meanwhile");
    expect_nothing();
    assert_int_equal(dropped(DROP_STRANGER), 1);
    expect_alive();
}

/* It is handed over, also in the moment in which the worker that has received it stops listening. */
static void what_another_worker_receives(void **state)
{
    (void)state;
    static struct env other;
    uint8_t bytes[512];
    other = world_env;
    open_second_of(&other);
    open_plain(); /* its worker's socket is the younger one: it receives what comes */
    from_client_at(&client2, &server, "a");
    expect_up_by(second, &server, "a");
    expect_alive();
    assoc_free(second);
    open_second_of(&other);
    const union netaddr relay = flow()->relay;
    union netaddr client3 = addr("10.0.0.2", 7003);
    assoc_free(assoc);
    open_plain();
    assert_true(world_arrive(&client3, &relay, bytes, wrap(bytes, &server, "b")));
    assoc_free(assoc);
    assoc = NULL;
    expect_up_by(second, &server, "b");
}

static void row_3_the_hinted_port_wins(void **state)
{
    (void)state;
    open_with_hint("10.0.0.2", 7000);
    from_client_at(&client2, &server, "neighbour");
    expect_up(&server, "neighbour");
    expect_alive(); /* at port 7000 */
    from_client_at(&client2, &server, "again");
    expect_nothing();
    expect_alive();
}

static void a_hint_is_settled_in_time(void **state)
{
    (void)state;
    open_with_hint("10.0.0.2", 7002);
    expect_alive(); /* at port 7000 */
    pass(20000);
    expect_alive();
    from_client_at(&client2, &server, "too late");
    expect_nothing();
    expect_alive();
}

static void row_9_another_port_waits_for_silence(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(14999);
    assoc_sweep(assoc, world_now_ms);
    from_client_at(&client2, &server, "too early");
    expect_nothing();
    pass(1);
    assoc_sweep(assoc, world_now_ms);
    assoc_sweep(assoc, world_now_ms);
    from_internet(&server, "still to the old port");
    expect_down(&client, &server, "still to the old port");
    from_client_at(&client2, &server, "rebound");
    expect_up(&server, "rebound");
    from_internet(&server, "to the new port");
    expect_down(&client2, &server, "to the new port");
    from_client(&server, "the old port is nobody now");
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
    from_client_at(&client2, &server, "x");
    expect_nothing();
    pass(60000);
    assoc_sweep(assoc, world_now_ms);
    from_client_at(&client2, &server, "after more silence");
    expect_up(&server, "after more silence");
}

/* Its client spoke while the other port's datagram was on its way: that is refused, and nobody forgets who the client
 * is. */
static void one_that_was_found_too_late_is_refused(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(60000);
    assoc_sweep(assoc, world_now_ms);
    world_config.udp.rebind_after_ms = 120000; /* as if it had spoken: it is silent for too short a time now */
    from_client_at(&client2, &server, "too early");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OTHER_PORT], 1);
    world_config.udp.rebind_after_ms = 60000;
    from_client_at(&client2, &server, "silent for long enough");
    expect_up(&server, "silent for long enough");
}

static void bad_datagrams_do_not_name_the_client(void **state)
{
    (void)state;
    open_plain();
    assert_true(world_arrive(&client2, &flow()->relay, "junk", 4));
    world_run();
    assert_int_equal(flow()->client.sa.sa_family, AF_UNSPEC);
    assert_int_equal(dropped(DROP_BAD_HEADER), 1);
    expect_alive();
}

static void a_port_that_cannot_be_bound_answers_nobody(void **state)
{
    (void)state;
    open_plain();
    world_bind_error = ENOMEM;
    from_client(&server, "x");
    from_internet(&server, "y");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_NO_CLIENT], 1);
    world_bind_error = 0;
    expect_alive();
}

static void a_port_of_another_program(void **state)
{
    (void)state;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_NAME};
    world_bind_error = EADDRINUSE;
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, NULL},
                               &control_local, &hint),
                     -EBUSY);
    assert_int_equal(world_open_sockets(), 0);
    world_bind_error = 0;
    open_plain();
    expect_alive();
}

/* Row 11: a late datagram of a client that has gone is not the first of who comes next. */
static void row_11_a_late_one_is_not_the_next_ones(void **state)
{
    (void)state;
    open_plain();
    open_second();
    expect_alive();
    const union netaddr relay = flow()->relay;
    assoc_free(assoc);
    assoc = second;
    second = NULL;
    uint8_t bytes[512];
    assert_true(world_arrive(&client, &relay, bytes, wrap(bytes, &server, "late")));
    world_run();
    expect_nothing();
    from_client_at(&client2, &server, "mine");
    expect_up(&server, "mine");
}

static void ordinary_ones_go_on_beside_it(void **state)
{
    (void)state;
    world_env.shared_port = 0;
    open_plain();
    expect_alive();
    world_env.shared_port = PORT; /* a reload */
    open_second();
    expect_alive();
    assert_int_not_equal(netaddr_port(&flow()->relay), PORT);
    assert_int_equal(netaddr_port(&assoc_flow(second)->relay), PORT);
    world_env.shared_port = 0;
    const union netaddr relay = assoc_flow(second)->relay;
    uint8_t bytes[512];
    assert_true(world_arrive(&client2, &relay, bytes, wrap(bytes, &server, "still there")));
    world_run();
    expect_up_by(second, &server, "still there");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_shared, end_shared)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_leave_from_the_port),
        TEST(rows_1_and_7_strangers),
        TEST(each_has_its_own_client),
        TEST(row_8_what_comes_between_bind_and_connect),
        TEST(what_another_worker_receives),
        TEST(row_3_the_hinted_port_wins),
        TEST(a_hint_is_settled_in_time),
        TEST(row_9_another_port_waits_for_silence),
        TEST(a_client_that_comes_back_is_held_again),
        TEST(one_that_was_found_too_late_is_refused),
        TEST(bad_datagrams_do_not_name_the_client),
        TEST(a_port_that_cannot_be_bound_answers_nobody),
        TEST(a_port_of_another_program),
        TEST(row_11_a_late_one_is_not_the_next_ones),
        TEST(ordinary_ones_go_on_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
