#include "test.h"

#include <stdio.h>

#include "policy/throttle.h"

static union netaddr at(const char *host)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, 1234));
    return addr;
}

static void fails(struct throttle *throttle, const char *host, uint64_t now, int times)
{
    union netaddr addr = at(host);
    while (times-- > 0)
        throttle_fail(throttle, &addr, now);
}

static bool blocks(const struct throttle *throttle, const char *host, uint64_t now)
{
    union netaddr addr = at(host);
    return throttle_blocks(throttle, THROTTLE_ADDRESS, &addr, now);
}

static void so_many_are_free(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(10);
    assert_false(blocks(throttle, "192.0.2.1", 1000));
    fails(throttle, "192.0.2.1", 1000, 9);
    assert_false(blocks(throttle, "192.0.2.1", 1000));
    fails(throttle, "192.0.2.1", 1000, 1);
    assert_true(blocks(throttle, "192.0.2.1", 1000));
    assert_false(blocks(throttle, "192.0.2.2", 1000));
    throttle_free(throttle);
}

static void time_makes_up_for_failures(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(10);
    fails(throttle, "192.0.2.1", 1000, 10);
    assert_true(blocks(throttle, "192.0.2.1", 6999));
    assert_false(blocks(throttle, "192.0.2.1", 7000));
    fails(throttle, "192.0.2.1", 7000, 1);
    assert_true(blocks(throttle, "192.0.2.1", 7000));
    fails(throttle, "192.0.2.1", 200000, 9); /* long after: all ten again, and no more */
    assert_false(blocks(throttle, "192.0.2.1", 200000));
    fails(throttle, "192.0.2.1", 200000, 1);
    assert_true(blocks(throttle, "192.0.2.1", 200000));
    throttle_free(throttle);
}

static void another_limit_counts_from_then_on(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(1);
    fails(throttle, "192.0.2.1", 1000, 3);
    assert_true(blocks(throttle, "192.0.2.1", 1000));
    throttle_set(throttle, 0);
    assert_false(blocks(throttle, "192.0.2.1", 1000));
    throttle_set(throttle, 2);
    assert_true(blocks(throttle, "192.0.2.1", 1000)); /* what has failed stays so */
    fails(throttle, "192.0.2.2", 1000, 1);
    assert_false(blocks(throttle, "192.0.2.2", 1000));
    fails(throttle, "192.0.2.2", 1000, 1);
    assert_true(blocks(throttle, "192.0.2.2", 1000));
    throttle_free(throttle);
}

static void a_subscriber_is_one(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(2);
    fails(throttle, "2001:db8:1:2::1", 0, 1);
    fails(throttle, "2001:db8:1:2:ffff::9", 0, 1);
    assert_true(blocks(throttle, "2001:db8:1:2:a:b:c:d", 0));
    assert_false(blocks(throttle, "2001:db8:1:3::1", 0));
    fails(throttle, "192.0.2.1", 0, 1);
    fails(throttle, "::ffff:192.0.2.1", 0, 1);
    assert_true(blocks(throttle, "192.0.2.1", 0));
    assert_false(blocks(throttle, "c000:201::", 0)); /* the same first bytes */
    throttle_free(throttle);
}

static bool blocks_network(const struct throttle *throttle, const char *host, uint64_t now)
{
    union netaddr addr = at(host);
    return throttle_blocks(throttle, THROTTLE_NETWORK, &addr, now);
}

/* Row 49: whoever has many addresses fails with each of them as often as is free, and with all of them a few times
 * that. */
static void row_49_a_network_is_one_as_well(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(2);
    for (int i = 1; i < 2 * THROTTLE_NETWORK_TIMES; i++) {
        char v4[32], v6[32];
        snprintf(v4, sizeof(v4), "192.0.2.%d", i);
        snprintf(v6, sizeof(v6), "2001:db8:1:%x::1", (unsigned)i);
        fails(throttle, v4, 0, 1);
        fails(throttle, v6, 0, 1);
    }
    assert_false(blocks_network(throttle, "192.0.2.200", 0));
    assert_false(blocks_network(throttle, "2001:db8:1:ffff::1", 0));
    fails(throttle, "::ffff:192.0.2.1", 0, 1);
    fails(throttle, "2001:db8:1::1", 0, 1);
    assert_true(blocks_network(throttle, "192.0.2.200", 0));
    assert_true(blocks_network(throttle, "2001:db8:1:ffff::1", 0));
    assert_false(blocks(throttle, "192.0.2.0", 0)); /* by itself it has not failed */
    assert_false(blocks(throttle, "2001:db8:1:ffff::1", 0));
    assert_false(blocks_network(throttle, "192.0.3.1", 0));
    assert_false(blocks_network(throttle, "2001:db8:2::1", 0));
    assert_false(blocks_network(throttle, "192.0.2.200", 60000 / 2 / THROTTLE_NETWORK_TIMES));
    throttle_free(throttle);
}

static void off_is_off(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(0);
    fails(throttle, "192.0.2.1", 0, 1000);
    assert_false(blocks(throttle, "192.0.2.1", 0));
    throttle_free(throttle);
    throttle_free(NULL);
}

/* Strangers have many addresses; those that go on failing are not forgotten for them. */
static void the_table_is_bounded(void **state)
{
    (void)state;
    struct throttle *throttle = throttle_new(1);
    fails(throttle, "192.0.2.1", 0, 1);
    fails(throttle, "192.0.2.2", 0, 1);
    for (int i = 0; i < THROTTLE_ADDRESSES_MAX - 4; i++) { /* these two, their network and the others' */
        char host[32];
        snprintf(host, sizeof(host), "2001:db8:1:%x::1", (unsigned)i);
        fails(throttle, host, 0, 1);
    }
    assert_true(blocks(throttle, "192.0.2.1", 0));
    fails(throttle, "192.0.2.1", 0, 1);
    fails(throttle, "198.51.100.1", 0, 1);
    assert_false(blocks(throttle, "192.0.2.2", 0));
    assert_true(blocks(throttle, "192.0.2.1", 0));
    assert_true(blocks(throttle, "198.51.100.1", 0));
    throttle_free(throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_are_free),
        cmocka_unit_test(time_makes_up_for_failures),
        cmocka_unit_test(another_limit_counts_from_then_on),
        cmocka_unit_test(a_subscriber_is_one),
        cmocka_unit_test(row_49_a_network_is_one_as_well),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
