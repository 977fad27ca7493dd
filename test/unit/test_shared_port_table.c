/* The association for a datagram that comes to the port of all associations. */
#include "test.h"

#include <string.h>
#include <time.h>

#include "host/shared_port_table.h"

#define ENTRIES 6

static union netaddr relay, host;
static struct shared_port_table *table;
static struct shared_port_entry *entries[ENTRIES];
static int owners[ENTRIES], worker;
static uint64_t now;

static union netaddr at(const char *text, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, text, port));
    return address;
}

static int begin(void **state)
{
    (void)state;
    relay = at("10.0.0.1", 1080);
    host = at("10.0.0.2", 0);
    memset(entries, 0, sizeof(entries));
    table = shared_port_table_new();
    assert_non_null(table);
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i])
            shared_port_table_remove(table, entries[i], now);
    shared_port_table_free(table); /* checks that nothing is left in it but what rests */
    return 0;
}

static void enter_at(int i, const union netaddr *where, const union netaddr *whose, uint16_t hint_port)
{
    entries[i] = shared_port_table_add(table, where, whose, hint_port, &worker, &owners[i]);
    assert_non_null(entries[i]);
}

static void enter(int i, uint16_t hint_port)
{
    enter_at(i, &relay, &host, hint_port);
}

static void leave(int i)
{
    shared_port_table_remove(table, entries[i], now);
    entries[i] = NULL;
}

/* Which entry a datagram finds; or minus a shared_port_match. */
static int found_at(const union netaddr *where, const union netaddr *from, bool valid)
{
    struct shared_port_entry *entry;
    enum shared_port_match match = shared_port_table_find(table, where, from, valid, now, &entry);
    if (match != SHARED_PORT_FOUND)
        return -(int)match;
    int *owner = shared_port_entry_owner(entry);
    assert_ptr_equal(shared_port_entry_worker(entry), &worker);
    shared_port_table_release(table, entry);
    return (int)(owner - owners);
}

static int found(uint16_t port)
{
    union netaddr from = host;
    netaddr_set_port(&from, port);
    return found_at(&relay, &from, true);
}

static void set(int i, uint16_t port, enum shared_port_state state)
{
    union netaddr client = host;
    netaddr_set_port(&client, port);
    shared_port_table_set_client(table, entries[i], port ? &client : &(union netaddr){0}, state);
}

static void one_with_room_takes_further_ports(void **state)
{
    (void)state;
    enter(0, 0);
    enter(1, 0);
    shared_port_table_set_room(table, entries[0], true);
    assert_int_equal(found(7000), 0);
    assert_int_equal(found(7001), 1); /* which has no port yet */
    assert_int_equal(found(7002), 0);
    assert_int_equal(found(7000), 0); /* it still has the first one */
    set(1, 7001, SHARED_PORT_QUIET);
    assert_int_equal(found(7002), 0);
    shared_port_table_set_room(table, entries[0], false);
    assert_int_equal(found(7002), 1);
    assert_int_equal(found(7003), -SHARED_PORT_OTHER_PORT);
    set(0, 7000, SHARED_PORT_QUIET);
    shared_port_table_set_room(table, entries[0], true);
    shared_port_table_set_room(table, entries[1], true);
    assert_int_equal(found(7003), 0);
    leave(0);
    assert_int_equal(found(7003), 1);
    leave(1);
}

/* Rows 1 and 2. */
static void strangers_find_nobody(void **state)
{
    (void)state;
    const union netaddr stranger = at("10.0.0.66", 7000), family = at("::ffff:10.0.0.2", 7000),
                        no_port = at("10.0.0.2", 0), client = at("10.0.0.2", 7000);
    const union netaddr other_relay = at("10.0.0.9", 1080), other_port = at("10.0.0.1", 1081);
    assert_int_equal(found(7000), -SHARED_PORT_STRANGER);
    enter(0, 0);
    assert_int_equal(found_at(&relay, &stranger, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&relay, &family, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&relay, &no_port, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&other_relay, &client, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&other_port, &client, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found(7000), 0);
    leave(0);
    assert_int_equal(found(7000), -SHARED_PORT_STRANGER);
}

static void an_invalid_one_finds_no_client(void **state)
{
    (void)state;
    const union netaddr client = at("10.0.0.2", 7000);
    enter(0, 0);
    assert_int_equal(found_at(&relay, &client, false), -SHARED_PORT_OTHER_PORT);
    assert_int_equal(found(7001), 0);
    assert_int_equal(found_at(&relay, &client, false), -SHARED_PORT_OTHER_PORT);
    const union netaddr known = at("10.0.0.2", 7001);
    assert_int_equal(found_at(&relay, &known, false), 0); /* who is the client already may send nonsense */
}

/* Two clients at one address that name no port cannot be told apart: each gets one, in order. */
static void without_hints_the_first_that_waits(void **state)
{
    (void)state;
    enter(0, 0);
    enter(1, 0);
    assert_int_equal(found(7000), 0);
    assert_int_equal(found(7001), 1);
    assert_int_equal(found(7000), 0); /* whose it is once it stays, before anybody has confirmed it */
    assert_int_equal(found(7001), 1);
    assert_int_equal(found(7002), -SHARED_PORT_OTHER_PORT);
}

/* Rows 3 and 10. */
static void a_named_port_goes_before_all(void **state)
{
    (void)state;
    enter(0, 0);
    enter(1, 7001);
    enter(2, 7002);
    assert_int_equal(found(7002), 2);
    assert_int_equal(found(7001), 1);
    assert_int_equal(found(7000), 0);
    assert_int_equal(found(7003), -SHARED_PORT_OTHER_PORT);
}

/* A NAT may have changed the port that was named. */
static void who_named_another_port_comes_last(void **state)
{
    (void)state;
    enter(0, 5000);
    enter(1, 5001);
    enter(2, 0);
    assert_int_equal(found(7000), 2);
    assert_int_equal(found(7001), 0);
    assert_int_equal(found(7002), 1);
}

/* Row 3: the neighbour was faster. */
static void a_named_port_takes_over_until_it_is_settled(void **state)
{
    (void)state;
    enter(0, 7000);
    assert_int_equal(found(6000), 0);
    set(0, 6000, SHARED_PORT_WAITING);
    assert_int_equal(found(6001), -SHARED_PORT_OTHER_PORT);
    assert_int_equal(found(7000), 0);
    assert_int_equal(found(6000), -SHARED_PORT_OTHER_PORT);
    set(0, 7000, SHARED_PORT_HELD);
    assert_int_equal(found(7000), 0);
    enter(1, 7000);
    assert_int_equal(found(7000), 0); /* a known client is never taken for another's */
    enter(2, 7001);
    assert_int_equal(found(6000), 1);
    set(1, 6000, SHARED_PORT_HELD);
    leave(0);
    now += SHARED_PORT_REST_MS;
    assert_int_equal(found(7000), 2); /* settled: it is not waited for any more */
}

/* Row 9: a NAT's rebinding. */
static void who_has_been_quiet_longest_is_taken_over_first(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        enter(i, 0);
        assert_int_equal(found((uint16_t)(7000 + i)), i);
        set(i, (uint16_t)(7000 + i), SHARED_PORT_HELD);
    }
    assert_int_equal(found(8000), -SHARED_PORT_OTHER_PORT);
    set(2, 7002, SHARED_PORT_QUIET);
    set(1, 7001, SHARED_PORT_QUIET);
    assert_int_equal(found(7002), 2); /* it comes back as it was */
    enter(3, 0);
    assert_int_equal(found(8000), 3); /* who waits goes before */
    assert_int_equal(found(8001), 2);
    set(2, 7002, SHARED_PORT_HELD); /* it was refused: its client has spoken meanwhile */
    assert_int_equal(found(8001), 1);
    assert_int_equal(found(7002), 2);
    assert_int_equal(found(7001), -SHARED_PORT_OTHER_PORT);
}

static void who_was_not_answered_after_all_waits_again(void **state)
{
    (void)state;
    enter(0, 0);
    assert_int_equal(found(7000), 0);
    set(0, 0, SHARED_PORT_WAITING);
    assert_int_equal(found(7001), 0);
    assert_int_equal(found(7000), -SHARED_PORT_OTHER_PORT);
}

/* Row 11: what a client still sends when its association has ended is not the next one's first datagram. */
static void late_datagrams_find_nobody_else(void **state)
{
    (void)state;
    enter(0, 0);
    assert_int_equal(found(7000), 0);
    leave(0);
    enter(1, 0);
    enter(2, 5000);
    assert_int_equal(found(7000), -SHARED_PORT_OTHER_PORT);
    now += SHARED_PORT_REST_MS - 1;
    assert_int_equal(found(7000), -SHARED_PORT_OTHER_PORT);
    enter(3, 7000);
    assert_int_equal(found(7000), 3); /* a new request names the port: it is in use again */
    leave(3);
    now += SHARED_PORT_REST_MS;
    assert_int_equal(found(7000), 1);
}

static void one_that_is_gone_meanwhile_has_no_owner(void **state)
{
    (void)state;
    union netaddr from = at("10.0.0.2", 7000);
    struct shared_port_entry *entry;
    enter(0, 0);
    assert_int_equal(shared_port_table_find(table, &relay, &from, true, now, &entry), SHARED_PORT_FOUND);
    leave(0);
    now += SHARED_PORT_REST_MS;
    enter(1, 0); /* which forgets what has rested; a sanitizer sees it if that is freed */
    assert_null(shared_port_entry_owner(entry));
    shared_port_table_release(table, entry);
}

static void only_so_many_are_under_way(void **state)
{
    (void)state;
    union netaddr from = at("10.0.0.2", 7000);
    struct shared_port_entry *under_way[SHARED_PORT_UNDER_WAY_MAX], *one_more;
    enter(0, 0);
    for (size_t i = 0; i < SHARED_PORT_UNDER_WAY_MAX; i++)
        assert_int_equal(shared_port_table_find(table, &relay, &from, true, now, &under_way[i]), SHARED_PORT_FOUND);
    assert_int_equal(shared_port_table_find(table, &relay, &from, true, now, &one_more), SHARED_PORT_FULL);
    shared_port_table_release(table, under_way[0]);
    assert_int_equal(found(7000), 0);
    for (size_t i = 1; i < SHARED_PORT_UNDER_WAY_MAX; i++)
        shared_port_table_release(table, under_way[i]);
}

static void ipv6_and_its_scopes(void **state)
{
    (void)state;
    relay = at("fe80::1", 1080);
    host = at("fe80::2", 0);
    host.v6.sin6_scope_id = 3;
    enter(0, 0);
    union netaddr from = at("fe80::2", 7000);
    from.v6.sin6_scope_id = 4;
    assert_int_equal(found_at(&relay, &from, true), -SHARED_PORT_STRANGER);
    from.v6.sin6_scope_id = 3;
    from.v6.sin6_flowinfo = 77;
    assert_int_equal(found_at(&relay, &from, true), 0);
}

#define CROWD  10000
#define ROUNDS 2000

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* What a late datagram and a client's first one cost together, while so many associations of one address wait. */
static uint64_t cost_with(size_t waiting)
{
    static struct shared_port_entry *crowd[CROWD];
    enter(0, 0);
    assert_int_equal(found(7000), 0);
    leave(0);
    for (size_t i = 0; i < waiting; i++) {
        crowd[i] = shared_port_table_add(table, &relay, &host, (uint16_t)(10000 + i), &worker, &owners[0]);
        assert_non_null(crowd[i]);
    }
    const uint64_t begun = cpu_ns();
    for (size_t i = 0; i < ROUNDS; i++) {
        const size_t last = waiting - 1 - i % 100;
        assert_int_equal(found(7000), -SHARED_PORT_OTHER_PORT);
        assert_int_equal(found((uint16_t)(10000 + last)), 0);
        shared_port_table_set_client(table, crowd[last], &(union netaddr){0}, SHARED_PORT_WAITING);
    }
    const uint64_t cost = cpu_ns() - begun;
    for (size_t i = 0; i < waiting; i++)
        shared_port_table_remove(table, crowd[i], now);
    now += 10 * SHARED_PORT_REST_MS;
    return cost;
}

/* Row 70. Walking the list made it 500 times as much. */
static void test_row70_a_crowd_that_waits_costs_no_datagram_more(void **state)
{
    (void)state;
    uint64_t few = UINT64_MAX, many = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        const uint64_t with_few = cost_with(100), with_many = cost_with(CROWD);
        few = with_few < few ? with_few : few;
        many = with_many < many ? with_many : many;
    }
    print_message("%d waiting: %.2f us for two datagrams; 100: %.2f us\n", CROWD, (double)many / ROUNDS / 1000,
                  (double)few / ROUNDS / 1000);
    assert_true(many < 10 * few);
}

/* A client whose host has temporary addresses is told from a stranger, but served no more than that. */
static void another_address_of_the_clients_network(void **state)
{
    (void)state;
    const union netaddr client = at("2001:db8:1:2::3", 7000), temporary = at("2001:db8:1:2:1234:5678:9abc:def0", 7000);
    const union netaddr elsewhere = at("2001:db8:1:3::3", 7000), relay6 = at("2001:db8::1", 1080);
    const union netaddr other_relay = at("2001:db8::2", 1080), neighbour = at("10.0.0.3", 7000);
    enter_at(0, &relay6, &client, 0);
    enter_at(1, &relay6, &client, 7001);
    enter(2, 0);
    assert_int_equal(found_at(&relay6, &temporary, true), -SHARED_PORT_OTHER_ADDRESS);
    assert_int_equal(found_at(&relay6, &elsewhere, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&other_relay, &temporary, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&relay, &neighbour, true), -SHARED_PORT_STRANGER);
    assert_int_equal(found_at(&relay6, &client, true), 0);
    leave(0);
    assert_int_equal(found_at(&relay6, &temporary, true), -SHARED_PORT_OTHER_ADDRESS);
    leave(1);
    assert_int_equal(found_at(&relay6, &temporary, true), -SHARED_PORT_STRANGER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_with_room_takes_further_ports, begin, end),
        cmocka_unit_test_setup_teardown(strangers_find_nobody, begin, end),
        cmocka_unit_test_setup_teardown(an_invalid_one_finds_no_client, begin, end),
        cmocka_unit_test_setup_teardown(without_hints_the_first_that_waits, begin, end),
        cmocka_unit_test_setup_teardown(a_named_port_goes_before_all, begin, end),
        cmocka_unit_test_setup_teardown(who_named_another_port_comes_last, begin, end),
        cmocka_unit_test_setup_teardown(a_named_port_takes_over_until_it_is_settled, begin, end),
        cmocka_unit_test_setup_teardown(who_has_been_quiet_longest_is_taken_over_first, begin, end),
        cmocka_unit_test_setup_teardown(who_was_not_answered_after_all_waits_again, begin, end),
        cmocka_unit_test_setup_teardown(late_datagrams_find_nobody_else, begin, end),
        cmocka_unit_test_setup_teardown(one_that_is_gone_meanwhile_has_no_owner, begin, end),
        cmocka_unit_test_setup_teardown(only_so_many_are_under_way, begin, end),
        cmocka_unit_test_setup_teardown(ipv6_and_its_scopes, begin, end),
        cmocka_unit_test_setup_teardown(test_row70_a_crowd_that_waits_costs_no_datagram_more, begin, end),
        cmocka_unit_test_setup_teardown(another_address_of_the_clients_network, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
