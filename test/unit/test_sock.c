#include "test.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/ports.h"
#include "net/sock.h"

static struct port_range range;
static struct port_lease lease;

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static bool wait_for(int fd, short what)
{
    struct pollfd poll_fd = {.fd = fd, .events = what};
    return poll(&poll_fd, 1, 5000) == 1;
}

/* A listener on a port of the system's choice. */
static int listen_somewhere(const char *host, union netaddr *where)
{
    union netaddr address = at(host, 0);
    int fd = sock_listen(&address, false);
    assert_true(fd >= 0);
    *where = sock_local(fd);
    return fd;
}

static void a_connection_is_accepted_and_has_two_ends(void **state)
{
    (void)state;
    union netaddr where, peer;
    int listener = listen_somewhere("127.0.0.1", &where);
    int out = sock_connect(NULL, &where, NULL);
    assert_true(out >= 0);
    assert_true(wait_for(out, POLLOUT));
    assert_int_equal(sock_error(out), 0);
    assert_true(wait_for(listener, POLLIN));
    int in = sock_accept(listener, &peer);
    assert_true(in >= 0);
    union netaddr ours = sock_local(out);
    assert_true(netaddr_equal(&ours, &peer));
    assert_int_equal(sock_accept(listener, &peer), -EAGAIN);
    close(in);
    close(out);
    close(listener);
}

/* Row 12: what a dual-stack listener reports is plain IPv4. */
static void a_mapped_peer_is_unmapped(void **state)
{
    (void)state;
    union netaddr where, peer;
    int listener = listen_somewhere("::", &where);
    union netaddr to = at("127.0.0.1", netaddr_port(&where));
    int out = sock_connect(NULL, &to, NULL);
    assert_true(wait_for(listener, POLLIN));
    int in = sock_accept(listener, &peer);
    assert_true(in >= 0);
    assert_int_equal(peer.sa.sa_family, AF_INET);
    assert_int_equal(sock_local(in).sa.sa_family, AF_INET);
    close(in);
    close(out);
    close(listener);
}

static void a_second_listener_is_refused_unless_shared(void **state)
{
    (void)state;
    union netaddr where;
    int listener = listen_somewhere("127.0.0.1", &where);
    assert_int_equal(sock_listen(&where, false), -EADDRINUSE);
    assert_int_equal(sock_listen(&where, true), -EADDRINUSE);
    close(listener);
    int first = sock_listen(&where, true), second = sock_listen(&where, true);
    assert_true(first >= 0 && second >= 0);
    assert_int_equal(sock_listen(&where, false), -EADDRINUSE);
    close(first);
    close(second);
}

/* A client that vanished without a word must be found, or its association would live for ever. */
static void dead_peers_are_looked_for(void **state)
{
    (void)state;
    union netaddr where, peer;
    int listener = listen_somewhere("127.0.0.1", &where), ends[2] = {sock_connect(NULL, &where, NULL)};
    assert_true(wait_for(listener, POLLIN));
    ends[1] = sock_accept(listener, &peer); /* has it from its listener */
    sock_keepalive(ends[0]);
    for (size_t i = 0; i < 2; i++) {
        int on = 0, idle = 0;
        socklen_t len = sizeof(int);
        assert_int_equal(getsockopt(ends[i], SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
        assert_int_equal(getsockopt(ends[i], IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len), 0);
        assert_true(on);
        assert_in_range(idle, 1, 300);
        close(ends[i]);
    }
    close(listener);
}

/* Row 44: of what a reader that never reads is sent. */
static void little_waits_where_there_is_little_room(void **state)
{
    (void)state;
    enum { ROOM = 32 * 1024, MOST = ROOM + 64 * 1024 }; /* the kernel looks when it needs another buffer: 64 KiB */
    static const char bytes[16 * 1024];
    union netaddr where, peer;
    int listener = listen_somewhere("127.0.0.1", &where), reader = sock_connect(NULL, &where, NULL), unsent = 0;
    assert_true(wait_for(listener, POLLIN));
    int writer = sock_accept(listener, &peer);
    sock_tcp_set_room(writer, ROOM);
    struct pollfd writable = {.fd = writer, .events = POLLOUT};
    while (poll(&writable, 1, 200) == 1)
        while (send(writer, bytes, sizeof(bytes), 0) > 0)
            ;
    assert_int_equal(ioctl(writer, SIOCOUTQNSD, &unsent), 0);
    assert_in_range(unsent, 1, MOST);
    close(reader);
    close(writer);
    close(listener);
}

/* Row 57: connections of the server before, in TIME_WAIT, do not keep the next one from its port. */
static void a_port_is_free_at_once(void **state)
{
    (void)state;
    union netaddr where, peer;
    int listener = listen_somewhere("127.0.0.1", &where), out = sock_connect(NULL, &where, NULL);
    assert_true(wait_for(listener, POLLIN));
    close(sock_accept(listener, &peer)); /* the side that closes first waits */
    assert_true(wait_for(out, POLLIN));
    close(out);
    close(listener);
    listener = sock_listen(&where, false);
    assert_true(listener >= 0);
    close(listener);
}

static void a_listener_within_a_range(void **state)
{
    (void)state;
    /* Where the system takes no ports for others from; and several of us may run at once. */
    const uint16_t low = (uint16_t)(10000 + getpid() % 2000 * 4), high = (uint16_t)(low + 3);
    int fds[4], sum = 0;
    union netaddr address = at("127.0.0.1", 0);
    const struct port_range four = {.ports = range.ports, .stream = true, .first = low, .last = high};
    struct port_lease leases[4], none;
    for (size_t i = 0; i < 4; i++) {
        fds[i] = sock_listen_within(NULL, &address, &four, 0, &leases[i]);
        assert_true(fds[i] >= 0);
        const union netaddr local = sock_local(fds[i]);
        assert_true(netaddr_equal(&local, &address));
        sum += netaddr_port(&address) - low;
    }
    assert_int_equal(sum, 0 + 1 + 2 + 3);
    assert_int_equal(sock_listen_within(NULL, &address, &four, 0, &none), -EADDRINUSE);
    for (size_t i = 0; i < 4; i++) {
        close(fds[i]);
        ports_release(&four, &leases[i], 0, 0);
    }
    fds[0] = sock_listen_within(NULL, &address, &four, 0, &leases[0]);
    assert_true(fds[0] >= 0);
    close(fds[0]);
    ports_release(&four, &leases[0], 0, 0);
}

static void nobody_listens(void **state)
{
    (void)state;
    union netaddr where;
    close(listen_somewhere("127.0.0.1", &where));
    int fd = sock_connect(NULL, &where, NULL);
    if (fd >= 0) {
        assert_true(wait_for(fd, POLLOUT));
        assert_int_equal(sock_error(fd), ECONNREFUSED);
        close(fd);
    } else {
        assert_int_equal(fd, -ECONNREFUSED);
    }
}

static void a_connection_comes_from_the_wanted_address(void **state)
{
    (void)state;
    union netaddr where, peer;
    const struct sock_way way = {.from = at("127.0.0.77", 0)};
    int listener = listen_somewhere("127.0.0.1", &where);
    int out = sock_connect(NULL, &where, &way);
    assert_true(out >= 0);
    assert_true(wait_for(listener, POLLIN));
    int in = sock_accept(listener, &peer);
    assert_true(netaddr_equal_host(&peer, &way.from));
    close(in);
    close(out);
    close(listener);
}

static const struct sock_egress nothing_said;

static uint32_t mark_of(int fd)
{
    uint32_t mark = 0;
    socklen_t len = sizeof(mark);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len), 0);
    return mark;
}

static void a_mark_is_set_or_the_socket_is_not_had(void **state)
{
    (void)state;
    union netaddr where;
    const struct sock_way way = {.egress.mark = 0x80000001};
    int listener = listen_somewhere("127.0.0.1", &where), udp = socket(AF_INET, SOCK_DGRAM, 0);
    int out = sock_connect(NULL, &where, &way), error = sock_set_egress(udp, AF_INET, &way.egress);
    if (out >= 0) {
        assert_int_equal(mark_of(out), way.egress.mark);
        assert_int_equal(error, 0);
        assert_int_equal(mark_of(udp), way.egress.mark);
        assert_int_equal(sock_set_egress(udp, AF_INET, &nothing_said), 0); /* nothing is said, nothing is changed */
        assert_int_equal(mark_of(udp), way.egress.mark);
        close(out);
    } else {
        assert_int_equal(out, -EPERM);
        assert_int_equal(error, -EPERM);
        assert_int_equal(sock_set_egress(udp, AF_INET, &nothing_said), 0);
    }
    close(udp);
    close(listener);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void a_socket_is_bound_to_its_interface(void **state)
{
    (void)state;
    union netaddr where;
    struct sock_way way = {.egress.interface = "lo"};
    int listener = listen_somewhere("127.0.0.1", &where), udp = socket(AF_INET6, SOCK_DGRAM, 0);
    int out = sock_connect(NULL, &where, &way);
    char name[16] = "";
    socklen_t len = sizeof(name);
    assert_true(out >= 0);
    assert_int_equal(getsockopt(out, SOL_SOCKET, SO_BINDTODEVICE, name, &len), 0);
    assert_string_equal(name, "lo");
    close(out);
    strcpy(way.egress.interface, "no-such-one-now");
    assert_int_equal(sock_connect(NULL, &where, &way), -ENODEV);
    assert_int_equal(sock_set_egress(udp, AF_INET6, &way.egress), -ENODEV);
    close(udp);
    close(listener);
}

static void what_a_socket_sends_bears_its_dscp(void **state)
{
    (void)state;
    union netaddr where;
    const struct sock_way way = {.egress.dscp = 63};
    int listener = listen_somewhere("127.0.0.1", &where), udp = socket(AF_INET6, SOCK_DGRAM, 0);
    int out = sock_connect(NULL, &where, &way);
    assert_int_equal(option_of(out, IPPROTO_IP, IP_TOS), 63 << 2);
    assert_int_equal(sock_set_egress(udp, AF_INET6, &way.egress), 0);
    assert_int_equal(option_of(udp, IPPROTO_IPV6, IPV6_TCLASS), 63 << 2);
    close(out);
    close(udp);
    close(listener);
}

/* Row 32: no "don't fragment", and IPv4 takes no router's word for a smaller path. */
static void a_udp_socket_may_be_fragmented(void **state)
{
    (void)state;
    union netaddr four = at("127.0.0.1", 0), six = at("::1", 0);
    int fd4 = sock_udp(NULL, &four, &range, 0, &lease), fd6 = sock_udp(NULL, &six, &range, 0, &lease), discover4 = -1,
        discover6 = -1;
    socklen_t len = sizeof(int);
    assert_int_equal(getsockopt(fd4, IPPROTO_IP, IP_MTU_DISCOVER, &discover4, &len), 0);
    assert_int_equal(getsockopt(fd6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover6, &len), 0);
    assert_int_equal(discover4, IP_PMTUDISC_OMIT);
    assert_int_equal(discover6, IPV6_PMTUDISC_DONT);
    sock_udp_probe(fd4, AF_INET);
    sock_udp_probe(fd6, AF_INET6);
    assert_int_equal(option_of(fd4, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
    assert_int_equal(option_of(fd6, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
    close(fd4);
    close(fd6);
}

static void a_udp_socket_lets_its_peer_go_and_keeps_its_port(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        union netaddr local = at(hosts[i], 0), peer = at(hosts[i], 9), other = at(hosts[i], 0);
        int fd = sock_udp(NULL, &local, &range, 0, &lease), sender = sock_udp(NULL, &other, &range, 0, &lease);
        assert_true(fd >= 0 && sender >= 0);
        assert_true(netaddr_port(&local) != 0);
        assert_int_equal(sock_udp_connect(fd, &peer), 0);
        assert_int_equal(sock_udp_disconnect(fd), 0);
        union netaddr after = sock_local(fd);
        assert_true(netaddr_equal(&local, &after));
        char byte;
        assert_int_equal(sendto(sender, "x", 1, 0, &local.sa, netaddr_len(&local)), 1);
        assert_true(wait_for(fd, POLLIN));
        assert_int_equal(recv(fd, &byte, 1, 0), 1);
        assert_int_equal(sock_udp_connect(fd, &other), 0); /* and may be held again */
        close(fd);
        close(sender);
    }
}

/* Duplicate ports would deliver datagrams to somebody else's association. */
static void udp_ports_are_exclusive(void **state)
{
    (void)state;
    union netaddr local = at("127.0.0.1", 0);
    int fd = sock_udp(NULL, &local, &range, 0, &lease);
    int again = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    assert_int_equal(setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(setsockopt(again, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
    assert_int_equal(bind(again, &local.sa, netaddr_len(&local)), -1);
    assert_int_equal(errno, EADDRINUSE);
    close(again);
    close(fd);
}

static void an_abort_is_a_reset(void **state)
{
    (void)state;
    union netaddr where, peer;
    int listener = listen_somewhere("127.0.0.1", &where);
    int out = sock_connect(NULL, &where, NULL);
    assert_true(wait_for(listener, POLLIN));
    int in = sock_accept(listener, &peer);
    sock_abort(in);
    assert_true(wait_for(out, POLLIN));
    char byte;
    assert_int_equal(recv(out, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(out);
    close(listener);
}

static void loopback_has_a_route(void **state)
{
    (void)state;
    union netaddr here = at("127.0.0.1", 0);
    assert_true(sock_has_route(&here, NULL));
}

int main(void)
{
    range = port_range_of_system(ports_new());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_accepted_and_has_two_ends),
        cmocka_unit_test(a_mapped_peer_is_unmapped),
        cmocka_unit_test(a_second_listener_is_refused_unless_shared),
        cmocka_unit_test(dead_peers_are_looked_for),
        cmocka_unit_test(little_waits_where_there_is_little_room),
        cmocka_unit_test(a_port_is_free_at_once),
        cmocka_unit_test(a_listener_within_a_range),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_connection_comes_from_the_wanted_address),
        cmocka_unit_test(a_mark_is_set_or_the_socket_is_not_had),
        cmocka_unit_test(a_socket_is_bound_to_its_interface),
        cmocka_unit_test(what_a_socket_sends_bears_its_dscp),
        cmocka_unit_test(a_udp_socket_may_be_fragmented),
        cmocka_unit_test(a_udp_socket_lets_its_peer_go_and_keeps_its_port),
        cmocka_unit_test(udp_ports_are_exclusive),
        cmocka_unit_test(an_abort_is_a_reset),
        cmocka_unit_test(loopback_has_a_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
