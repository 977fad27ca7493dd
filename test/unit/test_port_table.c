#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "net/port_table.h"

enum { REST_S = 120 };

static uint32_t dice_state = 1;

static uint32_t dice(void)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 17;
    return dice_state ^= dice_state << 5;
}

static struct port_time at(uint32_t now_s)
{
    return (struct port_time){now_s, REST_S};
}

static uint16_t take(struct port_table *table, uint32_t now_s, bool early)
{
    uint16_t port;
    bool was_early;
    assert_int_equal(port_table_take(table, at(now_s), dice(), &port, &was_early), 0);
    assert_int_equal(was_early, early);
    return port;
}

static void expect_none(struct port_table *table, uint32_t now_s)
{
    uint16_t port;
    bool early;
    assert_int_equal(port_table_take(table, at(now_s), dice(), &port, &early), -EADDRINUSE);
}

/* Whatever the dice say, each port is given once; then there are none. */
static void each_port_is_given_once(void **state)
{
    (void)state;
    static const uint16_t sizes[] = {1, 2, 3, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct port_table *table = port_table_new(30000, (uint16_t)(30000 + sizes[i] - 1));
        bool given[1000] = {false};
        for (uint16_t k = 0; k < sizes[i]; k++) {
            const uint16_t port = take(table, 5000, false);
            assert_in_range(port, 30000, 30000 + sizes[i] - 1);
            assert_false(given[port - 30000]);
            given[port - 30000] = true;
        }
        expect_none(table, 5000);
        port_table_free(table);
    }
}

static void all_numbers_are_a_range(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(0, UINT16_MAX);
    assert_int_equal(port_table_total(table), 65536);
    for (uint32_t i = 0; i < 65536; i++)
        (void)take(table, 5000, false);
    expect_none(table, 5000);
    for (uint32_t i = 0; i < 65536; i++)
        port_table_put(table, at(5000), (uint16_t)i, i % 2 ? 5000 : 0);
    assert_int_equal(port_table_used(table), 0);
    assert_int_equal(port_table_resting(table, at(5000)), 32768);
    port_table_free(table);
}

/* Row 11: what was used a moment ago is not given to somebody else, while there are others. */
static void a_port_rests(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 30001);
    const uint16_t first = take(table, 5000, false);
    port_table_put(table, at(5000), first, 5000);
    assert_int_equal(port_table_resting(table, at(5119)), 1);
    assert_int_not_equal(take(table, 5119, false), first);
    assert_int_equal(take(table, 5120, false), first);
    expect_none(table, 5120);
    port_table_free(table);
}

/* Row 63. */
static void a_port_that_carried_nothing_does_not_rest(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 30001);
    for (int i = 0; i < 1000; i++)
        port_table_put(table, at(5000), take(table, 5000, false), 0);
    assert_int_equal(port_table_resting(table, at(5000)), 0);
    port_table_free(table);
}

/* Row 63: when none has rested, the one that has rested longest. */
static void the_longest_rested_is_the_last_resort(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 30009);
    uint16_t order[10];
    for (int i = 0; i < 10; i++)
        order[i] = take(table, 5000, false);
    for (uint32_t i = 0; i < 10; i++)
        port_table_put(table, at(5000 + i), order[i], 5000 + i);
    for (int i = 0; i < 10; i++)
        assert_int_equal(take(table, 5050, true), order[i]);
    expect_none(table, 5050);
    port_table_free(table);
}

/* One that was quiet for long before it came back may be given at once. */
static void what_has_been_quiet_has_rested(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 30001);
    const uint16_t quiet = take(table, 5000, false), busy = take(table, 5000, false);
    port_table_put(table, at(9000), busy, 9000);
    port_table_put(table, at(9000), quiet, 5000);
    assert_int_equal(take(table, 9000, false), quiet);
    port_table_free(table);
}

static void a_port_may_be_asked_for(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 30199);
    assert_int_equal(port_table_take_one(table, at(5000), 30150), 0);
    assert_int_equal(port_table_take_one(table, at(5000), 30150), -EADDRINUSE);
    port_table_put(table, at(5000), 30150, 5000);
    assert_int_equal(port_table_take_one(table, at(5001), 30150), -EADDRINUSE);
    assert_int_equal(port_table_take_one(table, at(5120), 30150), 0);
    for (int i = 0; i < 199; i++)
        assert_int_not_equal(take(table, 5120, false), 30150);
    expect_none(table, 5120);
    port_table_free(table);
}

/* RFC 6056: a number that was seen tells nothing about the next one. */
static void numbers_are_not_in_order(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(30000, 39999);
    int ascending = 0, halves[2] = {0};
    uint16_t before = 0;
    for (int i = 0; i < 1000; i++) {
        const uint16_t port = take(table, 5000, false);
        ascending += port == before + 1;
        halves[port >= 35000]++;
        before = port;
    }
    assert_true(ascending < 20);
    assert_true(halves[0] > 300 && halves[1] > 300);
    port_table_free(table);
}

/* Against a model that walks through all ports. */
static void it_does_what_a_list_would(void **state)
{
    (void)state;
    enum { COUNT = 70, STEPS = 60000 };
    struct port_table *table = port_table_new(100, 100 + COUNT - 1);
    bool used[COUNT] = {false};
    uint32_t quiet_from[COUNT] = {0}, now = 1000;
    for (int step = 0; step < STEPS; step++) {
        const uint32_t what = dice() % 16;
        uint32_t rested = 0, resting = 0, oldest = UINT32_MAX;
        now += what == 0;
        for (int i = 0; i < COUNT; i++) {
            const bool has_rested = quiet_from[i] == 0 || quiet_from[i] + REST_S <= now;
            rested += !used[i] && has_rested;
            resting += !used[i] && !has_rested;
            if (!used[i] && quiet_from[i] < oldest)
                oldest = quiet_from[i];
        }
        assert_int_equal(port_table_resting(table, at(now)), resting);
        assert_int_equal(port_table_used(table), COUNT - rested - resting);
        const uint32_t any = dice() % COUNT;
        if (used[any] && (what >= 8 || rested + resting == 0)) {
            quiet_from[any] = dice() % 3 ? now : 0;
            port_table_put(table, at(now), (uint16_t)(100 + any), quiet_from[any]);
            used[any] = false;
        } else if (rested + resting > 0) {
            const int port = take(table, now, rested == 0) - 100;
            assert_false(used[port]);
            if (rested)
                assert_true(quiet_from[port] == 0 || quiet_from[port] + REST_S <= now);
            else
                assert_int_equal(quiet_from[port], oldest);
            used[port] = true;
        }
    }
    port_table_free(table);
}

/* 10,000 addresses, one port of each. */
static void a_table_that_is_hardly_used_is_small(void **state)
{
    (void)state;
    struct port_table *table = port_table_new(32768, 60999);
    (void)take(table, 5000, false);
    assert_true(port_table_memory(table) < 8192);
    port_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_port_is_given_once),
        cmocka_unit_test(all_numbers_are_a_range),
        cmocka_unit_test(a_port_rests),
        cmocka_unit_test(a_port_that_carried_nothing_does_not_rest),
        cmocka_unit_test(the_longest_rested_is_the_last_resort),
        cmocka_unit_test(what_has_been_quiet_has_rested),
        cmocka_unit_test(a_port_may_be_asked_for),
        cmocka_unit_test(numbers_are_not_in_order),
        cmocka_unit_test(it_does_what_a_list_would),
        cmocka_unit_test(a_table_that_is_hardly_used_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
