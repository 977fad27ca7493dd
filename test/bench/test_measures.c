/* What the load generator's own verdicts rest on: percentiles, and payloads that know what they are. */
#include "unit/test.h"

#include "histogram.h"
#include "payload.h"

static void within_3_percent(uint64_t found, uint64_t expected)
{
    assert_in_range(found, expected - expected * 3 / 100, expected + expected * 3 / 100);
}

static void percentiles_are_close(void **state)
{
    (void)state;
    static struct histogram histogram;
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_add(&histogram, i * 1000);
    within_3_percent(histogram_percentile(&histogram, .5), 500000);
    within_3_percent(histogram_percentile(&histogram, .99), 990000);
    within_3_percent(histogram_percentile(&histogram, 1), 1000000);
}

static void every_value_has_its_bucket(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 31, 32, 33, 63, 64, 65, 1 << 20, UINT64_C(1) << 40, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        static struct histogram histogram;
        histogram = (struct histogram){0};
        histogram_add(&histogram, values[i]);
        uint64_t found = histogram_percentile(&histogram, .5), off = values[i] / 32;
        assert_true(found >= values[i] - off && found - off <= values[i]);
    }
}

static void no_samples_no_percentile(void **state)
{
    (void)state;
    static struct histogram histogram;
    assert_int_equal(histogram_percentile(&histogram, .5), 0);
}

static void a_payload_is_what_was_written(void **state)
{
    (void)state;
    uint8_t payload[200];
    struct stamp stamp = {.association = 5, .slot = 7, .generation = 11, .target = 2, .sent_ns = 99}, read;
    payload_write(payload, sizeof(payload), &stamp);
    assert_int_equal(payload_check(payload, sizeof(payload), &read), PAYLOAD_GOOD);
    assert_memory_equal(&read, &stamp, sizeof(stamp));
}

/* The run number is the one part whose change means another run, not another payload. */
static void any_changed_byte_is_noticed(void **state)
{
    (void)state;
    uint8_t payload[200];
    struct stamp stamp = {.association = 5, .slot = 7, .generation = 11}, read;
    payload_write(payload, sizeof(payload), &stamp);
    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] ^= 1;
        enum payload_verdict verdict = payload_check(payload, sizeof(payload), &read);
        if (verdict == PAYLOAD_GOOD)
            assert_memory_not_equal(&read, &stamp, sizeof(stamp));
        assert_int_equal(verdict == PAYLOAD_STRAY, i >= 4 && i < 8);
        payload[i] ^= 1;
    }
    assert_int_equal(payload_check(payload, sizeof(payload) - 1, &read), PAYLOAD_BROKEN);
    assert_int_equal(payload_check(payload, PAYLOAD_MIN - 1, &read), PAYLOAD_BROKEN);
}

static void a_stream_is_its_position(void **state)
{
    (void)state;
    static const uint64_t positions[] = {0, 1, 999999, 1000003, UINT64_C(1) << 33};
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        assert_true(payload_stream_check(positions[i], payload_stream(positions[i]), PAYLOAD_PIECE));
        assert_false(payload_stream_check(positions[i] + 1, payload_stream(positions[i]), PAYLOAD_PIECE));
        assert_false(payload_stream_check(positions[i] + 1000, payload_stream(positions[i]), PAYLOAD_PIECE));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_close),       cmocka_unit_test(every_value_has_its_bucket),
        cmocka_unit_test(no_samples_no_percentile),    cmocka_unit_test(a_payload_is_what_was_written),
        cmocka_unit_test(any_changed_byte_is_noticed), cmocka_unit_test(a_stream_is_its_position),
    };
    payload_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
