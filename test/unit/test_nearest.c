/* base/nearest.c: which known word a mistyped one means. */
#include "test.h"

#include "base/nearest.h"
#include "base/util.h"

static void test_the_most_similar_word_is_found(void **state)
{
    (void)state;
    static const char *const words[] = {"status", "reload", "explain", "check", "hash-password"};
    static const struct {
        const char *typed, *word;
    } cases[] = {
        {"stauts", "status"}, {"statsu", "status"},
        {"chek", "check"},    {"hash-passwd", "hash-password"},
        {"relaod", "reload"}, {"hashpasword", "hash-password"},
        {"start", NULL},      {"", NULL},
        {"frobnicate", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct nearest nearest = nearest_to(cases[i].typed);
        for (size_t j = 0; j < ARRAY_LEN(words); j++)
            nearest_offer(&nearest, words[j]);
        if (cases[i].word)
            assert_string_equal(nearest.word, cases[i].word);
        else
            assert_null(nearest.word);
    }
}

/* Two changes make any word of two letters. */
static void test_a_short_word_is_not_taken_for_another(void **state)
{
    (void)state;
    struct nearest nearest = nearest_to("ab");
    nearest_offer(&nearest, "cd");
    assert_null(nearest.word);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_most_similar_word_is_found),
        cmocka_unit_test(test_a_short_word_is_not_taken_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
