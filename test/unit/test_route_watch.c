#include "kernel/route_watch.h"

#include <event2/event.h>

#include "base/clock.h"
#include "kernel_namespace.h"

static struct event_base *base;
static struct route_watch *watch;
static bool has_namespace;
static unsigned reports;

static void on_change(void *arg)
{
    (void)arg;
    reports++;
}

static int begin(void **state)
{
    (void)state;
    has_namespace = namespace_enter();
    base = event_base_new();
    watch = base ? route_watch_new(base, on_change, NULL) : NULL;
    return watch ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    route_watch_free(watch);
    event_base_free(base);
    return 0;
}

static void wait_for_ms(uint64_t ms)
{
    const struct timeval time = timeval_from_ms(ms);
    event_base_loopexit(base, &time);
    event_base_dispatch(base);
}

/* Until nothing more comes. */
static void settle(void)
{
    do
        reports = 0, wait_for_ms(5 * ROUTE_WATCH_PAUSE_MS);
    while (reports > 0);
}

static void each_kind_of_change_is_reported(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    static const char *const commands[] = {
        "ip link set kp0 mtu 1400",
        "ip address add 192.0.5.1/24 dev kp0",
        "ip -6 address add 2001:db8:9::1/64 dev kp0 nodad",
        "ip route add 198.51.100.0/24 via 192.0.2.2",
        "ip -6 route add 2001:db8:a::/48 via 2001:db8::2",
        "ip rule add from 192.0.5.1 lookup 100",
        "ip -6 rule add from 2001:db8:9::1 lookup 100",
        "ip nexthop add id 7 via 192.0.2.3 dev kp0",
        "ip neigh replace fe80::9 dev kp0 router lladdr 2:0:0:0:0:9 nud reachable; ip neigh delete fe80::9 dev kp0",
        "ip link delete kp0",
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        settle();
        run(commands[i]);
        wait_for_ms(ROUTE_WATCH_PAUSE_MS);
        if (reports == 0)
            fail_msg("not reported: %s", commands[i]);
    }
    run("ip link add kp0 type veth peer name kp1");
    run("ip address add 192.0.2.1/24 dev kp0");
    run("ip link set kp0 up");
}

static void other_news_of_neighbors_are_not(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    settle();
    run("ip neigh replace fe80::8 dev kp0 router lladdr 2:0:0:0:0:8 nud reachable");
    run("ip neigh replace 192.0.2.9 dev kp0 lladdr 2:0:0:0:0:9 nud reachable; ip neigh delete 192.0.2.9 dev kp0");
    wait_for_ms(2 * ROUTE_WATCH_PAUSE_MS);
    assert_int_equal(reports, 0);
}

static void the_last_of_several_changes_is_reported(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    settle();
    run("ip route add 198.18.0.0/24 via 192.0.2.2");
    wait_for_ms(5);
    assert_int_equal(reports, 1);
    run("ip route delete 198.18.0.0/24");
    wait_for_ms(3 * ROUTE_WATCH_PAUSE_MS);
    assert_int_equal(reports, 2);
}

static void many_changes_are_few_reports(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    settle();
    const uint64_t begun = clock_ms();
    for (int i = 0; i < 20; i++) {
        run("ip route add 198.18.0.0/24 via 192.0.2.2; ip route delete 198.18.0.0/24");
        wait_for_ms(1);
    }
    assert_in_range(reports, 1, (clock_ms() - begun) / ROUTE_WATCH_PAUSE_MS + 2);
}

static void more_than_the_socket_has_room_for_is_reported(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    settle();
    run("for i in $(seq 3000); do echo route add 198.18.0.0/24 via 192.0.2.2; echo route delete 198.18.0.0/24; done | "
        "ip -batch -");
    wait_for_ms(5);
    assert_in_range(reports, 1, 2);
    settle();
    run("ip route add 198.18.0.0/24 via 192.0.2.2"); /* it still watches */
    wait_for_ms(5);
    assert_int_equal(reports, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_change_is_reported),
        cmocka_unit_test(other_news_of_neighbors_are_not),
        cmocka_unit_test(the_last_of_several_changes_is_reported),
        cmocka_unit_test(many_changes_are_few_reports),
        cmocka_unit_test(more_than_the_socket_has_room_for_is_reported),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
