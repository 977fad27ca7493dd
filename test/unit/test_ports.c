#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "net/ports.h"

static struct ports *ports;
static uint64_t now_ms;

static int begin(void **state)
{
    (void)state;
    ports = ports_new();
    now_ms = 5000000;
    return ports ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    ports_free(ports);
    return 0;
}

/* A bound socket. */
struct bound {
    int fd; /* or a negative errno */
    union netaddr local;
    struct port_lease lease;
};

static struct bound bind_at(const struct port_range *range, const char *host)
{
    struct bound bound = {.fd = -1};
    assert_true(netaddr_parse(&bound.local, host, 0));
    bound.fd = socket(bound.local.sa.sa_family, SOCK_DGRAM, 0);
    assert_true(bound.fd >= 0);
    int error = ports_bind(range, bound.fd, &bound.local, now_ms, &bound.lease);
    if (error) {
        close(bound.fd);
        bound.fd = error;
    }
    return bound;
}

static struct bound bind_one(const struct port_range *range)
{
    return bind_at(range, "127.0.0.1");
}

static void give_back(const struct port_range *range, struct bound *bound, uint64_t used_until_ms)
{
    assert_true(bound->fd >= 0);
    close(bound->fd);
    ports_release(range, &bound->lease, used_until_ms, now_ms);
}

static struct port_range from_to(uint16_t first, uint16_t last)
{
    return (struct port_range){.ports = ports, .option = "udp.ports", .first = first, .last = last, .rest_ms = 120000};
}

static void expect_use(const struct port_range *range, uint64_t used, uint64_t resting, uint64_t total)
{
    const struct port_use use = ports_use(range, now_ms);
    assert_int_equal(use.used, used);
    assert_int_equal(use.resting, resting);
    assert_int_equal(use.total, total);
}

static void the_range_is_the_systems(void **state)
{
    (void)state;
    const struct port_range range = port_range_of_system(ports);
    assert_true(range.first >= 1 && range.first <= range.last);
    assert_true(range.random);
}

/* Each port of a small range is given once, whatever the dice say; then there are none. */
static void every_port_is_found_and_none_twice(void **state)
{
    (void)state;
    const struct port_range range = from_to(20100, 20107);
    struct bound bound[8];
    bool given[8] = {false};
    for (int i = 0; i < 8; i++) {
        bound[i] = bind_one(&range);
        const uint16_t port = netaddr_port(&bound[i].local);
        assert_in_range(port, 20100, 20107);
        assert_false(given[port - 20100]);
        given[port - 20100] = true;
        assert_int_equal(ports_use(&range, now_ms).full, i == 7);
        assert_int_equal(ports_use(&range, now_ms).exhausted, i == 7);
    }
    assert_int_equal(bind_one(&range).fd, -EADDRINUSE);
    const uint16_t freed = netaddr_port(&bound[3].local);
    give_back(&range, &bound[3], 0);
    bound[3] = bind_one(&range);
    assert_int_equal(netaddr_port(&bound[3].local), freed);
    for (int i = 0; i < 8; i++)
        give_back(&range, &bound[i], 0);
    expect_use(&range, 0, 0, 8);
}

/* Row 11: what was used a moment ago is not given to somebody else. */
static void a_port_rests(void **state)
{
    (void)state;
    const struct port_range range = from_to(20200, 20202);
    struct bound one = bind_one(&range), other = bind_one(&range);
    const uint16_t port = netaddr_port(&one.local);
    give_back(&range, &one, now_ms + 500);
    expect_use(&range, 1, 1, 3);
    now_ms += 120000;
    struct bound third = bind_one(&range);
    assert_int_not_equal(netaddr_port(&third.local), port);
    now_ms += 1500;
    expect_use(&range, 2, 0, 3);
    one = bind_one(&range);
    assert_int_equal(netaddr_port(&one.local), port);
    assert_false(one.lease.early);
    give_back(&range, &one, 0);
    give_back(&range, &other, 0);
    give_back(&range, &third, 0);
}

/* Row 63: ... unless there is no other. Nobody is refused while a port is free. */
static void an_unrested_port_is_the_last_resort(void **state)
{
    (void)state;
    const struct port_range range = from_to(20300, 20301);
    for (int i = 0; i < 20; i++) {
        struct bound one = bind_one(&range);
        const uint16_t port = netaddr_port(&one.local);
        give_back(&range, &one, now_ms);
        struct bound other = bind_one(&range);
        assert_int_not_equal(netaddr_port(&other.local), port); /* it has rested longer */
        assert_int_equal(other.lease.early, i > 0);
        give_back(&range, &other, now_ms);
    }
}

/* A port that another program has is none of ours; it is tried again later. */
static void a_port_of_another_program_is_passed_over(void **state)
{
    (void)state;
    const struct port_range range = from_to(20400, 20401);
    union netaddr local;
    assert_true(netaddr_parse(&local, "127.0.0.1", 20400));
    int theirs = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(theirs, &local.sa, netaddr_len(&local)), 0);
    struct bound ours = bind_one(&range);
    assert_int_equal(netaddr_port(&ours.local), 20401);
    assert_int_equal(bind_one(&range).fd, -EADDRINUSE);
    close(theirs);
    struct bound late = bind_one(&range);
    assert_int_equal(netaddr_port(&late.local), 20400);
    give_back(&range, &ours, 0);
    give_back(&range, &late, 0);
}

static void ports_are_not_in_order(void **state)
{
    (void)state;
    const struct port_range range = port_range_of_system(ports);
    int ascending = 0;
    unsigned before = 0;
    for (int i = 0; i < 20; i++) {
        struct bound bound = bind_one(&range);
        ascending += netaddr_port(&bound.local) == before + 1;
        before = netaddr_port(&bound.local);
        give_back(&range, &bound, 0);
    }
    assert_true(ascending < 5);
}

static void a_host_that_is_not_ours_is_an_error(void **state)
{
    (void)state;
    const struct port_range range = from_to(20450, 20450);
    assert_int_equal(bind_at(&range, "192.0.2.1").fd, -EADDRNOTAVAIL);
    struct bound here = bind_one(&range);
    give_back(&range, &here, 0);
    expect_use(&range, 0, 0, 2); /* two addresses */
}

static void one_is_left_out(void **state)
{
    (void)state;
    struct port_range range = from_to(20500, 20501);
    range.except = 20500;
    expect_use(&range, 0, 0, 1);
    struct bound bound = bind_one(&range);
    assert_int_equal(netaddr_port(&bound.local), 20501);
    assert_int_equal(bind_one(&range).fd, -EADDRINUSE);
    expect_use(&range, 1, 0, 1);
    give_back(&range, &bound, 0);
}

/* N ports at M addresses serve N x M sockets. */
static void each_address_has_all_ports(void **state)
{
    (void)state;
    const struct port_range range = from_to(20600, 20603);
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    struct bound bound[12];
    for (int i = 0; i < 12; i++) {
        bound[i] = bind_at(&range, hosts[i / 4]);
        assert_true(bound[i].fd >= 0);
    }
    expect_use(&range, 12, 0, 12);
    assert_int_equal(bind_one(&range).fd, -EADDRINUSE);
    give_back(&range, &bound[0], 0);
    assert_false(ports_use(&range, now_ms).exhausted);
    assert_int_equal(ports_use(&range, now_ms).full, 2);
    for (int i = 1; i < 12; i++)
        give_back(&range, &bound[i], 0);
}

/* A socket at every address has its port everywhere: those that share the range with such ones keep out of its way. */
static void a_port_everywhere_is_taken_at_each_address(void **state)
{
    (void)state;
    struct port_range range = from_to(20700, 20703);
    range.everywhere = true;
    struct bound any[2], here[2];
    for (int i = 0; i < 2; i++) {
        any[i] = bind_at(&range, "0.0.0.0");
        here[i] = bind_one(&range);
        assert_true(any[i].fd >= 0 && here[i].fd >= 0);
    }
    expect_use(&range, 4, 0, 4);
    assert_int_equal(bind_one(&range).fd, -EADDRINUSE);
    for (int i = 0; i < 2; i++) {
        give_back(&range, &any[i], 0);
        give_back(&range, &here[i], 0);
    }
}

static void a_wanted_port_comes_first(void **state)
{
    (void)state;
    struct port_range range = from_to(20800, 20899);
    for (uint16_t wanted = 20830; wanted <= 20930; wanted += 100) { /* of the range, and not */
        range.wanted = wanted;
        struct bound bound = bind_one(&range), other = bind_one(&range);
        assert_int_equal(netaddr_port(&bound.local), wanted);
        assert_in_range(netaddr_port(&other.local), 20800, 20899);
        assert_int_not_equal(netaddr_port(&other.local), wanted);
        give_back(&range, &bound, now_ms);
        bound = bind_one(&range);
        assert_int_not_equal(netaddr_port(&bound.local), wanted); /* it rests */
        give_back(&range, &bound, 0);
        give_back(&range, &other, 0);
    }
}

/* Clients may name many of this host's addresses: what is kept of those that they have left is bounded. */
static void addresses_without_sockets_are_forgotten(void **state)
{
    (void)state;
    const struct port_range range = from_to(20001, 40000);
    for (int i = 0; i < 4000; i++) {
        char host[16];
        snprintf(host, sizeof(host), "127.1.%d.%d", i / 250, 1 + i % 250);
        struct bound bound = bind_at(&range, host);
        give_back(&range, &bound, now_ms);
    }
    const struct port_use use = ports_use(&range, now_ms);
    assert_in_range(use.addresses, 100, 3000);
    /* One for each address, and those that other programs on this machine happen to have. */
    assert_in_range(use.resting, use.addresses, use.addresses + 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_range_is_the_systems, begin, end),
        cmocka_unit_test_setup_teardown(every_port_is_found_and_none_twice, begin, end),
        cmocka_unit_test_setup_teardown(a_port_rests, begin, end),
        cmocka_unit_test_setup_teardown(an_unrested_port_is_the_last_resort, begin, end),
        cmocka_unit_test_setup_teardown(a_port_of_another_program_is_passed_over, begin, end),
        cmocka_unit_test_setup_teardown(ports_are_not_in_order, begin, end),
        cmocka_unit_test_setup_teardown(a_host_that_is_not_ours_is_an_error, begin, end),
        cmocka_unit_test_setup_teardown(one_is_left_out, begin, end),
        cmocka_unit_test_setup_teardown(each_address_has_all_ports, begin, end),
        cmocka_unit_test_setup_teardown(a_port_everywhere_is_taken_at_each_address, begin, end),
        cmocka_unit_test_setup_teardown(a_wanted_port_comes_first, begin, end),
        cmocka_unit_test_setup_teardown(addresses_without_sockets_are_forgotten, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
