/* Which listener of a configuration an address belongs to. */
#include "test.h"

#include "conf/config.h"

static struct config_listener listeners[3];
static const struct config config = {.listen = listeners, .listen_count = 3};

static union netaddr address_of(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static int set_listeners(void **state)
{
    (void)state;
    listeners[0].address = address_of("::", 1080);
    listeners[1].address = address_of("0.0.0.0", 1081);
    listeners[2].address = address_of("10.0.0.1", 1080);
    return 0;
}

static void expect(const struct config_listener *(*find)(const struct config *config, const union netaddr *address),
                   const char *host, uint16_t port, const struct config_listener *expected)
{
    const union netaddr address = address_of(host, port);
    assert_ptr_equal(find(&config, &address), expected);
}

static void the_same_address_and_port(void **state)
{
    (void)state;
    expect(config_listener_at, "10.0.0.1", 1080, &listeners[2]);
    expect(config_listener_at, "::", 1080, &listeners[0]);
    expect(config_listener_at, "10.0.0.1", 1081, NULL);
    expect(config_listener_at, "10.0.0.2", 1080, NULL);
}

static void an_address_that_overlaps(void **state)
{
    (void)state;
    expect(config_listener_overlapping, "10.0.0.2", 1080, &listeners[0]); /* :: takes IPv4 as well */
    expect(config_listener_overlapping, "0.0.0.0", 1080, &listeners[0]);
    expect(config_listener_overlapping, "10.0.0.2", 1081, &listeners[1]);
    expect(config_listener_overlapping, "10.0.0.2", 1082, NULL);
}

static void the_closest_listener_gets_a_connection(void **state)
{
    (void)state;
    expect(config_listener_for, "10.0.0.1", 1080, &listeners[2]);
    expect(config_listener_for, "10.0.0.2", 1080, &listeners[0]);
    expect(config_listener_for, "2001:db8::1", 1080, &listeners[0]);
    expect(config_listener_for, "2001:db8::1", 1081, NULL); /* 0.0.0.0 takes no IPv6 */
    expect(config_listener_for, "10.0.0.1", 1082, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_address_and_port),
        cmocka_unit_test(an_address_that_overlaps),
        cmocka_unit_test(the_closest_listener_gets_a_connection),
    };
    return cmocka_run_group_tests(tests, set_listeners, NULL);
}
