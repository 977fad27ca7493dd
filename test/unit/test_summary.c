#include "check/summary.h"

#include "test.h"

static char fault[] = "websites fail", open_nat[] = "open: all games work", party[] = "players here cannot meet",
            more[] = "something else";

static void expect_sentences(const struct check_result *results, size_t count, const char *first, const char *second)
{
    const char *sentences[SUMMARY_MAX] = {NULL};
    size_t chosen = summary_choose(results, count, sentences);
    assert_int_equal(chosen, (first != NULL) + (second != NULL));
    if (first)
        assert_string_equal(sentences[0], first);
    if (second)
        assert_string_equal(sentences[1], second);
}

static struct check_result result_of(enum check_status status, char *means, bool is_headline)
{
    return (struct check_result){.status = status, .means = means, .is_headline = is_headline};
}

static void a_good_server_is_summed_up_by_its_headline(void **state)
{
    (void)state;
    const struct check_result results[] = {result_of(CHECK_OK, more, false), result_of(CHECK_OK, open_nat, true),
                                           result_of(CHECK_INFO, more, false)};
    expect_sentences(results, 3, open_nat, NULL);
    expect_sentences(results, 1, NULL, NULL);
}

static void the_worst_comes_first_then_the_headline(void **state)
{
    (void)state;
    const struct check_result results[] = {result_of(CHECK_WARNING, party, false), result_of(CHECK_OK, open_nat, true),
                                           result_of(CHECK_FAILED, fault, false)};
    expect_sentences(results, 3, fault, open_nat);
    expect_sentences(results, 2, party, open_nat);
    expect_sentences(results + 1, 2, fault, open_nat);
}

static void no_sentence_comes_twice(void **state)
{
    (void)state;
    const struct check_result results[] = {
        result_of(CHECK_WARNING, open_nat, true), result_of(CHECK_WARNING, open_nat, true),
        result_of(CHECK_FAILED, NULL, false), result_of(CHECK_WARNING, party, false)};
    expect_sentences(results, 4, open_nat, party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_server_is_summed_up_by_its_headline),
        cmocka_unit_test(the_worst_comes_first_then_the_headline),
        cmocka_unit_test(no_sentence_comes_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
