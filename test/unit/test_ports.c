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
    struct ports ports = {20100, 20107};
    int fds[8];
    bool given[8] = {false};
    for (int i = 0; i < 8; i++) {
        union netaddr local = loopback();
        fds[i] = udp();
        assert_int_equal(ports_bind(&ports, fds[i], &local), 0);
        unsigned port = netaddr_port(&local);
        assert_in_range(port, 20100, 20107);
        assert_false(given[port - 20100]);
        given[port - 20100] = true;
    }
    union netaddr local = loopback();
    int late = udp();
    assert_int_equal(ports_bind(&ports, late, &local), -EADDRINUSE);
    close(fds[3]);
    assert_int_equal(ports_bind(&ports, late, &local), 0);
    close(late);
    for (int i = 0; i < 8; i++)
        if (i != 3)
            close(fds[i]);
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
        assert_int_equal(ports_bind(&ports, fd, &local), 0);
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
    assert_int_equal(ports_bind(&ports, fd, &local), -EADDRNOTAVAIL);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_range_is_the_systems),
        cmocka_unit_test(every_port_is_found_and_none_twice),
        cmocka_unit_test(ports_are_not_in_order),
        cmocka_unit_test(a_host_that_is_not_ours_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
