#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/hairpin.h"
#include "support/own_addresses.h"

static struct policy policy;

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

/* A proxy with 10.77.0.1 and fd77::1, which the world knows as 198.51.100.7 and 2001:db9::7, and external ports: 3000
 * of either family, 3001 of IPv4, 3002 at 10.77.0.1 and fd77::1 alone, and 3003 bound to an interface. */
static int set_up(void **state)
{
    static const char text[] = "udp: {external_ports: 3000-3999}";
    char *errors, *warnings;
    (void)state;
    struct config *config = config_parse("hairpin", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    free(warnings);
    policy.config = config;
    policy.advertised[FAMILY_V4] = at("198.51.100.7", 0);
    policy.advertised[FAMILY_V6] = at("2001:db9::7", 0);
    const union netaddr own[] = {at("10.77.0.1", 0), at("fd77::1", 0)};
    own_hosts_release(policy.own_hosts);
    policy.own_hosts = hosts_of(own, ARRAY_LEN(own));
    const union netaddr ports[] = {at("0.0.0.0", 3000), at("::", 3000), at("0.0.0.0", 3001), at("10.77.0.1", 3002),
                                   at("fd77::1", 3002)};
    const union netaddr bound = at("0.0.0.0", 3003);
    policy.own_ports = own_ports_new();
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        assert_true(own_ports_add(policy.own_ports, OWN_PORT_EXTERNAL, &ports[i]));
    assert_true(own_ports_add(policy.own_ports, OWN_PORT_BOUND, &bound));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    config_free((struct config *)policy.config);
    own_hosts_release(policy.own_hosts);
    policy.own_hosts = NULL;
    own_ports_free(policy.own_ports);
    return 0;
}

typedef void turn(const struct policy *policy, union netaddr *addr);

static void becomes(turn *turned_by, const char *host, uint16_t port, const char *turned)
{
    char before[NETADDR_TEXT_MAX], after[NETADDR_TEXT_MAX];
    union netaddr addr = at(host, port), expected = at(turned, port);
    turned_by(&policy, &addr);
    assert_string_equal(netaddr_format(&addr, after), netaddr_format(&expected, before));
}

static void a_port_of_ours_as_the_world_names_it(void **state)
{
    (void)state;
    becomes(hairpin_inward, "198.51.100.7", 3000, "127.0.0.1");
    becomes(hairpin_inward, "2001:db9::7", 3000, "::1");
    becomes(hairpin_inward, "198.51.100.7", 3001, "127.0.0.1");
    becomes(hairpin_inward, "198.51.100.7", 3002, "10.77.0.1");
    becomes(hairpin_inward, "2001:db9::7", 3002, "fd77::1");
}

static void what_else_there_is_goes_where_it_did(void **state)
{
    (void)state;
    becomes(hairpin_inward, "198.51.100.8", 3000, "198.51.100.8");
    becomes(hairpin_inward, "198.51.100.7", 3009, "198.51.100.7"); /* no port of ours: the NAT's own, or gone */
    becomes(hairpin_inward, "2001:db9::7", 3001, "2001:db9::7");
    becomes(hairpin_inward, "198.51.100.7", 3003, "198.51.100.7"); /* the loopback does not lead there */
    becomes(hairpin_inward, "10.77.0.1", 3000, "10.77.0.1");
}

static void the_way_back(void **state)
{
    (void)state;
    becomes(hairpin_outward, "127.0.0.1", 3000, "198.51.100.7");
    becomes(hairpin_outward, "10.77.0.1", 3002, "198.51.100.7");
    becomes(hairpin_outward, "::1", 3000, "2001:db9::7");
    becomes(hairpin_outward, "fd77::1", 3002, "2001:db9::7");
}

/* Who named the other so is answered by that name. */
static void by_an_address_of_this_host(void **state)
{
    (void)state;
    becomes(hairpin_inward, "10.77.0.1", 3001, "10.77.0.1");
    becomes(hairpin_outward, "10.77.0.1", 3001, "10.77.0.1");
    becomes(hairpin_outward, "fd77::1", 3000, "fd77::1");
}

static void others_are_who_they_are(void **state)
{
    (void)state;
    becomes(hairpin_outward, "203.0.114.9", 3000, "203.0.114.9"); /* the same number, elsewhere */
    becomes(hairpin_outward, "127.0.0.1", 3009, "127.0.0.1");     /* another program of this host */
    becomes(hairpin_outward, "10.77.0.1", 53, "10.77.0.1");
    becomes(hairpin_outward, "::1", 3001, "::1");
    becomes(hairpin_outward, "127.0.0.1", 3002, "127.0.0.1"); /* 3002 is free there */
    becomes(hairpin_outward, "127.0.0.1", 3003, "127.0.0.1");
}

static void stays(const char *outside)
{
    becomes(hairpin_inward, outside, 3000, outside);
    becomes(hairpin_outward, "127.0.0.1", 3000, "127.0.0.1");
    becomes(hairpin_outward, "10.77.0.1", 3000, "10.77.0.1");
}

static void without_a_nat_nothing_is_turned(void **state)
{
    (void)state;
    policy.advertised[FAMILY_V4] = at("10.77.0.1", 0);
    stays("10.77.0.1");
    policy.advertised[FAMILY_V4] = (union netaddr){0};
    stays("198.51.100.7");
    policy.advertised[FAMILY_V4] = at("198.51.100.7", 0);
}

/* Then the NAT gives them numbers of its own, and 198.51.100.7:3000 is somebody else's. */
static void random_ports_are_not_the_worlds(void **state)
{
    (void)state;
    struct config *config = (struct config *)policy.config;
    const struct config_ports configured = config->udp.external_ports;
    config->udp.external_ports = (struct config_ports){0};
    stays("198.51.100.7");
    config->udp.external_ports = configured;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_of_ours_as_the_world_names_it),
        cmocka_unit_test(what_else_there_is_goes_where_it_did),
        cmocka_unit_test(the_way_back),
        cmocka_unit_test(by_an_address_of_this_host),
        cmocka_unit_test(others_are_who_they_are),
        cmocka_unit_test(without_a_nat_nothing_is_turned),
        cmocka_unit_test(random_ports_are_not_the_worlds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
