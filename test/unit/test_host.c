/* What all workers share is in one object: two of them in one process share nothing. */
#include "host/host.h"

#include "host/shared_port_table.h"
#include "net/ports.h"
#include "net/sock.h"
#include "policy/own_ports.h"
#include "policy/quota.h"
#include "policy/rates.h"
#include "test.h"

#include <unistd.h>

static struct host *one, *other;

static int begin(void **state)
{
    (void)state;
    one = host_new();
    other = host_new();
    return one && other ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    host_free(one);
    host_free(other);
    return 0;
}

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static void a_new_host_has_no_links_and_no_addresses(void **state)
{
    (void)state;
    assert_null(one->addresses);
    assert_int_equal(atomic_load(&one->handover.previous), -1);
    assert_int_equal(atomic_load(&one->handover.next), -1);
    assert_int_equal(atomic_load(&one->last_session_id), 0);
}

static void associations_at_the_shared_port_are_of_one_host(void **state)
{
    (void)state;
    static int worker, owner;
    const union netaddr relay = at("192.0.2.1", 1080), client = at("192.0.2.2", 4711);
    struct shared_port_entry *entry, *found;
    entry = shared_port_table_add(one->shared_port, &relay, &client, 0, &worker, &owner);
    assert_non_null(entry);
    assert_int_equal(shared_port_table_find(other->shared_port, &relay, &client, true, 0, &found),
                     SHARED_PORT_STRANGER);
    assert_int_equal(shared_port_table_find(one->shared_port, &relay, &client, true, 0, &found), SHARED_PORT_FOUND);
    shared_port_table_release(one->shared_port, found);
    shared_port_table_remove(one->shared_port, entry, 0);
}

static void rates_of_a_user_are_of_one_host(void **state)
{
    (void)state;
    const struct terms terms = {.user = {.bytes = 1000000}};
    struct rates *here, *there;
    assert_true(rates_new(&here, one->user_rates, &terms, "alice"));
    assert_true(rates_new(&there, other->user_rates, &terms, "alice"));
    const uint64_t full = rates_allow(there, RATES_UP, 1000000);
    rates_charge(here, RATES_UP, 10 * full, 1000000);
    assert_int_equal(rates_allow(there, RATES_UP, 1000000), full);
    assert_int_equal(rates_allow(here, RATES_UP, 1000000), 0);
    rates_free(here);
    rates_free(there);
}

static void sockets_and_accounts_are_of_one_host(void **state)
{
    (void)state;
    const union netaddr local = at("192.0.2.1", 40000);
    assert_true(own_ports_add(one->own_ports, OWN_PORT_EXTERNAL, &local));
    assert_true(own_ports_has(one->own_ports, OWN_PORT_EXTERNAL, &local));
    assert_false(own_ports_has(other->own_ports, OWN_PORT_EXTERNAL, &local));
    own_ports_remove(one->own_ports, OWN_PORT_EXTERNAL, &local);
    struct quota_account *account = quota_of_client(one->quota, &local);
    assert_non_null(account);
    assert_int_equal(quota_size(other->quota), 0);
    quota_close(account);
}

static void ports_are_of_one_host(void **state)
{
    (void)state;
    union netaddr local = at("127.0.0.1", 0);
    const struct port_range here = port_range_of_system(one->ports), there = port_range_of_system(other->ports);
    struct port_lease lease;
    int fd = sock_udp(NULL, &local, &here, 1000, &lease);
    assert_true(fd >= 0);
    assert_int_equal(ports_use(&here, 1000).used, 1);
    assert_int_equal(ports_use(&there, 1000).used, 0);
    close(fd);
    ports_release(&here, &lease, 0, 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_new_host_has_no_links_and_no_addresses),
        TEST(associations_at_the_shared_port_are_of_one_host),
        TEST(rates_of_a_user_are_of_one_host),
        TEST(sockets_and_accounts_are_of_one_host),
        TEST(ports_are_of_one_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
