#include "test.h"

#include "proxy/assoc/filter.h"

static struct loans loans;
static struct loan loan = {.all = &loans};

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static void the_modes_differ_in_the_port(void **state)
{
    (void)state;
    const union netaddr asked = at("192.0.2.1", 53), other_port = at("192.0.2.1", 54), other_host = at("192.0.2.2", 53),
                        other_family = at("2001:db8::1", 53);
    for (int strict = 0; strict <= 1; strict++) {
        struct filter *filter =
            filter_new(strict ? CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT : CONFIG_FILTERING_ADDRESS_DEPENDENT);
        assert_false(filter_admits(filter, &asked));
        filter_permit(filter, &loan, &asked);
        filter_permit(filter, &loan, &asked);
        assert_true(filter_admits(filter, &asked));
        assert_int_equal(filter_admits(filter, &other_port), !strict);
        assert_false(filter_admits(filter, &other_host));
        assert_false(filter_admits(filter, &other_family));
        filter_free(filter, &loan);
    }
}

static void the_longest_known_is_forgotten(void **state)
{
    (void)state;
    struct filter *filter = filter_new(CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
    for (unsigned i = 0; i <= FILTER_PEERS_MAX; i++) {
        union netaddr peer = at("192.0.2.1", (uint16_t)(1000 + i));
        filter_permit(filter, &loan, &peer);
    }
    const union netaddr first = at("192.0.2.1", 1000), second = at("192.0.2.1", 1001),
                        last = at("192.0.2.1", 1000 + FILTER_PEERS_MAX);
    assert_false(filter_admits(filter, &first));
    assert_true(filter_admits(filter, &second));
    assert_true(filter_admits(filter, &last));
    filter_free(filter, &loan);
}

/* Row 60: the tables of one client take half of what there is; what is more costs it its own. */
static void row_60_tables_are_bounded(void **state)
{
    (void)state;
    enum { TABLES = 20, EACH = 2000 };
    struct filter *tables[TABLES];
    for (unsigned i = 0; i < TABLES; i++) {
        tables[i] = filter_new(CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
        for (unsigned j = 0; j < EACH; j++) {
            const union netaddr peer = at("192.0.2.1", (uint16_t)(1000 + j));
            filter_permit(tables[i], &loan, &peer);
        }
    }
    assert_in_range(loans.lent, LOANS_MAX / 2 - 1000, LOANS_MAX / 2 + 1000);
    struct loan other = {.all = &loans};
    struct filter *another = filter_new(CONFIG_FILTERING_ADDRESS_DEPENDENT);
    const union netaddr first = at("192.0.2.1", 1000), last = at("192.0.2.1", 1000 + EACH - 1);
    filter_permit(another, &other, &first);
    assert_true(filter_admits(another, &first));
    assert_true(filter_admits(tables[0], &first));
    assert_false(filter_admits(tables[TABLES - 2], &first));
    filter_shrink(tables[0], &loan);
    assert_false(filter_admits(tables[0], &first));
    assert_true(filter_admits(tables[0], &last));
    for (unsigned i = 0; i < TABLES; i++)
        filter_free(tables[i], &loan);
    filter_free(another, &other);
    assert_int_equal(loans.lent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_modes_differ_in_the_port),
        cmocka_unit_test(the_longest_known_is_forgotten),
        cmocka_unit_test(row_60_tables_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
