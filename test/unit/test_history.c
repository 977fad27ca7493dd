#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/history.h"

static struct metrics totals;
static struct history *history;

static int begin(void **state)
{
    (void)state;
    totals = (struct metrics){.stream_up_bytes_total = 1000000}; /* from before it began */
    history = history_new(7000, &totals);
    assert_non_null(history);
    return 0;
}

static int end(void **state)
{
    (void)state;
    history_free(history);
    return 0;
}

static void sample_at(uint64_t now_ms, uint64_t bytes)
{
    totals.stream_up_bytes_total += bytes;
    history_sample(history, now_ms, &totals);
}

/* One field of all samples: expect_samples("lookups", 2, {1, 0}). */
#define expect_samples(name, count, ...) expect_samples_(name, count, (const json_int_t[])__VA_ARGS__)
static void expect_samples_(const char *name, size_t count, const json_int_t *values)
{
    char *text = history_json(history);
    assert_non_null(text);
    json_t *json = json_loads(text, 0, NULL), *fields = json_object_get(json, "fields"),
           *samples = json_object_get(json, "samples");
    size_t field = 0;
    while (strcmp(json_string_value(json_array_get(fields, field)), name) != 0)
        assert_true(++field < json_array_size(fields));
    assert_int_equal(json_integer_value(json_object_get(json, "period_seconds")), 5);
    assert_int_equal(json_array_size(samples), count);
    for (size_t i = 0; i < count; i++) {
        const json_t *sample = json_array_get(samples, i);
        assert_int_equal(json_array_size(sample), json_array_size(fields));
        assert_int_equal(json_integer_value(json_array_get(sample, field)), values[i]);
    }
    json_decref(json);
    free(text);
}

static void empty_at_first(void **state)
{
    (void)state;
    expect_samples("lookups", 0, {0});
    history_sample(history, 7000, &totals);
    expect_samples("lookups", 0, {0});
}

static void each_period_has_its_traffic(void **state)
{
    (void)state;
    sample_at(12000, 10);
    sample_at(17000, 0);
    sample_at(22000, 30);
    expect_samples("stream_up_bytes", 3, {10, 0, 30});
    expect_samples("stream_down_bytes", 3, {0, 0, 0});
}

static void a_timer_is_never_quite_on_time(void **state)
{
    (void)state;
    sample_at(11999, 1);
    sample_at(17080, 2);
    sample_at(21996, 3);
    sample_at(22004, 100); /* and one too many changes nothing */
    sample_at(27000, 4);
    expect_samples("stream_up_bytes", 4, {1, 2, 3, 104});
}

/* The time is that of the clock, not of the calls. */
static void a_late_timer_does_not_stretch_time(void **state)
{
    (void)state;
    json_int_t expected[101];
    for (uint64_t i = 1; i <= 100; i++)
        sample_at(7000 + i * 5050, 10);
    for (size_t i = 0; i < 101; i++)
        expected[i] = i == 49 || i == 50 ? 5 : 10; /* where the calls fall behind by one */
    expect_samples_("stream_up_bytes", 101, expected);
}

/* A machine that slept, or a process that was stopped: no spike, and nothing is lost. */
static void missed_periods_share_the_traffic(void **state)
{
    (void)state;
    sample_at(12000, 10);
    sample_at(27000, 100);
    sample_at(32000, 7);
    expect_samples("stream_up_bytes", 5, {10, 33, 33, 34, 7});
}

static void only_ten_minutes_are_kept(void **state)
{
    (void)state;
    json_int_t expected[HISTORY_SAMPLES];
    for (uint64_t i = 1; i <= 300; i++)
        sample_at(7000 + i * 5000, i);
    for (size_t i = 0; i < HISTORY_SAMPLES; i++)
        expected[i] = (json_int_t)(181 + i);
    expect_samples_("stream_up_bytes", HISTORY_SAMPLES, expected);
    sample_at(7000 + 300 * 5000 + (uint64_t)1000 * 24 * 3600 * 1000, 17280000); /* a thousand days */
    for (size_t i = 0; i < HISTORY_SAMPLES; i++)
        expected[i] = 1;
    expect_samples_("stream_up_bytes", HISTORY_SAMPLES, expected);
}

static void fields_are_not_mixed_up(void **state)
{
    (void)state;
    totals.stream_down_bytes_total = 2;
    totals.udp_up_bytes_total = 3;
    totals.udp_down_bytes_total = 4;
    totals.udp_up_datagrams_total = 5;
    totals.udp_down_datagrams_total = 6;
    totals.udp_dropped_total[0] = 7;
    totals.udp_dropped_total[DROP_REASON_COUNT - 1] = 70;
    totals.lookups_total = 8;
    totals.lookups_failed_total = 9;
    sample_at(12000, 1);
    expect_samples("stream_up_bytes", 1, {1});
    expect_samples("stream_down_bytes", 1, {2});
    expect_samples("udp_up_bytes", 1, {3});
    expect_samples("udp_down_bytes", 1, {4});
    expect_samples("udp_up_datagrams", 1, {5});
    expect_samples("udp_down_datagrams", 1, {6});
    expect_samples("dropped", 1, {77});
    expect_samples("lookups", 1, {8});
    expect_samples("lookups_failed", 1, {9});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(empty_at_first),
        TEST(each_period_has_its_traffic),
        TEST(a_timer_is_never_quite_on_time),
        TEST(a_late_timer_does_not_stretch_time),
        TEST(missed_periods_share_the_traffic),
        TEST(only_ten_minutes_are_kept),
        TEST(fields_are_not_mixed_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
