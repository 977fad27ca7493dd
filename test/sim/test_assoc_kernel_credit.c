/* What an association with rate limits lets the kernel relay: credit, paid in advance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"
#include "kernel_world.h"
#include "proxy/assoc/flow.h"

#define RATE  1000 /* datagrams a second */
#define BURST 200  /* what the bucket has at most */

static int begin_with_limit(void **state)
{
    begin(state);
    kernel_world_begin();
    world_config.limits.datagrams_per_association = RATE;
    return 0;
}

static void send_up(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        from_client(&server, "hello");
    while (world_next_sent())
        ;
}

static uint64_t credit(enum kernel_way way)
{
    return kernel_world_credit(way).datagrams;
}

/* How many datagrams user space lets pass at this moment. */
static uint64_t up_left(void)
{
    const uint64_t before = flow()->up_datagrams;
    send_up(2 * BURST);
    return flow()->up_datagrams - before;
}

static void it_begins_when_user_space_has_sent(void **state)
{
    (void)state;
    open_plain();
    send_up(1);
    assert_int_equal(kernel_world_slots(), 0);
    send_up(1);
    assert_true(kernel_world_setup.is_limited);
    assert_in_range(credit(KERNEL_UP), 8, BURST / 8);
    assert_int_equal(kernel_world_credit(KERNEL_UP).bytes, UINT64_MAX);
    assert_int_equal(credit(KERNEL_DOWN), 0);
    from_internet(&server, "answer");
    assert_in_range(credit(KERNEL_DOWN), 8, BURST / 8);
    assert_int_equal(up_left(), BURST - 2 - credit(KERNEL_UP));
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_NONE);
}

static void without_limits_there_is_none(void **state)
{
    (void)state;
    world_config.limits.datagrams_per_association = 0;
    open_plain();
    send_up(2);
    assert_false(kernel_world_setup.is_limited);
    assert_int_equal(credit(KERNEL_DOWN), UINT64_MAX);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(credit(KERNEL_DOWN), UINT64_MAX);
}

static void it_is_renewed_when_it_is_used_up(void **state)
{
    (void)state;
    open_plain();
    send_up(2);
    const uint64_t first = credit(KERNEL_UP);
    kernel_world_relays(KERNEL_UP, first - 1, 10, world_now_ms);
    send_up(1); /* for another reason */
    assert_int_equal(credit(KERNEL_UP), 1);
    kernel_world_relays(KERNEL_UP, 1, 10, world_now_ms);
    send_up(1);
    const uint64_t second = credit(KERNEL_UP);
    assert_in_range(second, 8, first);
    assert_int_equal(up_left(), BURST - 4 - first - second);
    kernel_world_relays(KERNEL_UP, second, 10, world_now_ms);
    send_up(1);
    assert_int_equal(credit(KERNEL_UP), 0); /* nothing is left */
    pass(1000);
    send_up(1);
    assert_in_range(credit(KERNEL_UP), 8, BURST / 8);
}

/* Empty runs, and others' datagrams, are no reason. */
static void other_senders_get_no_credit(void **state)
{
    (void)state;
    uint8_t bytes[64];
    union netaddr other = addr("10.0.0.2", 7001);
    open_plain();
    send_up(2);
    kernel_world_relays(KERNEL_UP, credit(KERNEL_UP), 10, world_now_ms);
    (void)world_arrive(&other, &flow()->relay, bytes, wrap(bytes, &server, "not mine"));
    world_run();
    assert_int_equal(credit(KERNEL_UP), 0);
}

static void each_second_it_returns_and_is_given_anew(void **state)
{
    (void)state;
    open_plain();
    send_up(2);
    const uint64_t first = credit(KERNEL_UP);
    kernel_world_relays(KERNEL_UP, 3, 30, world_now_ms);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_in_range(credit(KERNEL_UP), first - 1, first);
    assert_int_equal(credit(KERNEL_DOWN), 0);
    assert_int_equal(up_left(), BURST - 2 - 3 - credit(KERNEL_UP));
}

static void unused_credit_returns_after_a_second(void **state)
{
    (void)state;
    open_plain();
    send_up(2);
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(credit(KERNEL_UP), 0);
    const uint64_t passed = up_left(); /* the first of them brings credit again */
    assert_int_equal(passed + credit(KERNEL_UP), BURST - 2);
}

static void it_returns_when_the_slot_ends(void **state)
{
    (void)state;
    open_plain();
    send_up(2);
    kernel_world_relays(KERNEL_UP, 5, 50, world_now_ms);
    assoc_leave_kernel(assoc);
    assert_int_equal(up_left(), BURST - 2 - 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_limit, end)
    const struct CMUnitTest tests[] = {
        TEST(it_begins_when_user_space_has_sent),
        TEST(without_limits_there_is_none),
        TEST(it_is_renewed_when_it_is_used_up),
        TEST(other_senders_get_no_credit),
        TEST(each_second_it_returns_and_is_given_anew),
        TEST(unused_credit_returns_after_a_second),
        TEST(it_returns_when_the_slot_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
