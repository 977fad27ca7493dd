#include "test.h"

#include <string.h>

#include "base/calendar.h"

static void days_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t day;
    } days[] = {{"1970-01-01", 0},     {"1970-12-31", 364},   {"2000-02-29", 11016},           {"2026-11-30", 20787},
                {"2026-12-31", 20818}, {"2028-02-29", 21243}, {"9999-12-31", CALENDAR_DAY_MAX}};
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        uint32_t day = 1;
        char text[CALENDAR_DAY_TEXT_MAX];
        assert_true(calendar_parse_day(days[i].text, &day));
        assert_int_equal(day, days[i].day);
        assert_string_equal(calendar_format_day(day, text), days[i].text);
        assert_int_equal(calendar_day_at((time_t)day * 86400), day);
        assert_int_equal(calendar_day_at((time_t)day * 86400 + 86399), day);
    }
}

static void what_is_no_day_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "2026-02-29", "2026-00-10", "2026-13-01", "2026-01-00",
                                        "2026-01-32", "1969-12-31", "2026-1-1",   "2026-01-1 ", "-026-01-01",
                                        "2026/01/01", "0000-00-00", "2026-01-01T"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint32_t day;
        if (calendar_parse_day(texts[i], &day))
            fail_msg("%s is accepted", texts[i]);
    }
}

static void a_month_begins_with_its_first_day(void **state)
{
    (void)state;
    char text[CALENDAR_MONTH_TEXT_MAX];
    assert_int_equal(calendar_month_of(0), 0);
    assert_string_equal(calendar_format_month(0, text), "1970-01");
    for (uint32_t day = 1, month = 0; day < 60 * 366; day++) {
        char whole[CALENDAR_DAY_TEXT_MAX];
        calendar_format_day(day, whole);
        month += strcmp(whole + 8, "01") == 0;
        assert_int_equal(calendar_month_of(day), month);
        calendar_format_month(month, text);
        assert_memory_equal(text, whole, 7);
    }
}

static void a_time_beyond_the_calendar_is_its_end(void **state)
{
    (void)state;
    assert_int_equal(calendar_day_at(-1), 0);
    assert_int_equal(calendar_day_at((time_t)1 << 60), CALENDAR_DAY_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_read_and_written),
        cmocka_unit_test(what_is_no_day_is_refused),
        cmocka_unit_test(a_month_begins_with_its_first_day),
        cmocka_unit_test(a_time_beyond_the_calendar_is_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
