#include "test.h"

#include <errno.h>
#include <unistd.h>

#include "net/ports.h"

static int udp(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(fd >= 0);
    return fd;
}

static union netaddr loopback(void)
{
    union netaddr local;
    assert_true(netaddr_parse(&local, "127.0.0.1", 0));
    return local;
}

static void give_back(const struct ports *ports, int fd, uint16_t port, uint64_t used_until_ms)
{
    union netaddr local = loopback();
    netaddr_set_port(&local, port);
    close(fd);
    ports_release(ports, &local, used_until_ms);
}

static void the_range_is_the_systems(void **state)
{
    (void)state;
    struct ports ports;
    ports_init_system(&ports);
    assert_true(ports.first >= 1 && ports.first <= ports.last);
}

/* Each port of a small range is given once, whatever the dice say; then there are none. */
static void every_port_is_found_and_none_twice(void **state)
{
    (void)state;
    const struct ports ports = {.first = 20100, .last = 20107, .must_rest = true};
    int fds[8];
    uint16_t bound[8];
    bool given[8] = {false};
    for (int i = 0; i < 8; i++) {
        union netaddr local = loopback();
        fds[i] = udp();
        assert_int_equal(ports_bind(&ports, fds[i], &local, 0), 0);
        uint16_t port = bound[i] = netaddr_port(&local);
        assert_in_range(port, 20100, 20107);
        assert_false(given[port - 20100]);
        given[port - 20100] = true;
    }
    union netaddr local = loopback();
    int late = udp();
    assert_int_equal(ports_bind(&ports, late, &local, 0), -EADDRINUSE);
    close(fds[3]);
    netaddr_set_port(&local, bound[3]);
    ports_release(&ports, &local, 0);
    assert_int_equal(ports_bind(&ports, late, &local, 0), 0);
    assert_int_equal(netaddr_port(&local), bound[3]);
    fds[3] = late;
    for (int i = 0; i < 8; i++)
        give_back(&ports, fds[i], bound[i], 0);
}

/* Row 11: what was used a moment ago is not given to somebody else. */
static void a_port_rests(void **state)
{
    (void)state;
    const struct ports ports = {.first = 20200, .last = 20201, .must_rest = true, .rest_ms = 120000};
    union netaddr local = loopback();
    int one = udp(), other = udp(), late = udp();
    assert_int_equal(ports_bind(&ports, one, &local, 5000000), 0);
    uint16_t port = netaddr_port(&local);
    assert_int_equal(ports_bind(&ports, other, &local, 5000000), 0);
    give_back(&ports, one, port, 5000500);
    assert_int_equal(ports_bind(&ports, late, &local, 5120500), -EADDRINUSE);
    assert_int_equal(ports_bind(&ports, late, &local, 5121500), 0);
    assert_int_equal(netaddr_port(&local), port);
    close(late);
    close(other);
}

/* ... unless any port will do, and there is no other. */
static void an_unrested_port_is_the_last_resort(void **state)
{
    (void)state;
    const struct ports ports = {.first = 20300, .last = 20301, .rest_ms = 120000};
    for (int i = 0; i < 20; i++) {
        union netaddr local = loopback();
        int one = udp(), other = udp();
        assert_int_equal(ports_bind(&ports, one, &local, 5000000), 0);
        uint16_t port = netaddr_port(&local);
        give_back(&ports, one, port, 5000000);
        assert_int_equal(ports_bind(&ports, other, &local, 5000000), 0);
        if (i == 0)
            assert_int_not_equal(netaddr_port(&local), port); /* the other one is as good as new */
        give_back(&ports, other, netaddr_port(&local), 5000000);
    }
}

/* A port that another program has is none of ours, and counts as taken for this once only. */
static void a_port_of_another_program_is_passed_over(void **state)
{
    (void)state;
    const struct ports ports = {.first = 20400, .last = 20400, .must_rest = true};
    union netaddr local = loopback();
    int theirs = udp(), ours = udp();
    netaddr_set_port(&local, 20400);
    assert_int_equal(bind(theirs, &local.sa, netaddr_len(&local)), 0);
    assert_int_equal(ports_bind(&ports, ours, &local, 0), -EADDRINUSE);
    close(theirs);
    assert_int_equal(ports_bind(&ports, ours, &local, 0), 0);
    give_back(&ports, ours, 20400, 0);
}

static void ports_are_not_in_order(void **state)
{
    (void)state;
    struct ports ports;
    ports_init_system(&ports);
    int ascending = 0;
    unsigned before = 0;
    for (int i = 0; i < 20; i++) {
        union netaddr local = loopback();
        int fd = udp();
        assert_int_equal(ports_bind(&ports, fd, &local, 0), 0);
        ascending += netaddr_port(&local) == before + 1;
        before = netaddr_port(&local);
        close(fd);
    }
    assert_true(ascending < 5);
}

static void a_host_that_is_not_ours_is_an_error(void **state)
{
    (void)state;
    struct ports ports;
    ports_init_system(&ports);
    union netaddr local;
    assert_true(netaddr_parse(&local, "192.0.2.1", 0));
    int fd = udp();
    assert_int_equal(ports_bind(&ports, fd, &local, 0), -EADDRNOTAVAIL);
    close(fd);
}

static void one_is_left_out(void **state)
{
    (void)state;
    const struct ports ports = {.first = 20400, .last = 20401, .must_rest = true, .except = 20400};
    union netaddr local = loopback();
    int fd = udp(), late = udp();
    assert_int_equal(ports_bind(&ports, fd, &local, 0), 0);
    assert_int_equal(netaddr_port(&local), 20401);
    union netaddr none = loopback();
    assert_int_equal(ports_bind(&ports, late, &none, 0), -EADDRINUSE);
    close(late);
    give_back(&ports, fd, 20401, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_range_is_the_systems),
        cmocka_unit_test(every_port_is_found_and_none_twice),
        cmocka_unit_test(a_port_rests),
        cmocka_unit_test(an_unrested_port_is_the_last_resort),
        cmocka_unit_test(a_port_of_another_program_is_passed_over),
        cmocka_unit_test(ports_are_not_in_order),
        cmocka_unit_test(a_host_that_is_not_ours_is_an_error),
        cmocka_unit_test(one_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
