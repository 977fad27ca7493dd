#define LOG_MODULE "test"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "support/bytes.h"

static struct edge input, output;

/* The text with its bytes escaped, from and into memory of exactly the sizes given. */
static const char *escape(const char *in, size_t len, size_t size)
{
    char *out = (char *)edge_room(&output, size);
    size_t n = log_escape(out, size, (const char *)edge_copy(&input, in, len), len);
    assert_true(n < size);
    assert_int_equal(n, strlen(out));
    return out;
}

/* Row 51. The input is as a client sends it, with whatever bytes it likes. */
static const struct {
    const char *bytes, *escaped;
} rows[] = {
    {"", ""},
    {"'plain text, 100%n %s'", "plain text, 100%n %s"},
    {"'~ ' 7e 20", "~ ~ "},
    {"'a' 0a 'b' 0d 'c'", "a\\x0ab\\x0dc"},
    {"1b '[31m'", "\\x1b[31m"}, /* what would colour an administrator's terminal, or worse */
    {"00", "\\x00"},
    {"1f 7f 80", "\\x1f\\x7f\\x80"},
    {"'\\'", "\\x5c"}, /* so that nobody can write an escape that is not one */
    {"'\\x0a'", "\\x5cx0a"},
    /* UTF-8, at the ends of each length */
    {"c280", "\\xc2\\x80"}, /* C1: as good as an escape to some terminals */
    {"c29f", "\\xc2\\x9f"},
    {"c2a0", "\xc2\xa0"},
    {"c3a9", "\xc3\xa9"},
    {"dfbf", "\xdf\xbf"},
    {"e0a080", "\xe0\xa0\x80"},
    {"e282ac", "\xe2\x82\xac"},
    {"ed9fbf", "\xed\x9f\xbf"},
    {"efbfbd", "\xef\xbf\xbd"},
    {"f0908080", "\xf0\x90\x80\x80"},
    {"f48fbfbf", "\xf4\x8f\xbf\xbf"},
    /* and what only looks like it: overlong, surrogates, beyond U+10FFFF, broken off, alone */
    {"c080", "\\xc0\\x80"},
    {"c18a", "\\xc1\\x8a"}, /* a newline, overlong */
    {"e08a8a", "\\xe0\\x8a\\x8a"},
    {"e09fbf", "\\xe0\\x9f\\xbf"},
    {"eda080", "\\xed\\xa0\\x80"},
    {"edbfbf", "\\xed\\xbf\\xbf"},
    {"f08fbfbf", "\\xf0\\x8f\\xbf\\xbf"},
    {"f4908080", "\\xf4\\x90\\x80\\x80"},
    {"f5808080", "\\xf5\\x80\\x80\\x80"},
    {"ff fe", "\\xff\\xfe"},
    {"c3", "\\xc3"},
    {"e282", "\\xe2\\x82"},
    {"f09080", "\\xf0\\x90\\x80"},
    {"c3 'x'", "\\xc3x"},
    {"e282 'x'", "\\xe2\\x82x"},
    {"f09f98 0a", "\\xf0\\x9f\\x98\\x0a"},
    {"c3c3a9", "\\xc3\xc3\xa9"},
    /* what turns the direction of a line, or breaks it, and its neighbours */
    {"e280ae", "\\xe2\\x80\\xae"},
    {"e280a7", "\xe2\x80\xa7"},
    {"e280af", "\xe2\x80\xaf"},
    {"e281a6", "\\xe2\\x81\\xa6"},
    {"e281a5", "\xe2\x81\xa5"},
    {"d89c", "\\xd8\\x9c"},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static void what_is_not_plain_text_is_escaped(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint8_t in[64];
        size_t len = bytes_from_text(rows[i].bytes, in, sizeof(in));
        assert_string_equal(escape((const char *)in, len, 256), rows[i].escaped);
        assert_string_equal(escape((const char *)in, len, strlen(rows[i].escaped) + 1), rows[i].escaped);
    }
}

/* Every size: a beginning of the whole, as long as fits, and never half an escape or half a character. */
static void a_full_text_is_cut_at_a_whole_escape(void **state)
{
    (void)state;
    static const char in[] = "a\xe2\x82\xac\n\xff"
                             "b";
    static const char whole[] = "a\xe2\x82\xac\\x0a\\xffb";
    static const size_t fits[] = {0, 1, 1, 1, 4, 4, 4, 4, 8, 8, 8, 8, 12, 13};
    for (size_t room = 0; room <= strlen(whole); room++) {
        const char *out = escape(in, sizeof(in) - 1, room + 1);
        assert_int_equal(strlen(out), fits[room]);
        assert_memory_equal(out, whole, fits[room]);
    }
}

static void every_single_byte_becomes_text_of_one_line(void **state)
{
    (void)state;
    for (int byte = 0; byte <= 255; byte++) {
        char in = (char)byte;
        const char *out = escape(&in, 1, 5);
        assert_int_equal(strlen(out), byte >= 0x20 && byte < 0x7f && byte != '\\' ? 1 : 4);
        for (const char *at = out; *at; at++)
            assert_true(*at >= 0x20 && *at < 0x7f);
    }
}

/* What is written to standard error while `say` runs. */
static const char *written_by(void (*say)(void))
{
    static char text[65536];
    int ends[2], saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && pipe(ends) == 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    say();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    ssize_t n = read(ends[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    close(ends[1]);
    close(saved);
    return text;
}

static void say_levels(void)
{
    log_error("one %d", 1);
    log_warning("two");
    log_info("three");
    log_debug("four");
}

static void lines_above_the_level_are_not_written(void **state)
{
    (void)state;
    assert_string_equal(written_by(say_levels), "conesocks: error: test: one 1\nconesocks: warning: test: two\n");
    log_set_level(LOG_LEVEL_ERROR);
    assert_string_equal(written_by(say_levels), "conesocks: error: test: one 1\n");
    log_set_level(LOG_LEVEL_DEBUG);
    assert_true(log_enabled(LOG_LEVEL_DEBUG));
    assert_string_equal(written_by(say_levels), "conesocks: error: test: one 1\nconesocks: warning: test: two\n"
                                                "conesocks: info: test: three\nconesocks: debug: test: four\n");
}

static int formatted;
static int count_formatted(void)
{
    return ++formatted;
}

static void say_nothing(void)
{
    log_info("%d", count_formatted());
}

static void what_is_switched_off_is_not_even_evaluated(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_WARNING);
    assert_string_equal(written_by(say_nothing), "");
    assert_int_equal(formatted, 0);
}

static void say_hostile_name(void)
{
    log_error("no address for %s", "a\nconesocks: error: test: forged\r\x1b[2J%n%s\xff");
}

static void say_at_length(void)
{
    static char name[5000];
    memset(name, '\n', sizeof(name) - 1);
    log_error("%s", name);
}

/* Row 51: one call is one line, whatever a client sent and however much. */
static void one_call_is_one_line(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_WARNING);
    assert_string_equal(written_by(say_hostile_name), "conesocks: error: test: no address for a\\x0aconesocks: error: "
                                                      "test: forged\\x0d\\x1b[2J%n%s\\xff\n");
    const char *line = written_by(say_at_length);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_int_equal((strlen(line) - strlen("conesocks: error: test: \n")) % 4, 0);
}

static void a_burst_passes_and_the_rest_is_counted(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    uint32_t suppressed = 99;
    for (int i = 0; i < LOG_BURST; i++) {
        assert_true(log_limit_pass(&limit, 5000, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    suppressed = 99;
    for (int i = 0; i < 1000; i++)
        assert_false(log_limit_pass(&limit, 5999, &suppressed));
    assert_int_equal(suppressed, 99); /* not touched while nothing is said */
    assert_true(log_limit_pass(&limit, 6000, &suppressed));
    assert_int_equal(suppressed, 1000); /* said once ... */
    assert_true(log_limit_pass(&limit, 6001, &suppressed));
    assert_int_equal(suppressed, 0); /* ... and not again */
}

static void the_limit_holds_from_the_first_millisecond(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    uint32_t suppressed;
    int passed = 0;
    for (uint64_t now = 0; now < 10000; now++)
        passed += log_limit_pass(&limit, now, &suppressed);
    assert_int_equal(passed, 10 * LOG_BURST);
}

static struct log_limit flood;
static int formatted_count;

static int count_formatted_limited(void)
{
    return ++formatted_count;
}

static void say_a_flood_then_two(void)
{
    for (int i = 0; i < LOG_BURST + 1; i++)
        LOG_LIMITED(&flood, 1000, LOG_LEVEL_WARNING, "flood %d", count_formatted_limited());
    LOG_LIMITED(&flood, 2000, LOG_LEVEL_WARNING, "after one");
    for (int i = 0; i < LOG_BURST + 1; i++)
        LOG_LIMITED(&flood, 2000, LOG_LEVEL_WARNING, "flood");
    LOG_LIMITED(&flood, 3000, LOG_LEVEL_WARNING, "after two");
}

static void the_line_after_a_flood_tells_how_many_were_suppressed(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_WARNING);
    const char *lines = written_by(say_a_flood_then_two);
    assert_non_null(strstr(lines, "test: after one (1 similar line suppressed)\n"));
    assert_non_null(strstr(lines, "test: after two (2 similar lines suppressed)\n"));
    assert_int_equal(formatted_count, LOG_BURST); /* what is suppressed is not formatted */
}

int main(void)
{
    input = edge_open();
    output = edge_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_plain_text_is_escaped),
        cmocka_unit_test(a_full_text_is_cut_at_a_whole_escape),
        cmocka_unit_test(every_single_byte_becomes_text_of_one_line),
        cmocka_unit_test(lines_above_the_level_are_not_written),
        cmocka_unit_test(what_is_switched_off_is_not_even_evaluated),
        cmocka_unit_test(one_call_is_one_line),
        cmocka_unit_test(a_burst_passes_and_the_rest_is_counted),
        cmocka_unit_test(the_limit_holds_from_the_first_millisecond),
        cmocka_unit_test(the_line_after_a_flood_tells_how_many_were_suppressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
