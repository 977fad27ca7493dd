#include "net/icmp.h"

#include "test.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/netaddr.h"
#include "net/sock.h"

static union netaddr loopback(int family, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, family == AF_INET ? "127.0.0.1" : "::1", port));
    return address;
}

/* A socket that has sent `count` datagrams to where nobody listens, of which the system reports what it likes. */
static int refused(int family, int count)
{
    union netaddr local = loopback(family, 0);
    int closed = sock_udp_open(NULL, family, false), fd = sock_udp_open(NULL, family, false);
    assert_true(fd >= 0 && closed >= 0);
    assert_int_equal(sock_udp_bind(fd, &local), 0);
    assert_int_equal(sock_udp_bind(closed, &local), 0);
    const union netaddr nobody = sock_local(closed);
    close(closed);
    icmp_keep(fd, family);
    for (int i = 0; i < count; i++)
        if (sendto(fd, "x", 1, 0, &nobody.sa, netaddr_len(&nobody)) < 0) /* the one before was refused */
            assert_int_equal(sendto(fd, "x", 1, 0, &nobody.sa, netaddr_len(&nobody)), 1);
    return fd;
}

static bool is_readable(int fd, int timeout)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, timeout) > 0;
}

static void a_refusal_is_taken_once(void **state)
{
    (void)state;
    static const int families[] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        uint32_t counts[ICMP_KIND_COUNT] = {0, 0, 0, 40};
        int fd = refused(families[i], 1);
        assert_true(is_readable(fd, 5000));
        icmp_take(fd, counts);
        const uint32_t expected[ICMP_KIND_COUNT] = {1, 0, 0, 40};
        assert_memory_equal(counts, expected, sizeof(counts));
        assert_false(is_readable(fd, 0)); /* else its owner would be called for ever */
        assert_int_equal(sock_error(fd), 0);
        icmp_take(fd, counts);
        assert_memory_equal(counts, expected, sizeof(counts));
        close(fd);
    }
}

/* A datagram that waits behind stays; who is not asked to keep anything has nothing. */
static void datagrams_are_left_alone(void **state)
{
    (void)state;
    uint32_t counts[ICMP_KIND_COUNT] = {0};
    char byte;
    int fd = refused(AF_INET, 1);
    const union netaddr self = sock_local(fd);
    assert_true(is_readable(fd, 5000));
    icmp_take(fd, counts);
    assert_int_equal(sendto(fd, "y", 1, 0, &self.sa, netaddr_len(&self)), 1);
    icmp_take(fd, counts);
    assert_int_equal(counts[ICMP_PORT_UNREACHABLE], 1);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'y');
    close(fd);
}

/* An error of our own host's, as of a datagram that is too large, is none of those. */
static void what_no_other_host_says_does_not_count(void **state)
{
    (void)state;
    static char large[65536];
    uint32_t counts[ICMP_KIND_COUNT] = {0}, none[ICMP_KIND_COUNT] = {0};
    int fd = refused(AF_INET6, 0);
    sock_udp_probe(fd, AF_INET6);
    const union netaddr self = sock_local(fd);
    assert_int_equal(sendto(fd, large, sizeof(large), 0, &self.sa, netaddr_len(&self)), -1);
    icmp_take(fd, counts);
    assert_memory_equal(counts, none, sizeof(counts));
    close(fd);
}

static void one_call_is_a_fair_share(void **state)
{
    (void)state;
    uint32_t counts[ICMP_KIND_COUNT] = {0};
    int fd = refused(AF_INET, 300), calls = 0;
    assert_true(is_readable(fd, 5000));
    while (is_readable(fd, 0) && calls < 100) {
        uint32_t before = counts[ICMP_PORT_UNREACHABLE];
        icmp_take(fd, counts);
        assert_in_range(counts[ICMP_PORT_UNREACHABLE] - before, 1, 64);
        calls++;
    }
    assert_in_range(calls, 1, 99);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_is_taken_once),
        cmocka_unit_test(datagrams_are_left_alone),
        cmocka_unit_test(what_no_other_host_says_does_not_count),
        cmocka_unit_test(one_call_is_a_fair_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
