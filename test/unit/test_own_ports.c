#include "test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/own_ports.h"

static struct own_ports *own;

static int begin(void **state)
{
    (void)state;
    own = own_ports_new();
    return own ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    own_ports_free(own);
    return 0;
}

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static void add(enum own_port kind, const char *host, uint16_t port)
{
    const union netaddr local = at(host, port);
    assert_true(own_ports_add(own, kind, &local));
}

static void take_away(enum own_port kind, const char *host, uint16_t port)
{
    const union netaddr local = at(host, port);
    own_ports_remove(own, kind, &local);
}

static bool has(enum own_port kind, const char *host, uint16_t port)
{
    const union netaddr address = at(host, port);
    return own_ports_has(own, kind, &address);
}

static bool has_anywhere(enum own_port kind, const char *host, uint16_t port)
{
    const union netaddr address = at(host, port);
    return own_ports_has_anywhere(own, kind, &address);
}

static void located(const char *host, uint16_t port, const char *expected)
{
    union netaddr address = at(host, port);
    assert_int_equal(own_ports_locate(own, &address), expected != NULL);
    const union netaddr there = at(expected ? expected : host, port);
    assert_true(netaddr_equal(&address, &there));
}

static void a_process_without_sockets_has_none(void **state)
{
    (void)state;
    const union netaddr address = at("10.0.0.1", 1);
    assert_false(has(OWN_PORT_RELAY, "10.0.0.1", 40000));
    located("10.0.0.1", 40000, NULL);
    assert_false(own_ports_has(NULL, OWN_PORT_EXTERNAL, &address));
}

/* Another program may have the same port at another address of this host. */
static void a_relay_port_is_ours_at_its_address(void **state)
{
    (void)state;
    add(OWN_PORT_RELAY, "10.0.0.1", 40000);
    assert_true(has(OWN_PORT_RELAY, "10.0.0.1", 40000));
    assert_false(has(OWN_PORT_RELAY, "10.0.0.2", 40000));
    assert_false(has(OWN_PORT_RELAY, "10.0.0.1", 40001));
    assert_false(has(OWN_PORT_RELAY, "2001:db8::1", 40000));
    assert_false(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40000));
    assert_true(has_anywhere(OWN_PORT_RELAY, "10.0.0.9", 40000));
    assert_false(has_anywhere(OWN_PORT_EXTERNAL, "10.0.0.9", 40000));
    add(OWN_PORT_RELAY, "10.0.0.1", 40000); /* two workers share it */
    take_away(OWN_PORT_RELAY, "10.0.0.1", 40000);
    assert_true(has(OWN_PORT_RELAY, "10.0.0.1", 40000));
    take_away(OWN_PORT_RELAY, "10.0.0.1", 40000);
    assert_false(has(OWN_PORT_RELAY, "10.0.0.1", 40000));
    assert_false(has_anywhere(OWN_PORT_RELAY, "10.0.0.1", 40000));
}

/* Two users may leave from addresses of their own, and with the same port. */
static void an_external_port_is_ours_where_it_is_bound(void **state)
{
    (void)state;
    add(OWN_PORT_EXTERNAL, "10.0.0.1", 40000);
    add(OWN_PORT_EXTERNAL, "2001:db8::1", 40000);
    located("198.51.100.7", 40000, "10.0.0.1");
    located("2001:db9::7", 40000, "2001:db8::1");
    add(OWN_PORT_EXTERNAL, "10.0.0.2", 40000);
    located("198.51.100.7", 40000, NULL); /* at which of them, only the NAT knows */
    assert_true(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40000) && has(OWN_PORT_EXTERNAL, "10.0.0.2", 40000));
    assert_false(has(OWN_PORT_EXTERNAL, "10.0.0.3", 40000));
    take_away(OWN_PORT_EXTERNAL, "10.0.0.1", 40000);
    assert_false(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40000));
    located("198.51.100.7", 40000, "10.0.0.2");
    take_away(OWN_PORT_EXTERNAL, "10.0.0.2", 40000);
    located("198.51.100.7", 40000, NULL);
    located("2001:db9::7", 40000, "2001:db8::1");
}

static void a_port_of_every_address_is_ours_at_each(void **state)
{
    (void)state;
    add(OWN_PORT_EXTERNAL, "0.0.0.0", 40000);
    assert_true(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40000) && has(OWN_PORT_EXTERNAL, "127.0.0.1", 40000));
    assert_false(has(OWN_PORT_EXTERNAL, "::1", 40000));
    located("198.51.100.7", 40000, "127.0.0.1");
    add(OWN_PORT_EXTERNAL, "::", 40000);
    located("2001:db9::7", 40000, "::1");
    add(OWN_PORT_BOUND, "0.0.0.0", 40001);
    assert_true(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40001));
    located("198.51.100.7", 40001, NULL); /* nothing from this host arrives there */
    take_away(OWN_PORT_BOUND, "0.0.0.0", 40001);
    assert_false(has(OWN_PORT_EXTERNAL, "10.0.0.1", 40001));
}

/* Thousands of them, some of which go: the others are found, and nothing else. */
static void many_come_and_go(void **state)
{
    (void)state;
    enum { HOSTS = 20, PORTS = 300 };
    char host[16];
    for (uint16_t i = 0; i < HOSTS * PORTS; i++) {
        snprintf(host, sizeof(host), "10.0.0.%d", i % HOSTS);
        add(i % 2 ? OWN_PORT_RELAY : OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i / HOSTS));
    }
    for (uint16_t i = 0; i < HOSTS * PORTS; i += 3) {
        snprintf(host, sizeof(host), "10.0.0.%d", i % HOSTS);
        take_away(i % 2 ? OWN_PORT_RELAY : OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i / HOSTS));
    }
    for (uint16_t i = 0; i < HOSTS * PORTS; i++) {
        snprintf(host, sizeof(host), "10.0.0.%d", i % HOSTS);
        const uint16_t port = (uint16_t)(1000 + i / HOSTS);
        assert_int_equal(has(i % 2 ? OWN_PORT_RELAY : OWN_PORT_EXTERNAL, host, port), i % 3 != 0);
        assert_false(has(i % 2 ? OWN_PORT_EXTERNAL : OWN_PORT_RELAY, host, port));
    }
}

/* Users may leave from an address each. */
static void addresses_come_and_go(void **state)
{
    (void)state;
    enum { HOSTS = 3000, TURNS = 3 };
    char host[32];
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < HOSTS; i++) {
            snprintf(host, sizeof(host), "2001:db8:%x::%x", turn, i);
            add(OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i));
            located("2001:db9::7", (uint16_t)(1000 + i), host);
        }
        for (int i = 0; i < HOSTS; i++) {
            snprintf(host, sizeof(host), "2001:db8:%x::%x", turn, i);
            assert_true(has(OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i)));
            assert_false(has(OWN_PORT_EXTERNAL, host, (uint16_t)(999 + i)));
            take_away(OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i));
            assert_false(has(OWN_PORT_EXTERNAL, host, (uint16_t)(1000 + i)));
        }
    }
}

enum { ROUNDS = 20000 };

static void *come_and_go(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        union netaddr local = *(const union netaddr *)arg;
        netaddr_set_port(&local, (uint16_t)(2000 + i % 1000));
        assert_true(own_ports_add(own, OWN_PORT_RELAY, &local));
        own_ports_remove(own, OWN_PORT_RELAY, &local);
    }
    return NULL;
}

/* What stays is found at every moment, while others come and go. */
static void readers_are_not_disturbed(void **state)
{
    (void)state;
    union netaddr hosts[] = {at("10.0.0.1", 0), at("10.0.0.2", 0)};
    pthread_t threads[2];
    for (uint16_t port = 1000; port < 1100; port++)
        add(OWN_PORT_EXTERNAL, "10.0.0.1", port);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &hosts[i]), 0);
    for (int i = 0; i < ROUNDS; i++) {
        const uint16_t port = (uint16_t)(1000 + i % 100);
        assert_true(has(OWN_PORT_EXTERNAL, "10.0.0.1", port));
        assert_false(has(OWN_PORT_RELAY, "10.0.0.1", port));
        located("198.51.100.7", port, "10.0.0.1");
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_process_without_sockets_has_none, begin, end),
        cmocka_unit_test_setup_teardown(a_relay_port_is_ours_at_its_address, begin, end),
        cmocka_unit_test_setup_teardown(an_external_port_is_ours_where_it_is_bound, begin, end),
        cmocka_unit_test_setup_teardown(a_port_of_every_address_is_ours_at_each, begin, end),
        cmocka_unit_test_setup_teardown(many_come_and_go, begin, end),
        cmocka_unit_test_setup_teardown(addresses_come_and_go, begin, end),
        cmocka_unit_test_setup_teardown(readers_are_not_disturbed, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
