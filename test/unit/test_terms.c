#include "policy/terms.h"

#include "policy/rules.h"
#include "test.h"

static void the_configuration_has_the_last_word(void **state)
{
    (void)state;
    struct config config = {.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT};
    struct terms terms = terms_find(&config, NULL, RULES_NO_MATCH);
    assert_int_equal(terms.filtering, CONFIG_FILTERING_ADDRESS_DEPENDENT);
    assert_int_equal(terms.address_v4.sa.sa_family, AF_UNSPEC);
    assert_int_equal(terms.mark, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_configuration_has_the_last_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
