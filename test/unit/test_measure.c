#include "test.h"

#include <string.h>

#include "base/util.h"
#include "check/measure.h"

/* A path that lets pass what is no larger than `limit`: what is found, and in how many tries. */
static unsigned search(size_t limit, size_t *found)
{
    struct size_search search = {0};
    unsigned tries = 0;
    for (size_t size; (size = size_search_next(&search)) != 0; tries++) {
        assert_true(size > search.works && size <= SIZE_MOST && (search.fails == 0 || size < search.fails));
        assert_true(tries < 40);
        size_search_tell(&search, size, size <= limit);
    }
    *found = search.works;
    return tries;
}

static void every_limit_is_found(void **state)
{
    (void)state;
    for (size_t limit = 0; limit <= 70000; limit++) {
        size_t found;
        unsigned tries = search(limit, &found);
        assert_true(tries <= 26);
        size_t most = limit < SIZE_MOST ? limit : SIZE_MOST;
        assert_true(found <= most);
        assert_true(most < 2000 ? found == most : most - found <= most / 64);
    }
}

static void what_passes_is_not_doubted(void **state)
{
    (void)state;
    struct size_search search = {0};
    size_search_tell(&search, 1000, true);
    size_search_tell(&search, 900, false); /* lost by chance: 1,000 have passed */
    assert_int_equal(search.fails, 0);
    size_search_tell(&search, 1500, false);
    size_search_tell(&search, 1600, true);
    assert_int_equal(search.works, 1000);
    assert_int_equal(search.fails, 1500);
}

static void waits_lead_to_the_bound(void **state)
{
    (void)state;
    for (unsigned bound = 10; bound <= 900; bound++) {
        unsigned waits[LIFETIME_WAITS];
        size_t count = lifetime_waits(bound, waits);
        bool two_minutes = false;
        assert_in_range(count, 1, LIFETIME_WAITS);
        assert_int_equal(waits[count - 1], bound);
        assert_true(waits[0] > 0);
        for (size_t i = 1; i < count; i++)
            assert_true(waits[i] > waits[i - 1]);
        for (size_t i = 0; i < count; i++)
            two_minutes = two_minutes || waits[i] == 120;
        assert_int_equal(two_minutes, bound >= 120);
    }
}

static void medians(void **state)
{
    (void)state;
    uint32_t none[1] = {7}, one[] = {7}, two[] = {UINT32_MAX, UINT32_MAX}, many[] = {9, 1, 5, 1000, 2};
    assert_int_equal(median(none, 0), 0);
    assert_int_equal(median(one, 1), 7);
    assert_int_equal(median(two, 2), UINT32_MAX);
    assert_int_equal(jitter(many, 5), (8 + 4 + 995 + 998) / 4);
    assert_int_equal(median(many, 5), 5);
    assert_int_equal(jitter(one, 1), 0);
    assert_int_equal(jitter(none, 0), 0);
}

static void arrivals_are_counted(void **state)
{
    (void)state;
    struct arrivals arrivals = {0};
    static const unsigned came[] = {0, 1, 3, 2, 2, 6, 6, 6, 300, 4};
    for (size_t i = 0; i < ARRAY_LEN(came); i++)
        arrivals_note(&arrivals, came[i]);
    assert_int_equal(arrivals_lost(&arrivals, 8), 2); /* 5 and 7 */
    assert_int_equal(arrivals_doubled(&arrivals, 8), 2);
    assert_int_equal(arrivals.late, 2); /* 2 and 4 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_limit_is_found),    cmocka_unit_test(what_passes_is_not_doubted),
        cmocka_unit_test(waits_lead_to_the_bound), cmocka_unit_test(medians),
        cmocka_unit_test(arrivals_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
