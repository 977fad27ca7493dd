#include "test.h"

#include "check/peer/peer_guests.h"

static struct peer_guests guests;

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static int clear(void **state)
{
    (void)state;
    guests = (struct peer_guests){0};
    return 0;
}

static void a_guest_is_an_address_and_a_port(void **state)
{
    (void)state;
    const union netaddr one = at("192.0.2.1", 10), other_port = at("192.0.2.1", 11), other = at("192.0.2.2", 10);
    struct peer_guest *guest = peer_guests_admit(&guests, &one, 1000, 500);
    assert_ptr_equal(peer_guests_find(&guests, &one, 1499), guest);
    assert_null(peer_guests_find(&guests, &one, 1500));
    assert_null(peer_guests_find(&guests, &other_port, 1000));
    assert_null(peer_guests_find(&guests, &other, 1000));
}

static void a_shorter_stay_takes_nothing_away(void **state)
{
    (void)state;
    const union netaddr one = at("2001:db8::1", 10);
    struct peer_guest *guest = peer_guests_admit(&guests, &one, 1000, 5000);
    peer_guest_pays(guest, 7);
    assert_ptr_equal(peer_guests_admit(&guests, &one, 2000, 1), guest);
    assert_int_equal(guest->until_ms, 6000);
    assert_int_equal(guest->credit, 7);
}

/* Row 35: not a byte more than came in. */
static void a_guest_gets_no_more_than_it_paid(void **state)
{
    (void)state;
    const union netaddr one = at("192.0.2.1", 10);
    struct peer_guest *guest = peer_guests_admit(&guests, &one, 1000, 500);
    assert_true(peer_guests_spend(&guests, guest, 0, 1000)); /* an empty datagram has no bytes */
    assert_false(peer_guests_spend(&guests, guest, 1, 1000));
    peer_guest_pays(guest, 100);
    assert_true(peer_guests_spend(&guests, guest, 60, 1000));
    assert_false(peer_guests_spend(&guests, guest, 41, 1000));
    assert_true(peer_guests_spend(&guests, guest, 40, 1000));
    assert_false(peer_guests_spend(&guests, guest, 1, 1000));
}

static void credit_is_bounded(void **state)
{
    (void)state;
    const union netaddr one = at("192.0.2.1", 10);
    struct peer_guest *guest = peer_guests_admit(&guests, &one, 1000, 500);
    for (int i = 0; i < 1000; i++)
        peer_guest_pays(guest, 65507);
    assert_int_equal(guest->credit, PEER_CREDIT_MAX);
}

static void a_guest_that_returns_starts_anew(void **state)
{
    (void)state;
    const union netaddr one = at("192.0.2.1", 10);
    peer_guest_pays(peer_guests_admit(&guests, &one, 1000, 500), 100);
    assert_int_equal(peer_guests_admit(&guests, &one, 1500, 500)->credit, 0);
}

static void all_together_are_bounded(void **state)
{
    (void)state;
    uint64_t sent = 0;
    for (unsigned turn = 0; turn < 100; turn++)
        for (uint16_t port = 1; port <= 50; port++) {
            const union netaddr one = at("192.0.2.1", port);
            struct peer_guest *guest = peer_guests_admit(&guests, &one, 1000, 5000);
            peer_guest_pays(guest, 65000);
            sent += peer_guests_spend(&guests, guest, 65000, 1999) ? 65000 : 0;
        }
    assert_in_range(sent, PEER_BYTES_PER_SECOND - 65000, PEER_BYTES_PER_SECOND);
    const union netaddr one = at("192.0.2.1", 1);
    assert_true(peer_guests_spend(&guests, peer_guests_find(&guests, &one, 2000), 65000, 2000)); /* the next second */
}

static void the_guest_that_leaves_first_makes_room(void **state)
{
    (void)state;
    const union netaddr first = at("192.0.2.1", 1), second = at("192.0.2.1", 2);
    for (uint16_t port = 1; port <= PEER_GUESTS_MAX; port++) {
        const union netaddr one = at("192.0.2.1", port);
        peer_guests_admit(&guests, &one, 1000, 500u + port);
    }
    const union netaddr late = at("192.0.2.9", 1);
    peer_guests_admit(&guests, &late, 1000, 9000);
    assert_null(peer_guests_find(&guests, &first, 1000));
    assert_non_null(peer_guests_find(&guests, &second, 1000));
    assert_non_null(peer_guests_find(&guests, &late, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_guest_is_an_address_and_a_port, clear),
        cmocka_unit_test_setup(a_shorter_stay_takes_nothing_away, clear),
        cmocka_unit_test_setup(a_guest_gets_no_more_than_it_paid, clear),
        cmocka_unit_test_setup(credit_is_bounded, clear),
        cmocka_unit_test_setup(a_guest_that_returns_starts_anew, clear),
        cmocka_unit_test_setup(all_together_are_bounded, clear),
        cmocka_unit_test_setup(the_guest_that_leaves_first_makes_room, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
