/* Which listener of a configuration an address belongs to. */
#include "test.h"

#include <stdlib.h>

#include "conf/config.h"
#include "conf/endpoints.h"

static struct config_listener listeners[5];
static struct config config = {.listen = listeners, .listen_count = 5};

static union netaddr address_of(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static void set_listener(size_t i, const char *host, uint16_t first, uint16_t last)
{
    listeners[i].address = address_of(host, first);
    listeners[i].ports = (struct config_ports){first, last};
}

static int set_listeners(void **state)
{
    (void)state;
    set_listener(0, "::", 1080, 1080);
    set_listener(1, "0.0.0.0", 1081, 1081);
    set_listener(2, "10.0.0.1", 1080, 1080);
    set_listener(3, "10.0.0.1", 30000, 31999);
    set_listener(4, "10.0.0.2", 30000, 30000);
    return endpoints_fill(&config) ? 0 : -1;
}

static int free_endpoints(void **state)
{
    (void)state;
    free(config.endpoints);
    return 0;
}

static void expect(const struct config_listener *(*find)(const struct config *config, const union netaddr *address),
                   const char *host, uint16_t port, const struct config_listener *expected)
{
    const union netaddr address = address_of(host, port);
    assert_ptr_equal(find(&config, &address), expected);
}

static const struct config_listener *listener_for(const struct config *all, const union netaddr *local)
{
    return config_listener_for(all, local, 0);
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
    expect(listener_for, "10.0.0.1", 1080, &listeners[2]);
    expect(listener_for, "10.0.0.2", 1080, &listeners[0]);
    expect(listener_for, "2001:db8::1", 1080, &listeners[0]);
    expect(listener_for, "2001:db8::1", 1081, NULL); /* 0.0.0.0 takes no IPv6 */
    expect(listener_for, "10.0.0.1", 1082, NULL);
}

static void each_port_of_a_range(void **state)
{
    (void)state;
    char text[CONFIG_LISTENER_TEXT_MAX];
    assert_int_equal(config.endpoint_count, 3 + 2000 + 1);
    for (uint16_t port = 30000; port <= 31999; port++)
        expect(listener_for, "10.0.0.1", port, &listeners[3]);
    expect(config_listener_at, "10.0.0.1", 29999, NULL);
    expect(config_listener_at, "10.0.0.1", 32000, NULL);
    expect(listener_for, "10.0.0.2", 30000, &listeners[4]);
    expect(config_listener_overlapping, "0.0.0.0", 31999, &listeners[3]);
    expect(config_listener_overlapping, "::", 30000, &listeners[3]);
    assert_string_equal(config_listener_format(&listeners[3], text), "10.0.0.1:30000-31999");
    assert_string_equal(config_listener_format(&listeners[0], text), "[::]:1080");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_address_and_port),
        cmocka_unit_test(an_address_that_overlaps),
        cmocka_unit_test(the_closest_listener_gets_a_connection),
        cmocka_unit_test(each_port_of_a_range),
    };
    return cmocka_run_group_tests(tests, set_listeners, free_endpoints);
}
