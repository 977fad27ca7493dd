#include "kernel/route_watch.h"

#include <event2/event.h>
#include <stdio.h>

#include "base/clock.h"
#include "kernel_namespace.h"

static struct event_base *base;
static struct route_watch *watch;
static bool has_namespace;
static unsigned reports;
static uint64_t reported_ms;

static void on_change(void *arg)
{
    (void)arg;
    reports++;
    reported_ms = clock_ms();
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

static void a_flood_of_changes_is_a_few_reports_and_one_after_the_last(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    settle();
    const uint64_t begun = clock_ms();
    /* More than the socket has room for. */
    for (int i = 0; i < 10; i++) {
        run("for i in $(seq 200); do echo route add 203.0.113.$i dev kp1; echo route delete 203.0.113.$i dev kp1; done "
            "| "
            "ip -force -batch - 2>/dev/null; true");
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    run("ip route add 198.18.0.0/24 via 192.0.2.2");
    const uint64_t last = clock_ms();
    wait_for_ms(3 * ROUTE_WATCH_PAUSE_MS);
    assert_true(reported_ms >= last);
    assert_in_range(reports, 1, (last - begun) / ROUTE_WATCH_PAUSE_MS + 3);
    settle();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_change_is_reported),
        cmocka_unit_test(a_flood_of_changes_is_a_few_reports_and_one_after_the_last),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
