/* udp.keep_port: the external port gets the number of the client's port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "association.h"

/* RFC 4787 section 4.2.1, "port preservation". */
static void it_keeps_the_clients_port_where_that_is_wanted_and_free(void **state)
{
    (void)state;
    static const struct {
        bool keep;
        const char *host;
        uint16_t port;
        struct config_ports range;
        bool kept;
    } rows[] = {
        {true, "10.0.0.2", 3074, {0, 0}, true},          {true, "10.0.0.2", 1023, {0, 0}, false},
        {false, "10.0.0.2", 3076, {0, 0}, false},        {true, "10.0.0.2", 3074, {0, 0}, false}, /* taken above */
        {true, "10.0.0.2", 30005, {30000, 30009}, true}, {true, "10.0.0.2", 3077, {30000, 30009}, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        world_config.udp.keep_port = rows[i].keep;
        world_config.udp.external_ports = rows[i].range;
        world_env.external_ports = (struct port_range){
            .random = rows[i].range.first == 0, .first = rows[i].range.first, .last = rows[i].range.last};
        open_with_hint(rows[i].host, rows[i].port);
        const uint16_t opened = netaddr_port(&flow()->external[FAMILY_V4]);
        assert_int_equal(opened == rows[i].port, rows[i].kept);
        assert_true(opened != 0);
        assoc_free(assoc);
        assoc = NULL;
    }
}

/* Neither a request without a port nor one with a false one keeps the client from its number. */
static void it_keeps_the_port_of_the_first_datagram(void **state)
{
    (void)state;
    world_config.udp.keep_port = true;
    world_env.external_ports.random = true;
    open_with_hint("192.0.2.10", 3075);
    assert_int_equal(netaddr_port(&flow()->external[FAMILY_V4]), 0);
    assert_int_equal(world_open_sockets(), 1);
    assert_true(world_arrive(&client, &flow()->relay, "no header", 9));
    world_run();
    assert_true(from_client_at(&stranger, &server, "x"));
    assert_int_equal(world_open_sockets(), 1);
    from_client(&server, "x");
    expect_up(&server, "x");
    assert_int_equal(netaddr_port(&flow()->external[FAMILY_V4]), 7000);
    from_client(&server6, "y");
    expect_up(&server6, "y");
    assert_int_equal(netaddr_port(&flow()->external[FAMILY_V6]), 7000);
    from_internet(&server, "z");
    expect_down(&client, &server, "z");

    struct assoc *first = assoc;
    open_plain();
    assert_true(from_client_at(&client, &server, "another, from the same port"));
    assert_int_not_equal(netaddr_port(&flow()->external[FAMILY_V4]), 7000); /* it is taken */
    assert_int_not_equal(netaddr_port(&flow()->external[FAMILY_V4]), 0);
    assoc_free(first);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(it_keeps_the_clients_port_where_that_is_wanted_and_free),
        TEST(it_keeps_the_port_of_the_first_datagram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
