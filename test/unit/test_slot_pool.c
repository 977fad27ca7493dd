#include "kernel/slot_pool.h"

#include "test.h"

#define SLOTS 3

static struct slot_pool *pool;

static int begin(void **state)
{
    (void)state;
    pool = slot_pool_new(SLOTS);
    return pool ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    slot_pool_free(pool);
    return 0;
}

static void each_slot_is_given_once(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(slot_pool_take(pool, 0), i);
    assert_int_equal(slot_pool_take(pool, 0), SLOT_POOL_NONE);
    assert_int_equal(slot_pool_used(pool), SLOTS);
}

static void a_slot_rests_before_its_next_use(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++)
        slot_pool_take(pool, 0);
    slot_pool_give(pool, 1, 500);
    assert_int_equal(slot_pool_used(pool), SLOTS - 1);
    assert_int_equal(slot_pool_take(pool, 500 + SLOT_POOL_REST_MS - 1), SLOT_POOL_NONE);
    assert_int_equal(slot_pool_take(pool, 500 + SLOT_POOL_REST_MS), 1);
}

static void the_slot_that_has_rested_longest_is_next(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SLOTS; i++)
        slot_pool_take(pool, 0);
    slot_pool_give(pool, 2, 10);
    slot_pool_give(pool, 0, 20);
    slot_pool_give(pool, 1, 30);
    assert_int_equal(slot_pool_take(pool, 5000), 2);
    slot_pool_give(pool, 2, 5000);
    assert_int_equal(slot_pool_take(pool, 5001), 0);
    assert_int_equal(slot_pool_take(pool, 5001), 1);
    assert_int_equal(slot_pool_take(pool, 5001), SLOT_POOL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_slot_is_given_once, begin, end),
        cmocka_unit_test_setup_teardown(a_slot_rests_before_its_next_use, begin, end),
        cmocka_unit_test_setup_teardown(the_slot_that_has_rested_longest_is_next, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
