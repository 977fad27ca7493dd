#include "test.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/terminal.h"

static int use_utf8(void **state)
{
    (void)state;
    return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

static int use_ascii(void **state)
{
    (void)state;
    return setlocale(LC_CTYPE, "C") ? 0 : -1;
}

static void expect_escaped(const char *text, const char *expected)
{
    char *escaped = terminal_escape(text);
    assert_non_null(escaped);
    assert_string_equal(escaped, expected);
    free(escaped);
}

static void row_51_nothing_steers_the_terminal(void **state)
{
    (void)state;
    expect_escaped("", "");
    expect_escaped("alice", "alice");
    expect_escaped("a b~", "a b~");
    expect_escaped("\x1b[31mred\a", "\\x1b[31mred\\x07");
    expect_escaped("x\r\n\t\x7f", "x\\x0d\\x0a\\x09\\x7f");
    expect_escaped("\\x1b", "\\x1b");
    expect_escaped("J\xc3\xbcrgen \xe6\x97\xa5", "J\xc3\xbcrgen \xe6\x97\xa5");
    expect_escaped("\xc2\x9b", "\\xc2\\x9b");                                     /* CSI in one character */
    expect_escaped("\xe2\x80\xae\xe2\x80\x8b", "\\xe2\\x80\\xae\\xe2\\x80\\x8b"); /* turns the direction; no width */
    expect_escaped("\xcc\x88", "\\xcc\\x88");                                     /* a mark on what stood before */
    expect_escaped("\xff\xc0\xaf\xed\xa0\x80", "\\xff\\xc0\\xaf\\xed\\xa0\\x80");
    expect_escaped("cut\xe6\x97", "cut\\xe6\\x97");
}

static void without_utf8_only_ascii_is_visible(void **state)
{
    (void)state;
    expect_escaped("J\xc3\xbcrgen", "J\\xc3\\xbcrgen");
}

static void expect_short(const char *text, size_t width, const char *expected)
{
    char *out_text = NULL;
    size_t size;
    FILE *out = open_memstream(&out_text, &size);
    assert_non_null(out);
    terminal_shorten(out, text, width);
    fclose(out);
    assert_string_equal(out_text, expected);
    free(out_text);
}

static void shortening_keeps_both_ends(void **state)
{
    (void)state;
    expect_short("192.0.2.1:443", TERMINAL_ANY_WIDTH, "192.0.2.1:443");
    expect_short("192.0.2.1:443", 13, "192.0.2.1:443");
    expect_short("[2001:db8::1234]:443", 12,
                 "[2001\xe2\x80\xa6"
                 "4]:443");
    expect_short("abcdef", 5,
                 "ab\xe2\x80\xa6"
                 "ef");
    expect_short("abcdef", 2,
                 "\xe2\x80\xa6"
                 "f");
    expect_short("abcdef", 1, "\xe2\x80\xa6");
    expect_short("abcdef", 0, "");
    /* Two columns each: what cannot be halved is a space. */
    assert_int_equal(terminal_width("\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"), 6);
    expect_short("\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5", 5, "\xe6\x97\xa5\xe2\x80\xa6\xe6\x97\xa5");
    expect_short("\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5", 4, "\xe2\x80\xa6\xe6\x97\xa5 ");
    assert_int_equal(terminal_fit("\xe6\x97\xa5\xe6\x97\xa5", 3), 3);
    assert_int_equal(terminal_fit("abc", 3), 3);
    assert_int_equal(terminal_fit("abc", 0), 0);
}

/* Whatever listens at the address that is asked may send megabytes in one value: each byte is looked at a few times. */
static void a_very_long_text_is_fast(void **state)
{
    (void)state;
    enum { LONG = 4 << 20 };
    char *text = malloc(LONG + 1);
    assert_non_null(text);
    memset(text, 'x', LONG);
    text[LONG] = '\0';
    expect_escaped(text, text);
    expect_short(text, 5, "xx\xe2\x80\xa6xx");
    free(text);
}

static void shortening_in_ascii(void **state)
{
    (void)state;
    expect_short("abcdef", 5, "ab~ef");
}

static void expect_wrapped(const char *text, size_t column, size_t indent, size_t width, const char *expected)
{
    char *out_text = NULL;
    size_t size;
    FILE *out = open_memstream(&out_text, &size);
    assert_non_null(out);
    terminal_wrap(out, text, column, indent, width);
    fclose(out);
    assert_string_equal(out_text, expected);
    free(out_text);
}

static void wrapping_is_between_words(void **state)
{
    (void)state;
    expect_wrapped("", 4, 4, 20, "\n");
    expect_wrapped("one two three", 0, 0, TERMINAL_ANY_WIDTH, "one two three\n");
    expect_wrapped("one two three", 0, 0, 13, "one two three\n");
    expect_wrapped("one two three", 0, 0, 12, "one two\nthree\n");
    expect_wrapped("one two three", 6, 2, 10, "one\n  two\n  three\n");
    expect_wrapped("a-word-too-long for it", 2, 2, 8, "a-word-too-long\n  for it\n");
    expect_wrapped("narrower than the indent", 20, 20, 10,
                   "narrower\n                    than\n                    the\n                    indent\n");
}

static void numbers_for_people(void **state)
{
    (void)state;
    char text[TERMINAL_NUMBER_MAX];
    assert_string_equal(terminal_count(text, 0), "0");
    assert_string_equal(terminal_count(text, 999), "999");
    assert_string_equal(terminal_count(text, 1000), "1k");
    assert_string_equal(terminal_count(text, 99949), "99.9k");
    assert_string_equal(terminal_count(text, 99960), "100k");
    assert_string_equal(terminal_count(text, 999499), "999k");
    assert_string_equal(terminal_count(text, 999500), "1M");
    assert_string_equal(terminal_count(text, UINT64_MAX), "18447P");
    assert_string_equal(terminal_bytes(text, 0), "0 B");
    assert_string_equal(terminal_bytes(text, 999), "999 B");
    assert_string_equal(terminal_bytes(text, 1000), "1 KiB");
    assert_string_equal(terminal_bytes(text, (uint64_t)5 << 30), "5 GiB");
    assert_string_equal(terminal_rate(text, 0), "0 bit/s");
    assert_string_equal(terminal_rate(text, -1), "0 bit/s");
    assert_string_equal(terminal_rate(text, 1), "8 bit/s");
    assert_string_equal(terminal_rate(text, 1.5e6), "12 Mbit/s");
    assert_string_equal(terminal_duration(text, 0), "0s");
    assert_string_equal(terminal_duration(text, 302), "5m 2s");
    assert_string_equal(terminal_duration(text, 3 * 3600 + 240), "3h 4m");
    assert_string_equal(terminal_duration(text, 2 * 86400 + 5 * 3600 + 59), "2d 5h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(row_51_nothing_steers_the_terminal, use_utf8),
        cmocka_unit_test_setup(without_utf8_only_ascii_is_visible, use_ascii),
        cmocka_unit_test_setup(shortening_keeps_both_ends, use_utf8),
        cmocka_unit_test_setup(a_very_long_text_is_fast, use_utf8),
        cmocka_unit_test_setup(shortening_in_ascii, use_ascii),
        cmocka_unit_test_setup(wrapping_is_between_words, use_utf8),
        cmocka_unit_test(numbers_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
