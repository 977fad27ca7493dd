#include "kernel/flow_table.h"

#include <arpa/inet.h>
#include <string.h>

#include "test.h"

static struct flow_table *table;

static int begin(void **state)
{
    (void)state;
    table = flow_table_new();
    return table ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    flow_table_free(table);
    return 0;
}

static struct flow_key key_of(uint32_t slot, uint32_t life, uint32_t host, uint16_t port)
{
    return (struct flow_key){slot, life, {{0, 0, htonl(0xffff), htonl(host)}, htons(port), 0}};
}

static bool count(const struct flow_key *key, uint32_t generation)
{
    return flow_place_is_due(flow_table_count(table, key, generation));
}

static void the_second_send_installs_and_then_each_32nd(void **state)
{
    (void)state;
    const struct flow_key key = key_of(1, 1, 0xcb007101, 53);
    for (int i = 1; i <= 200; i++)
        assert_int_equal(count(&key, 0), i == 2 || i % 32 == 0);
}

static void what_differs_in_anything_is_another_flow(void **state)
{
    (void)state;
    const struct flow_key first = key_of(1, 1, 0xcb007101, 53);
    const struct flow_key others[] = {
        key_of(2, 1, 0xcb007101, 53), /* association */
        key_of(1, 2, 0xcb007101, 53), /* a later one in the same slot */
        key_of(1, 1, 0xcb007102, 53),
        key_of(1, 1, 0xcb007101, 54),
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(count(&first, (uint32_t)i));
        assert_false(count(&others[i], (uint32_t)i));
    }
    assert_false(count(&first, 1000));
    assert_false(count(&first, 1001)); /* revoked */
    assert_true(count(&first, 1001));
}

static void a_flow_is_remembered_as_installed_until_another_takes_its_place(void **state)
{
    (void)state;
    const struct flow_key key = key_of(1, 1, 0xcb007101, 53);
    flow_table_count(table, &key, 0)->installed = true;
    assert_true(flow_table_count(table, &key, 0)->installed);
    /* Many more than there are places: each is replaced (the chance that one is not is e^-100). */
    for (uint32_t host = 0; host < 100 * FLOW_TABLE_PLACES; host++) {
        const struct flow_key other = key_of(1, 1, host, 99);
        flow_table_count(table, &other, 0);
    }
    const struct flow_place *place = flow_table_count(table, &key, 0);
    assert_false(place->installed);
    assert_int_equal(place->sends, 1);
}

/* As many as there are places, and each is sent to once in each round. */
static void flows_that_take_turns_are_installed_one_after_the_other(void **state)
{
    (void)state;
    static bool installed[FLOW_TABLE_PLACES];
    unsigned count_installed = 0;
    memset(installed, 0, sizeof(installed));
    for (int round = 0; round < 20; round++)
        for (uint32_t host = 0; host < FLOW_TABLE_PLACES; host++) {
            const struct flow_key key = key_of(7, 1, 0x0a000000 + host, 6881);
            if (!installed[host] && count(&key, 0)) {
                installed[host] = true;
                count_installed++;
            }
        }
    assert_int_equal(count_installed, FLOW_TABLE_PLACES);
}

/* A torrent's peers: few of those that are in use at a time may share a place. */
static void neighbours_rarely_share_a_place(void **state)
{
    (void)state;
    unsigned again = 0;
    for (int round = 0; round < 2; round++)
        for (uint32_t host = 0; host < FLOW_TABLE_PLACES / 8; host++) {
            const struct flow_key key = key_of(7, 1, 0x0a000000 + host, 6881);
            again += count(&key, 0);
        }
    assert_in_range(again, FLOW_TABLE_PLACES / 8 * 80 / 100, FLOW_TABLE_PLACES / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_second_send_installs_and_then_each_32nd, begin, end),
        cmocka_unit_test_setup_teardown(what_differs_in_anything_is_another_flow, begin, end),
        cmocka_unit_test_setup_teardown(a_flow_is_remembered_as_installed_until_another_takes_its_place, begin, end),
        cmocka_unit_test_setup_teardown(flows_that_take_turns_are_installed_one_after_the_other, begin, end),
        cmocka_unit_test_setup_teardown(neighbours_rarely_share_a_place, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
