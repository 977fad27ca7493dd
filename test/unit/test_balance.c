/* Whether connections go to the worker with the fewest sessions, and end up in one session each. */
#include "test.h"

#include <stdlib.h>

#include "daemon/balance.h"
#include "support/loopback.h"

/* `env` is the worker that others hand connections over to; `busy` accepts, and has counters and a clock alone. */
static struct env busy;
static struct snapshot snapshot, next_snapshot;
static struct config next_config;
static struct balance *balance;
static struct balance_place *busy_place, *place;
static struct config_listener as;
static struct config_endpoint endpoint;

static int join(void **state)
{
    begin(state);
    as = (struct config_listener){.address = sock_local(listener)};
    endpoint = (struct config_endpoint){.address = as.address};
    config.listen = &as;
    config.listen_count = 1;
    config.endpoints = &endpoint;
    config.endpoint_count = 1;
    snapshot = (struct snapshot){.config = &config};
    next_snapshot = (struct snapshot){.config = &next_config};
    atomic_init(&snapshot.holders, 1);
    atomic_init(&next_snapshot.holders, 1);
    memset(&busy, 0, sizeof(busy));
    busy.clock_ms = test_clock;
    busy.snapshot = env.snapshot = &snapshot;
    balance = balance_new(2);
    assert_non_null(balance);
    busy_place = balance_join(balance, &busy);
    place = balance_join(balance, &env);
    balance_take_from_others(place, true);
    return 0;
}

static int leave(void **state)
{
    int outcome = end(state);
    balance_free(balance);
    assert_int_equal(snapshot.holders, 1);
    assert_int_equal(next_snapshot.holders, 1);
    return outcome;
}

static void have_sessions(uint64_t count)
{
    atomic_store(&busy.metrics.sessions_total, count);
}

/* What a client gets whose connection `busy` accepts: true, another worker. */
static bool is_handed_over(int *client)
{
    const union netaddr where = sock_local(listener);
    union netaddr peer;
    *client = sock_connect(NULL, &where, NULL);
    int fd = accept_from(listener, &peer);
    bool handed = balance_hand_over(busy_place, fd, &peer, &as);
    if (!handed) {
        close(fd);
        close(*client);
    }
    return handed;
}

static void few_sessions_count_each_and_many_by_the_eighth(void **state)
{
    (void)state;
    static const struct {
        uint64_t own, other;
        bool hands_over;
    } cases[] = {
        {0, 0, false},       {1, 0, true},       {1, 1, false},      {2, 1, true},          {7, 7, false},
        {8, 7, true},        {9, 8, false},      {10, 8, true},      {0, 5, false},         {1000, 1000, false},
        {1125, 1000, false}, {1126, 1000, true}, {999, 1000, false}, {UINT64_MAX, 1, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct balance_load own = {cases[i].own, 50}, other = {cases[i].other, 50};
        assert_int_equal(balance_is_worthwhile(own, other), cases[i].hands_over);
    }
}

static void of_equal_ones_a_busy_worker_hands_over(void **state)
{
    (void)state;
    static const struct {
        struct balance_load own, other;
        bool hands_over;
    } cases[] = {
        {{2, 100}, {2, 0}, true},    {{2, 25}, {2, 0}, true},   {{2, 24}, {2, 0}, false},
        {{2, 0}, {2, 100}, false},   {{1, 100}, {2, 0}, false}, {{14, 100}, {16, 0}, true},
        {{13, 100}, {16, 0}, false}, {{3, 0}, {2, 100}, true},  {{2, 100}, {2, 90}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(balance_is_worthwhile(cases[i].own, cases[i].other), cases[i].hands_over);
}

/* The first call only notes where it begins. */
static void work_is_what_a_thread_has_run(void **state)
{
    (void)state;
    int client;
    have_sessions(1);
    atomic_store(&env.metrics.sessions_total, 1);
    balance_note_work(busy_place, 5000000);
    now_ms += 1000;
    balance_note_work(busy_place, 5240000);
    assert_false(is_handed_over(&client));
    now_ms += 1000;
    balance_note_work(busy_place, 5500000);
    assert_true(is_handed_over(&client));
    wait_until(env.open.sessions == 1);
    close(client);
    balance_note_work(NULL, 1);
}

/* Those on the way count, too: else a burst would go to one worker. */
static void a_burst_is_spread(void **state)
{
    (void)state;
    int clients[3], refused;
    have_sessions(2);
    assert_true(is_handed_over(&clients[0]));
    assert_true(is_handed_over(&clients[1]));
    assert_false(is_handed_over(&refused)); /* two each */
    assert_int_equal(env.open.sessions, 0);
    wait_until(env.open.sessions == 2);
    assert_false(is_handed_over(&refused));
    have_sessions(3);
    assert_true(is_handed_over(&clients[2]));
    wait_until(env.open.sessions == 3);
    assert_int_equal(busy.metrics.connections_handed_over_total, 3);
    assert_int_equal(env.metrics.sessions_total, 3);
    for (int i = 0; i < 3; i++) {
        say(clients[i], "\5\1\0", 3);
        expect(clients[i], "\5\0", 2);
        close(clients[i]);
    }
}

static void a_worker_that_takes_none_gets_none(void **state)
{
    (void)state;
    int client;
    have_sessions(5);
    balance_take_from_others(place, false);
    assert_false(is_handed_over(&client));
    balance_take_from_others(place, true);
    assert_true(is_handed_over(&client));
    wait_until(env.open.sessions == 1);
    close(client);
    assert_false(balance_hand_over(NULL, 0, NULL, NULL));
}

/* It was on the way while the worker ended. */
static void one_that_comes_too_late_is_closed(void **state)
{
    (void)state;
    int client;
    have_sessions(5);
    assert_true(is_handed_over(&client));
    balance_leave(place);
    expect_end(client);
    close(client);
    assert_int_equal(env.metrics.sessions_total, 0);
    assert_false(is_handed_over(&client));
}

/* The worker that takes it has been reloaded, and asks for a login there by now. */
static void the_listener_is_the_active_one(void **state)
{
    (void)state;
    int client;
    struct config_listener reloaded = {.address = as.address, .need_password = true};
    have_sessions(5);
    assert_true(is_handed_over(&client));
    next_config = config;
    next_config.listen = &reloaded;
    env.config = env.policy.config = &next_config;
    env.snapshot = &next_snapshot;
    say(client, "\5\1\0", 3);
    expect(client, "\5\xff", 2);
    close(client);
}

/* A listener that only the other worker's configuration has is that one. */
static void a_listener_that_is_not_there_is_the_other_workers(void **state)
{
    (void)state;
    int client;
    have_sessions(5);
    assert_true(is_handed_over(&client));
    next_config = config;
    next_config.listen_count = next_config.endpoint_count = 0;
    env.config = env.policy.config = &next_config;
    env.snapshot = &next_snapshot;
    say(client, "\5\1\0", 3);
    expect(client, "\5\0", 2);
    close(client);
}

static void it_looks_at_others_so_often_in_a_second(void **state)
{
    (void)state;
    int client;
    have_sessions(1);
    atomic_store(&env.metrics.sessions_total, 1);
    for (int i = 0; i < 1000; i++)
        assert_false(balance_hand_over(busy_place, listener, &as.address, &as));
    atomic_store(&env.metrics.sessions_total, 0);
    assert_false(is_handed_over(&client));
    now_ms += 1000;
    assert_true(is_handed_over(&client));
    wait_until(env.open.sessions == 1);
    close(client);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, join, leave)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_sessions_count_each_and_many_by_the_eighth),
        cmocka_unit_test(of_equal_ones_a_busy_worker_hands_over),
        T(work_is_what_a_thread_has_run),
        T(a_burst_is_spread),
        T(a_worker_that_takes_none_gets_none),
        T(one_that_comes_too_late_is_closed),
        T(the_listener_is_the_active_one),
        T(a_listener_that_is_not_there_is_the_other_workers),
        T(it_looks_at_others_so_often_in_a_second),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
