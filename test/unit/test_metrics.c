#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/metrics.h"
#include "support/bytes.h"

/* A different value for every counter, so that two that are mixed up show. */
static void fill(struct metrics *metrics, uint64_t start)
{
#define X(name, help) metrics_add(&metrics->name, start++);
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        metrics_add(&metrics->udp_dropped_total[i], start++);
}

static void a_sum_holds_every_counter_of_every_part(void **state)
{
    (void)state;
    struct metrics a = {0}, b = {0}, sum = {0};
    fill(&a, 1);
    fill(&b, 1000);
    metrics_sum(&sum, &a);
    metrics_sum(&sum, &b);
    uint64_t expected = 1001;
#define X(name, help)                                                                                                  \
    assert_int_equal(sum.name, expected);                                                                              \
    expected += 2;
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++, expected += 2)
        assert_int_equal(sum.udp_dropped_total[i], expected);
    assert_int_equal(a.sessions_total, 1); /* the parts are only read */
}

static void counters_are_64_bits_wide(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char text[256];
    metrics_add(&metrics.udp_up_bytes_total, UINT64_MAX - 1);
    metrics_add(&metrics.udp_up_bytes_total, 1);
    assert_string_equal(metrics_format(&metrics, text, sizeof(text)), "udp_up_bytes_total 18446744073709551615");
}

static void every_drop_reason_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < DROP_REASON_COUNT; i++) {
        const char *name = drop_reason_name((enum drop_reason)i);
        assert_true(strlen(name) > 0 && strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, drop_reason_name((enum drop_reason)j));
    }
    assert_string_equal(drop_reason_name(DROP_BAD_HEADER), "bad_header");
    assert_string_equal(drop_reason_name(DROP_SEND_FAILED), "send_failed");
}

/* What is shown to people: a sentence's worth, which fits behind "datagrams" or stands alone, and breaks nothing. */
static void every_drop_reason_is_explained(void **state)
{
    (void)state;
    for (int i = 0; i < DROP_REASON_COUNT; i++) {
        const char *texts[] = {drop_reason_help((enum drop_reason)i), drop_reason_advice((enum drop_reason)i)};
        for (size_t t = 0; t < 2; t++) {
            size_t len = strlen(texts[t]);
            assert_true(len > 20 && len < 200);
            assert_null(strpbrk(texts[t], "\"\\\n"));
            assert_int_not_equal(texts[t][len - 1], '.');
        }
    }
    assert_string_equal(drop_reason_help(DROP_FRAGMENT), "from a client, with FRAG not 0");
    assert_non_null(strstr(drop_reason_advice(DROP_NO_CLIENT), "nothing, unless there are many"));
}

static void only_counters_that_counted_are_shown(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char text[256] = "left over";
    assert_ptr_equal(metrics_format(&metrics, text, sizeof(text)), text);
    assert_string_equal(text, "");
    metrics_add(&metrics.udp_dropped_total[DROP_FRAGMENT], 3);
    assert_string_equal(metrics_format(&metrics, text, sizeof(text)), "udp_dropped_fragment 3");
    metrics_add(&metrics.sessions_total, 12);
    metrics_add(&metrics.lookups_total, 7);
    assert_string_equal(metrics_format(&metrics, text, sizeof(text)),
                        "sessions_total 12 lookups_total 7 udp_dropped_fragment 3");
}

/* A number cut in half would be a wrong number. */
static void a_full_text_is_cut_after_a_whole_counter(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char whole[4096];
    fill(&metrics, 10000);
    size_t len = strlen(metrics_format(&metrics, whole, sizeof(whole)));
    assert_true(len > 0 && len < sizeof(whole) - 1);
    struct edge edge = edge_open();
    for (size_t size = 1; size <= len + 1; size++) {
        char *text = (char *)edge_room(&edge, size);
        size_t cut = strlen(metrics_format(&metrics, text, size));
        assert_memory_equal(text, whole, cut);
        if (cut == 0)
            continue;
        assert_true(whole[cut] == ' ' || whole[cut] == '\0');
        assert_true(whole[cut - 1] >= '0' && whole[cut - 1] <= '9');
    }
    assert_string_equal(metrics_format(&metrics, (char *)edge_room(&edge, len + 1), len + 1), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_holds_every_counter_of_every_part),
        cmocka_unit_test(counters_are_64_bits_wide),
        cmocka_unit_test(every_drop_reason_has_a_name_of_its_own),
        cmocka_unit_test(every_drop_reason_is_explained),
        cmocka_unit_test(only_counters_that_counted_are_shown),
        cmocka_unit_test(a_full_text_is_cut_after_a_whole_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
