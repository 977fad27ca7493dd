#include "policy/rates.h"

#include <pthread.h>
#include <stdio.h>

#include "test.h"

#define MIB (1024 * 1024)

static uint64_t now_ms;
static struct user_rates *users;

static int begin(void **state)
{
    (void)state;
    now_ms = 1000000;
    users = user_rates_new();
    assert_non_null(users);
    return 0;
}

static int end(void **state)
{
    (void)state;
    user_rates_free(users); /* checks that no session is left */
    return 0;
}

static struct rates *open_with(struct rate session, struct rate user, const char *name)
{
    const struct terms terms = {.session = session, .user = user};
    struct rates *rates = NULL;
    assert_true(rates_new(&rates, users, &terms, name));
    assert_non_null(rates);
    return rates;
}

/* Datagrams of `size` bytes, as many as pass at this moment. */
static uint32_t flood(struct rates *rates, uint16_t size, uint16_t run)
{
    uint32_t passed = 0, now;
    do {
        now = rates_admit(rates, RATES_UP, run, size, size, now_ms);
        passed += now;
    } while (now == run && passed < 1000000);
    return passed;
}

/* One turn of a stream that has any amount to move. Returns the rest that follows. */
static uint32_t turn(struct rates *rates, uint64_t *moved)
{
    uint64_t limit = rates_allow(rates, RATES_DOWN, now_ms);
    rates_charge(rates, RATES_DOWN, limit, now_ms);
    *moved += limit;
    return rates_rest(rates, RATES_DOWN, now_ms);
}

static void without_a_limit_there_is_nothing(void **state)
{
    (void)state;
    const struct terms none = {0}, of_user = {.user = {.bytes = 1000}};
    struct rates *rates;
    assert_true(rates_new(&rates, users, &none, "alice"));
    assert_null(rates);
    assert_true(rates_new(&rates, users, &of_user, NULL));
    assert_null(rates);
    rates_free(NULL);
}

/* The burst is 200 ms, but at least the longest datagram. */
static void bytes_of_datagrams(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.bytes = 10 * MIB}, (struct rate){0}, NULL);
    assert_int_equal(flood(rates, 1024, 64), 2 * 1024);
    now_ms += 100;
    assert_int_equal(flood(rates, 1024, 1), 1024);
    assert_int_equal(rates_admit(rates, RATES_DOWN, 64, 1024, 1024, now_ms), 64); /* the other way is another's */
    assert_int_equal(rates_admit(rates, RATES_UP, 1, 0, 0, now_ms), 1);           /* no bytes */
    rates_free(rates);
    rates = open_with((struct rate){.bytes = 1024}, (struct rate){0}, NULL);
    assert_int_equal(rates_admit(rates, RATES_UP, 1, 65507, 65507, now_ms), 1);
    assert_int_equal(rates_admit(rates, RATES_UP, 1, 1024, 1024, now_ms), 0);
    rates_free(rates);
}

static void a_run_is_cut_and_its_short_end_counts_as_it_is(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.bytes = 1024}, (struct rate){0}, NULL);
    assert_int_equal(rates_admit(rates, RATES_UP, 60, 1000, 36, now_ms), 60);  /* 59,036 of 65,536 */
    assert_int_equal(rates_admit(rates, RATES_UP, 10, 1000, 1000, now_ms), 6); /* 500 remain */
    assert_int_equal(rates_admit(rates, RATES_UP, 2, 300, 201, now_ms), 1);    /* 200 remain */
    assert_int_equal(rates_admit(rates, RATES_UP, 2, 100, 100, now_ms), 2);
    assert_int_equal(rates_admit(rates, RATES_UP, 1, 1, 1, now_ms), 0);
    rates_free(rates);
}

static void datagrams_count_whatever_they_hold(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.datagrams = 1000}, (struct rate){0}, NULL);
    assert_int_equal(flood(rates, 0, 1), 200);
    now_ms += 10;
    assert_int_equal(flood(rates, 1400, 64), 10);
    rates_free(rates);
    rates = open_with((struct rate){.datagrams = 1}, (struct rate){0}, NULL);
    assert_int_equal(flood(rates, 100, 50), 64);
    rates_free(rates);
}

/* A flow at the rate, one datagram each 10 ms of a coarse clock, loses none for a minute. */
static void a_call_at_the_rate_is_whole(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.bytes = 16000, .datagrams = 100}, (struct rate){0}, NULL);
    (void)flood(rates, 160, 1);
    for (int i = 0; i < 6000; i++) {
        now_ms += 10;
        assert_int_equal(rates_admit(rates, RATES_UP, 1, 160, 160, now_ms), 1);
    }
    rates_free(rates);
}

static void sessions_of_a_user_share(void **state)
{
    (void)state;
    const struct rate rate = {.datagrams = 1000}, none = {0};
    struct rates *one = open_with(none, rate, "alice"), *two = open_with(none, rate, "alice");
    struct rates *bob = open_with(none, rate, "bob"), *alic = open_with(none, rate, "alic");
    assert_int_equal(rates_admit(one, RATES_UP, 150, 100, 100, now_ms), 150);
    assert_int_equal(flood(two, 100, 1), 50);
    assert_int_equal(flood(one, 100, 1), 0);
    assert_int_equal(flood(bob, 100, 1), 200);
    assert_int_equal(flood(alic, 100, 1), 200);
    rates_free(one);
    one = open_with(none, rate, "alice"); /* whoever comes again does not begin anew */
    assert_int_equal(flood(one, 100, 1), 0);
    rates_free(two);
    rates_free(one);
    rates_free(bob);
    rates_free(alic);
    one = open_with(none, rate, "alice");
    assert_int_equal(flood(one, 100, 1), 200); /* nothing was kept of nobody */
    rates_free(one);
}

static void the_tighter_rate_counts(void **state)
{
    (void)state;
    const struct rate wide = {.datagrams = 100000}, tight = {.datagrams = 1000};
    struct rates *rates = open_with(wide, tight, "alice");
    assert_int_equal(flood(rates, 1, 64), 200);
    rates_free(rates);
    rates = open_with(tight, wide, "alice");
    assert_int_equal(flood(rates, 1, 64), 200);
    rates_free(rates);
}

/* A reload gave the user another rate: those before it keep theirs. */
static void another_rate_is_another_bucket(void **state)
{
    (void)state;
    const struct rate before = {.datagrams = 1000}, after = {.datagrams = 5000}, none = {0};
    struct rates *old = open_with(none, before, "alice"), *new = open_with(none, after, "alice");
    assert_int_equal(flood(old, 1, 1), 200);
    assert_int_equal(flood(new, 1, 1), 1000);
    rates_free(old);
    rates_free(new);
}

/* ---- credit ---- */

#define NO_LIMIT UINT64_MAX

static void credit_is_a_part_of_what_is_left(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.datagrams = 4000}, (struct rate){0}, NULL); /* 800 */
    struct rates_credit credit = rates_reserve(rates, RATES_UP, now_ms);
    assert_int_equal(credit.datagrams, (800 - 200) / 8);
    assert_true(credit.bytes == NO_LIMIT);
    assert_int_equal(rates_admit(rates, RATES_DOWN, 64, 1, 1, now_ms), 64); /* the other way is another's */
    for (int i = 0; i < 100; i++) {
        const uint64_t before = credit.datagrams;
        credit = rates_reserve(rates, RATES_UP, now_ms);
        assert_in_range(credit.datagrams, 0, before);
    }
    assert_int_equal(credit.datagrams + credit.bytes, 0);
    assert_int_equal(flood(rates, 1, 1), 200); /* the least that others find */
    rates_free(rates);
}

/* Even the lowest rates give credit for an ordinary datagram. */
static void credit_is_enough_for_a_datagram_or_nothing(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.bytes = 1, .datagrams = 1}, (struct rate){0}, NULL);
    uint64_t bytes = 0;
    for (int i = 0; i < 100; i++) {
        const struct rates_credit credit = rates_reserve(rates, RATES_UP, now_ms);
        assert_int_equal(credit.bytes > 0, credit.datagrams > 0);
        assert_true(credit.bytes == 0 || credit.bytes >= 1500);
        bytes += credit.bytes;
    }
    assert_in_range(bytes, 65536 / 2, 65536 * 3 / 4);
    rates_free(rates);
}

static void credit_is_taken_from_both_rates(void **state)
{
    (void)state;
    const struct rate wide = {.datagrams = 100000}, tight = {.datagrams = 4000, .bytes = MIB};
    struct rates *one = open_with(wide, tight, "alice"), *two = open_with(wide, tight, "alice");
    const struct rates_credit credit = rates_reserve(one, RATES_UP, now_ms);
    assert_int_equal(credit.datagrams, 75);
    assert_in_range(credit.bytes, 20000, MIB / 20);
    assert_int_equal(flood(two, 1, 1), 800 - 75);
    rates_return(one, RATES_UP, &credit);
    assert_int_equal(flood(two, 1, 1), 75);
    rates_free(one);
    rates_free(two);
}

static void what_returns_can_be_spent_once(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.datagrams = 4000}, (struct rate){0}, NULL);
    struct rates_credit credit = rates_reserve(rates, RATES_UP, now_ms);
    credit.datagrams -= 10; /* used */
    rates_return(rates, RATES_UP, &credit);
    assert_int_equal(flood(rates, 1, 1), 790);
    credit = rates_reserve(rates, RATES_UP, now_ms);
    assert_int_equal(credit.datagrams, 0);
    rates_return(rates, RATES_UP, &credit);
    assert_int_equal(flood(rates, 1, 1), 0);
    rates_free(rates);
}

/* A user's associations for a minute. Each relays what it has credit for, then user space admits what it can; each
 * second unused credit returns. */
static uint64_t relay_with_credit(size_t count, uint64_t per_ms)
{
    enum { MOST = 50, SECONDS = 60 };
    struct rates *rates[MOST];
    struct rates_credit credit[MOST] = {{0, 0}};
    uint64_t passed = 0;
    for (size_t i = 0; i < count; i++)
        rates[i] = open_with((struct rate){0}, (struct rate){.datagrams = 4000}, "alice");
    for (uint64_t ms = 1; ms <= SECONDS * 1000; ms++, now_ms++) {
        for (size_t i = 0; i < count; i++) {
            const uint64_t by_credit = per_ms < credit[i].datagrams ? per_ms : credit[i].datagrams;
            const uint16_t others = (uint16_t)(per_ms - by_credit);
            credit[i].datagrams -= by_credit;
            passed += by_credit;
            if (others)
                passed += rates_admit(rates[i], RATES_UP, others, 100, 100, now_ms);
            if (ms % 1000 == 0) {
                rates_return(rates[i], RATES_UP, &credit[i]);
                credit[i] = rates_reserve(rates[i], RATES_UP, now_ms);
            } else if (credit[i].datagrams == 0) {
                credit[i] = rates_reserve(rates[i], RATES_UP, now_ms);
            }
        }
    }
    for (size_t i = 0; i < count; i++)
        rates_free(rates[i]);
    return passed;
}

static void over_time_exactly_the_rate_passes(void **state)
{
    (void)state;
    const uint64_t rate = 60 * 4000;
    assert_in_range(relay_with_credit(1, 10), rate, rate + 800);
    assert_in_range(relay_with_credit(10, 3), rate, rate + 800);
    assert_in_range(relay_with_credit(50, 1), rate, rate + 800);
}

static void below_the_rate_nothing_is_lost(void **state)
{
    (void)state;
    assert_int_equal(relay_with_credit(1, 3), 60000 * 3);
    assert_int_equal(relay_with_credit(3, 1), 60000 * 3);
}

/* ---- streams ---- */

static void a_stream_moves_at_its_rate(void **state)
{
    (void)state;
    struct rates *rates = open_with((struct rate){.bytes = MIB}, (struct rate){0}, NULL);
    uint64_t moved = 0, begun = now_ms;
    while (now_ms < begun + 10000)
        now_ms += turn(rates, &moved);
    assert_in_range(moved, (uint64_t)(9.9 * MIB), (uint64_t)(10.3 * MIB));
    rates_free(rates);
}

/* Some streams of one user, for a minute, five seconds of which the process stands still: then all are late. */
static void take_turns(size_t count, uint64_t least_share)
{
    enum { MOST = 100 };
    struct rates *rates[MOST];
    uint64_t moved[MOST] = {0}, wakes[MOST] = {0}, sum = 0, turns = 0;
    const uint64_t begun = now_ms;
    for (size_t i = 0; i < count; i++)
        rates[i] = open_with((struct rate){0}, (struct rate){.bytes = MIB}, "alice");
    for (; now_ms < begun + 60000; now_ms += 5) {
        if (now_ms == begun + 20000)
            now_ms += 5000;
        for (size_t i = 0; i < count; i++) {
            if (wakes[i] > now_ms)
                continue;
            wakes[i] = now_ms + turn(rates[i], &moved[i]);
            turns++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(moved[i] >= least_share);
        sum += moved[i];
        rates_free(rates[i]);
    }
    assert_in_range(sum, 55 * MIB, 56 * MIB);
    assert_in_range(turns, 1000, 12000); /* rest is rest */
}

static void streams_of_a_user_take_turns(void **state)
{
    (void)state;
    take_turns(1, 55 * MIB);
    take_turns(3, 17 * MIB);
    take_turns(20, 2 * MIB);
    take_turns(100, MIB / 4);
}

/* A download at the user's limit, and a call beside it. */
static void streams_leave_room_for_datagrams(void **state)
{
    (void)state;
    const struct rate user = {.bytes = MIB};
    struct rates *download = open_with((struct rate){0}, user, "alice"),
                 *call = open_with((struct rate){0}, user, "alice");
    uint64_t moved = 0, wakes = 0, begun = now_ms;
    for (; now_ms < begun + 20000; now_ms += 10) {
        if (wakes <= now_ms)
            wakes = now_ms + turn(download, &moved);
        assert_int_equal(rates_admit(call, RATES_DOWN, 1, 1200, 1200, now_ms), 1);
    }
    assert_in_range(moved, 16 * MIB, 19 * MIB); /* the call has 2.3 */
    rates_free(download);
    rates_free(call);
}

/* A flood of datagrams takes what it can, but a stream still moves. */
static void datagrams_leave_room_for_streams(void **state)
{
    (void)state;
    const struct rate user = {.bytes = MIB};
    struct rates *download = open_with((struct rate){0}, user, "alice"),
                 *call = open_with((struct rate){0}, user, "alice");
    uint64_t moved = 0, wakes = 0, flooded = 0, begun = now_ms;
    for (; now_ms < begun + 20000; now_ms += 5) {
        flooded += 1000 * rates_admit(call, RATES_DOWN, 64, 1000, 1000, now_ms);
        if (wakes <= now_ms)
            wakes = now_ms + turn(download, &moved);
    }
    assert_true(moved >= 4 * MIB);
    assert_in_range(moved + flooded, 19 * MIB, (uint64_t)(20.5 * MIB));
    rates_free(download);
    rates_free(call);
}

/* Those that wait may leave: nobody waits for their turns. */
static void the_turns_of_the_gone_are_not_waited_for(void **state)
{
    (void)state;
    const struct rate user = {.bytes = MIB};
    struct rates *gone, *last = open_with((struct rate){0}, user, "alice");
    uint64_t moved = 0;
    (void)turn(last, &moved);
    for (int i = 0; i < 1000; i++) {
        gone = open_with((struct rate){0}, user, "alice");
        (void)turn(gone, &moved);
        rates_free(gone);
    }
    now_ms += 50;
    uint32_t rest = turn(last, &moved);
    assert_int_equal(rest, 1000);
    now_ms += rest;
    assert_true(rates_allow(last, RATES_DOWN, now_ms) > MIB / 8);
    rates_free(last);
}

static void a_stream_alone_at_its_own_rate_does_not_queue(void **state)
{
    (void)state;
    struct rates *all[30];
    uint64_t moved[30] = {0};
    for (size_t i = 0; i < 30; i++)
        all[i] = open_with((struct rate){.bytes = MIB}, (struct rate){.bytes = 100 * MIB}, "alice");
    for (uint64_t begun = now_ms; now_ms < begun + 10000; now_ms += 50)
        for (size_t i = 0; i < 30; i++)
            assert_int_equal(turn(all[i], &moved[i]), 50);
    for (size_t i = 0; i < 30; i++) {
        assert_in_range(moved[i], 10 * MIB, (uint64_t)(10.3 * MIB));
        rates_free(all[i]);
    }
}

/* ---- threads ---- */

static void *come_and_go(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        struct rates *rates = open_with((struct rate){0}, (struct rate){.bytes = MIB}, i % 2 ? "alice" : "bob");
        uint64_t moved = 0;
        (void)rates_admit(rates, RATES_UP, 3, 100, 10, 1000000);
        rates_charge(rates, RATES_DOWN, rates_allow(rates, RATES_DOWN, 1000000), 1000000);
        (void)rates_rest(rates, RATES_DOWN, 1000000);
        (void)moved;
        rates_free(rates);
    }
    return NULL;
}

static void sessions_come_and_go_on_all_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(without_a_limit_there_is_nothing),
        TEST(bytes_of_datagrams),
        TEST(a_run_is_cut_and_its_short_end_counts_as_it_is),
        TEST(datagrams_count_whatever_they_hold),
        TEST(a_call_at_the_rate_is_whole),
        TEST(sessions_of_a_user_share),
        TEST(the_tighter_rate_counts),
        TEST(another_rate_is_another_bucket),
        TEST(credit_is_a_part_of_what_is_left),
        TEST(credit_is_enough_for_a_datagram_or_nothing),
        TEST(credit_is_taken_from_both_rates),
        TEST(what_returns_can_be_spent_once),
        TEST(over_time_exactly_the_rate_passes),
        TEST(below_the_rate_nothing_is_lost),
        TEST(a_stream_moves_at_its_rate),
        TEST(streams_of_a_user_take_turns),
        TEST(streams_leave_room_for_datagrams),
        TEST(datagrams_leave_room_for_streams),
        TEST(the_turns_of_the_gone_are_not_waited_for),
        TEST(a_stream_alone_at_its_own_rate_does_not_queue),
        TEST(sessions_come_and_go_on_all_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
