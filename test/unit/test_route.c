#include "kernel/route.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "kernel/links.h"
#include "kernel_namespace.h"

static struct routes routes;
static bool has_namespace;

static int begin(void **state)
{
    (void)state;
    has_namespace = namespace_enter();
    return routes_open(&routes);
}

static int end(void **state)
{
    (void)state;
    routes_close(&routes);
    return 0;
}

/* ---- the kernel's answers ---- */

struct answer {
    struct nlmsghdr header;
    struct rtmsg route;
    uint8_t attributes[64];
};

static struct answer answer_begin(unsigned char type)
{
    return (struct answer){
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)), .nlmsg_type = RTM_NEWROUTE, .nlmsg_seq = 7},
        .route = {.rtm_family = AF_INET, .rtm_type = type},
    };
}

static void answer_add(struct answer *answer, unsigned short type, uint32_t value, unsigned short len)
{
    const struct rtattr attribute = {.rta_type = type, .rta_len = len};
    uint8_t *at = (uint8_t *)answer + answer->header.nlmsg_len;
    memcpy(at, &attribute, sizeof(attribute));
    memcpy(at + sizeof(attribute), &value, sizeof(value));
    answer->header.nlmsg_len += 8;
}

static uint32_t parse(const struct answer *answer)
{
    struct kernel_route route = {.interface = 99};
    assert_true(route_parse((const uint8_t *)answer, answer->header.nlmsg_len, 7, &route));
    return route.interface;
}

static void an_answer_names_the_interface(void **state)
{
    (void)state;
    struct answer answer = answer_begin(RTN_UNICAST);
    answer_add(&answer, RTA_TABLE, RT_TABLE_MAIN, 8);
    answer_add(&answer, RTA_OIF, 3, 8);
    answer_add(&answer, RTA_PREFSRC, 0, 8);
    assert_int_equal(parse(&answer), 3);
}

static void other_ways_are_not_for_the_kernel_path(void **state)
{
    (void)state;
    static const unsigned char types[] = {RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_BLACKHOLE, RTN_UNREACHABLE};
    static const unsigned short attributes[] = {RTA_MULTIPATH, RTA_ENCAP_TYPE, RTA_VIA};
    for (size_t i = 0; i < sizeof(types); i++) {
        struct answer answer = answer_begin(types[i]);
        answer_add(&answer, RTA_OIF, 3, 8);
        assert_int_equal(parse(&answer), 0);
    }
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        struct answer answer = answer_begin(RTN_UNICAST);
        answer_add(&answer, RTA_OIF, 3, 8);
        answer_add(&answer, attributes[i], 0, 8);
        assert_int_equal(parse(&answer), 0);
    }
}

static void a_broken_answer_has_no_interface(void **state)
{
    (void)state;
    struct kernel_route route;
    struct answer answer = answer_begin(RTN_UNICAST);
    answer_add(&answer, RTA_OIF, 3, 8);
    const uint32_t whole = answer.header.nlmsg_len;
    for (uint32_t len = 0; len < whole; len++) /* cut short */
        assert_true(!route_parse((const uint8_t *)&answer, len, 7, &route) || route.interface == 0);
    answer.header.nlmsg_len = whole;
    for (unsigned short len = 0; len < 64; len++) { /* an attribute of another length */
        struct answer other = answer_begin(RTN_UNICAST);
        answer_add(&other, RTA_OIF, 3, len);
        assert_int_equal(parse(&other), len == 8 ? 3 : 0);
    }
    answer.header.nlmsg_type = NLMSG_ERROR;
    assert_int_equal(parse(&answer), 0);
    answer.header.nlmsg_seq = 6; /* to another question */
    assert_false(route_parse((const uint8_t *)&answer, whole, 7, &route));
}

/* ---- the kernel itself ---- */

static void expect_route(const char *local, const char *peer, const char *source, const char *next_hop, uint32_t mtu)
{
    struct kernel_route route;
    const union netaddr from = at(local, 4000), to = at(peer, 53), expected = at(source, 4000), next = at(next_hop, 0);
    assert_true(routes_find(&routes, &from, &to, &route));
    assert_int_equal(route.interface, if_nametoindex("kp0"));
    assert_int_equal(route.mtu, mtu);
    assert_true(netaddr_equal(&route.local, &expected));
    assert_true(netaddr_equal_host(&route.next_hop, &next));
}

static bool has_route(const char *local, const char *peer)
{
    struct kernel_route route;
    const union netaddr from = at(local, 4000), to = at(peer, 53);
    return routes_find(&routes, &from, &to, &route);
}

static void a_route_has_interface_source_and_mtu(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    expect_route("0.0.0.0", "192.0.2.9", "192.0.2.1", "192.0.2.9", 1500);
    expect_route("::", "2001:db8::9", "2001:db8::1", "2001:db8::9", 1500);
    run("ip route add 198.51.100.0/24 via 192.0.2.2 mtu 1400");
    run("ip -6 route add 2001:db8:5::/48 via 2001:db8::2 mtu 1300");
    expect_route("0.0.0.0", "198.51.100.9", "192.0.2.1", "192.0.2.2", 1400);
    expect_route("::", "2001:db8:5::9", "2001:db8::1", "2001:db8::2", 1300);
}

static void a_bound_socket_keeps_its_address(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    run("ip address add 192.0.2.77/24 dev kp0");
    expect_route("192.0.2.77", "192.0.2.9", "192.0.2.77", "192.0.2.9", 1500);
    expect_route("0.0.0.0", "192.0.2.9", "192.0.2.1", "192.0.2.9", 1500);
}

/* Else the address that peers see would change in the middle. */
static void temporary_addresses_are_not_used(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    run("sysctl -qw net.ipv6.conf.kp0.use_tempaddr=2 net.ipv6.conf.kp0.accept_dad=0");
    run("ip address add 2001:db8:7::1/64 dev kp0 nodad mngtmpaddr");
    run("sleep 0.2; ip -6 address show dev kp0 -tentative | grep -q temporary");
    expect_route("::", "2001:db8:7::9", "2001:db8:7::1", "2001:db8:7::9", 1500);
}

static void some_peers_have_no_route_for_the_kernel_path(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    assert_false(has_route("0.0.0.0", "192.0.2.1"));     /* this host */
    assert_false(has_route("0.0.0.0", "192.0.2.255"));   /* a broadcast */
    assert_false(has_route("0.0.0.0", "203.0.113.1"));   /* none at all */
    assert_false(has_route("::", "fe80::1%kp0"));        /* link-local */
    assert_false(has_route("::", "192.0.2.9"));          /* another family than the socket's */
    assert_false(has_route("192.0.2.200", "192.0.2.9")); /* not an address of this host */
    run("ip route add blackhole 203.0.113.0/24");
    assert_false(has_route("0.0.0.0", "203.0.113.1"));
    assert_true(has_route("0.0.0.0", "192.0.2.9"));
}

static void interfaces_without_an_address_are_left_out(void **state)
{
    (void)state;
    if (!has_namespace)
        SKIP_TEST("needs a network namespace");
    struct links links;
    char text[64], cut[6];
    assert_int_equal(links_read(&links), 0); /* not lo; kp1 has a link-local address only */
    links_format(&links, text, sizeof(text));
    assert_string_equal(text, "kp0");
    assert_true(links_have(&links, if_nametoindex("kp0")));
    assert_false(links_have(&links, if_nametoindex("kp1")));
    run("ip address add 192.0.3.1/24 dev kp1");
    assert_int_equal(links_read(&links), 0);
    assert_int_equal(links.count, 2);
    links_format(&links, cut, sizeof(cut));
    assert_int_equal(strlen(cut), 5);
    run("ip link set kp1 down");
    assert_int_equal(links_read(&links), 0);
    assert_int_equal(links.count, 1);
    run("ip link set kp1 up");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_names_the_interface),
        cmocka_unit_test(other_ways_are_not_for_the_kernel_path),
        cmocka_unit_test(a_broken_answer_has_no_interface),
        cmocka_unit_test(a_route_has_interface_source_and_mtu),
        cmocka_unit_test(a_bound_socket_keeps_its_address),
        cmocka_unit_test(temporary_addresses_are_not_used),
        cmocka_unit_test(some_peers_have_no_route_for_the_kernel_path),
        cmocka_unit_test(interfaces_without_an_address_are_left_out),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
