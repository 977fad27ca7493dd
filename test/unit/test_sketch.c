#include "test.h"

#include "proxy/assoc/sketch.h"

static union netaddr destination(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

/* `count` neighbours, as a swarm's peers or a scanner's targets are. */
static uint32_t estimate_of(const char *first, bool ports, uint32_t count)
{
    uint64_t sketch = 0;
    union netaddr to = destination(first, 1000);
    for (uint32_t i = 0; i < count; i++) {
        if (ports)
            netaddr_set_port(&to, (uint16_t)(1000 + i));
        else if (to.sa.sa_family == AF_INET)
            to.v4.sin_addr.s_addr = htonl(0x0a000000U + i);
        else
            to.v6.sin6_addr.s6_addr32[3] = htonl(i);
        for (int again = 0; again < 3; again++)
            sketch_add(&sketch, &to);
    }
    return sketch_estimate(sketch);
}

static void an_empty_sketch_and_a_full_one(void **state)
{
    (void)state;
    assert_int_equal(sketch_estimate(0), 0);
    assert_int_equal(sketch_estimate(UINT64_MAX), SKETCH_FULL);
    uint32_t before = 0;
    for (int bits = 1; bits <= 64; bits++) { /* each more bit means more */
        uint32_t estimate = sketch_estimate(UINT64_MAX >> (64 - bits));
        assert_true(estimate > before && estimate >= (uint32_t)bits);
        before = estimate;
    }
}

static void one_destination_is_one_however_often(void **state)
{
    (void)state;
    assert_int_equal(estimate_of("192.0.2.1", true, 1), 1);
    assert_int_equal(estimate_of("2001:db8::1", true, 1), 1);
}

static void neighbours_are_counted_as_well_as_strangers(void **state)
{
    (void)state;
    static const char *const firsts[] = {"10.0.0.0", "2001:db8::"};
    static const uint32_t counts[] = {2, 5, 10, 20, 50, 100};
    for (size_t f = 0; f < 2; f++) {
        for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
            for (int ports = 0; ports <= 1; ports++) {
                uint32_t estimate = estimate_of(firsts[f], ports, counts[c]), off = counts[c] / 4 + 1;
                assert_in_range(estimate, counts[c] - off, counts[c] + off);
            }
        }
    }
    assert_true(estimate_of("10.0.0.0", false, 100000) == SKETCH_FULL);
}

static void host_port_and_family_all_tell_destinations_apart(void **state)
{
    (void)state;
    uint64_t sketch = 0;
    const union netaddr all[] = {destination("192.0.2.1", 80),   destination("192.0.2.1", 81),
                                 destination("192.0.2.2", 80),   destination("2001:db8::1", 80),
                                 destination("2001:db8::1", 81), destination("2001:db8:1::1", 80)};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        sketch_add(&sketch, &all[i]);
    assert_int_equal(sketch_estimate(sketch), 6);
}

static void names_count_as_what_they_are(void **state)
{
    (void)state;
    uint64_t sketch = 0;
    for (int again = 0; again < 2; again++) {
        sketch_add_name(&sketch, "example.com", 80);
        sketch_add_name(&sketch, "example.com", 81);
        sketch_add_name(&sketch, "example.net", 80);
    }
    assert_int_equal(sketch_estimate(sketch), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_sketch_and_a_full_one),
        cmocka_unit_test(one_destination_is_one_however_often),
        cmocka_unit_test(neighbours_are_counted_as_well_as_strangers),
        cmocka_unit_test(host_port_and_family_all_tell_destinations_apart),
        cmocka_unit_test(names_count_as_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
