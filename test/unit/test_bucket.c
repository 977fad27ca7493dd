#include "policy/bucket.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "test.h"

static uint64_t seed;

static uint64_t below(uint64_t limit)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (seed >> 33) % limit;
}

static bool take(struct bucket *bucket, uint64_t amount, uint64_t now_ms)
{
    bool left = bucket_left(bucket, now_ms) >= amount;
    if (left)
        bucket_spend(bucket, amount, now_ms);
    return left;
}

static void without_a_rate_there_is_always_enough(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    bucket_spend(&bucket, UINT64_MAX, 5);
    assert_true(bucket_left(&bucket, 5) == UINT64_MAX);
}

static void it_begins_full_and_fills_with_time(void **state)
{
    (void)state;
    struct bucket bucket = {.rate = 1000, .burst = 100};
    assert_int_equal(bucket_left(&bucket, 77777), 100);
    bucket_spend(&bucket, 100, 77777);
    assert_int_equal(bucket_left(&bucket, 77777), 0);
    assert_int_equal(bucket_left(&bucket, 77778), 1);
    assert_int_equal(bucket_left(&bucket, 77877), 100);
    assert_int_equal(bucket_left(&bucket, 99999999), 100);
}

static void a_debt_is_paid_before_anything_is_left(void **state)
{
    (void)state;
    struct bucket bucket = {.rate = 1000, .burst = 100};
    bucket_spend(&bucket, 350, 1000);
    assert_int_equal(bucket_left(&bucket, 1250), 0);
    assert_int_equal(bucket_left(&bucket, 1260), 10);
}

/* A thread may be a moment behind the one that spent last. */
static void an_earlier_moment_finds_nothing_more(void **state)
{
    (void)state;
    struct bucket bucket = {.rate = 1000, .burst = 100};
    bucket_spend(&bucket, 100, 5000);
    assert_int_equal(bucket_left(&bucket, 4000), 0);
    bucket_spend(&bucket, 10, 4000);
    assert_int_equal(bucket_left(&bucket, 5010), 0);
    assert_int_equal(bucket_left(&bucket, 5011), 1);
}

static void no_rate_and_no_time_is_too_large(void **state)
{
    (void)state;
    const uint64_t decades = UINT64_C(40) * 365 * 24 * 3600 * 1000;
    struct bucket bucket = {.rate = BUCKET_RATE_MAX, .burst = BUCKET_RATE_MAX};
    bucket_spend(&bucket, BUCKET_RATE_MAX, decades);
    assert_int_equal(bucket_left(&bucket, decades), 0);
    assert_int_equal(bucket_left(&bucket, decades + 500), BUCKET_RATE_MAX / 2);
}

/* Between any two moments no more passes than rate * time + burst, and whoever asks all the time gets all of that. */
static void never_more_than_the_rate_and_the_burst(void **state)
{
    (void)state;
    enum { MOMENTS = 400 };
    static uint64_t at[MOMENTS], passed[MOMENTS];
    for (int round = 0; round < 200; round++) {
        seed = (uint64_t)round;
        struct bucket bucket = {.rate = 1 + below(1 << below(30)), .burst = 1 + below(1 << below(20))};
        uint64_t now = below(1 << 30), asked = 0, got = 0;
        for (int i = 0; i < MOMENTS; i++) {
            now += below(20);
            at[i] = now;
            passed[i] = 0;
            uint64_t amount = 1 + below(bucket.burst);
            asked += amount;
            while (below(4) && take(&bucket, amount, now))
                passed[i] += amount;
            got += passed[i];
        }
        for (int from = 0; from < MOMENTS; from += 7) {
            uint64_t sum = 0;
            for (int to = from; to < MOMENTS; to++) {
                sum += passed[to];
                uint64_t earned = bucket_earned(&bucket, at[to]) - bucket_earned(&bucket, at[from]);
                assert_true(sum <= earned + bucket.burst);
            }
        }
        assert_true(got > 0 && asked > 0);
    }
}

/* A flow that keeps to the rate loses nothing, however its moments are grouped within the time that the burst is worth;
 * the clock moves in steps of ten milliseconds. */
static void a_paced_flow_never_loses(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        seed = (uint64_t)round;
        const uint64_t size = 1 + below(65507), rate = size + below(100 * size), burst = size + rate / 5;
        struct bucket bucket = {.rate = rate, .burst = burst};
        const uint64_t start = below(1 << 20);
        uint64_t sent = 0;
        for (uint64_t ms = 0; ms < 20000;) {
            uint64_t clock = (start + ms) / 10 * 10;
            /* All that a steady sender would have sent by now, at once. */
            for (; (sent + 1) * size * 1000 <= rate * ms; sent++)
                assert_true(take(&bucket, size, clock));
            ms += 1 + below(190);
        }
        assert_true(sent > 0);
    }
}

static void whoever_asks_all_the_time_gets_all(void **state)
{
    (void)state;
    struct bucket bucket = {.rate = 123457, .burst = 25000};
    uint64_t got = 0;
    for (uint64_t now = 0; now <= 10000; now += 1 + now % 90) {
        uint64_t left = bucket_left(&bucket, now);
        bucket_spend(&bucket, left, now);
        got += left;
    }
    assert_in_range(got, 25000 + 9 * 123457, 25000 + 10 * 123457);
}

/* ---- threads ---- */

enum { THREADS = 4, PIECE = 100 };
static struct bucket common = {.rate = 1000000, .burst = 10000};
static atomic_uint_fast64_t common_clock;

static void *spend_all(void *arg)
{
    uint64_t *got = arg;
    for (uint64_t now; (now = atomic_load(&common_clock)) < 2000;)
        if (take(&common, PIECE, now))
            *got += PIECE;
    return NULL;
}

/* Threads that look at the same moment may owe a piece each, and no more. */
static void threads_share_it(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t got[THREADS] = {0}, sum = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend_all, &got[i]), 0);
    for (uint64_t turns = 0; atomic_load(&common_clock) < 2000; turns++)
        if (turns % 1000 == 0)
            atomic_fetch_add(&common_clock, 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += got[i];
    }
    while (take(&common, PIECE, 2000)) /* what they left, for they may not have had the time */
        sum += PIECE;
    assert_in_range(sum, common.burst, 2 * common.rate + common.burst + (THREADS - 1) * PIECE);
    uint64_t spent = atomic_load(&common.spent);
    assert_true(spent >= sum); /* none was forgotten */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_there_is_always_enough),
        cmocka_unit_test(it_begins_full_and_fills_with_time),
        cmocka_unit_test(a_debt_is_paid_before_anything_is_left),
        cmocka_unit_test(an_earlier_moment_finds_nothing_more),
        cmocka_unit_test(no_rate_and_no_time_is_too_large),
        cmocka_unit_test(never_more_than_the_rate_and_the_burst),
        cmocka_unit_test(a_paced_flow_never_loses),
        cmocka_unit_test(whoever_asks_all_the_time_gets_all),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
