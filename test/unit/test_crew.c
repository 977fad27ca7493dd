/* Whether all workers are asked, and joined once. */
#include "test.h"

#include <errno.h>
#include <event2/event.h>

#include "worker_stub.h"

static struct event_base *base;
static struct crew *crew;
static struct crew_round *crew_round;
static unsigned asked[2], joined;
static bool begins_again, ends_later;
static struct crew_turn *held;

static int make_crew(void **state)
{
    (void)state;
    base = event_base_new();
    crew = worker_stub_crew(base);
    crew_round = crew_round_new(crew, &joined);
    asked[0] = asked[1] = joined = 0;
    begins_again = ends_later = false;
    return crew_round ? 0 : -1;
}

static int free_crew(void **state)
{
    (void)state;
    crew_stop(crew);
    crew_round_free(crew_round);
    crew_free(crew);
    event_base_free(base);
    return 0;
}

static void count_turn(struct crew_turn *turn)
{
    assert_ptr_equal(turn->arg, &joined);
    assert_ptr_equal(turn->worker, crew_worker(crew, turn->number));
    asked[turn->number]++;
    if (ends_later)
        held = turn;
    else
        crew_turn_end(turn);
}

static void count_join(void *arg)
{
    assert_ptr_equal(arg, &joined);
    assert_false(crew_round_is_under_way(crew_round));
    joined++;
    if (begins_again)
        crew_round_begin(crew_round, count_turn, count_join);
    begins_again = false;
}

static void look(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void a_round_joins_when_every_turn_has_ended(void **state)
{
    (void)state;
    crew_round_begin(crew_round, count_turn, count_join);
    assert_true(crew_round_is_under_way(crew_round));
    worker_stub_work(&second);
    look();
    assert_int_equal(joined, 0);
    worker_stub_work(&first);
    assert_int_equal(joined, 0); /* not on the worker's thread */
    look();
    assert_int_equal(joined, 1);
    assert_int_equal(asked[0], 1);
    assert_int_equal(asked[1], 1);
}

static void a_turn_may_end_later(void **state)
{
    (void)state;
    ends_later = true;
    crew_round_begin(crew_round, count_turn, count_join);
    worker_stub_work(&first);
    struct crew_turn *first_turn = held;
    worker_stub_work(&second);
    crew_turn_end(held);
    look();
    assert_int_equal(joined, 0);
    crew_turn_end(first_turn);
    look();
    assert_int_equal(joined, 1);
}

static void joining_may_begin_the_next_round(void **state)
{
    (void)state;
    begins_again = true;
    crew_round_begin(crew_round, count_turn, count_join);
    for (unsigned i = 1; i <= 2; i++) {
        worker_stub_work(&first);
        worker_stub_work(&second);
        look();
        assert_int_equal(joined, i);
    }
    assert_false(crew_round_is_under_way(crew_round));
}

static void the_end_joins_what_all_have_done(void **state)
{
    (void)state;
    crew_round_begin(crew_round, count_turn, count_join);
    worker_stub_work(&first);
    worker_stub_work(&second);
    crew_stop(crew);
    crew_round_free(crew_round);
    crew_round = NULL;
    assert_int_equal(joined, 1);
}

static void the_end_does_not_join_half_a_round(void **state)
{
    (void)state;
    crew_round_begin(crew_round, count_turn, count_join);
    worker_stub_work(&first);
    crew_stop(crew);
    crew_round_free(crew_round);
    crew_round = NULL;
    assert_int_equal(joined, 0);
}

static void a_thread_that_cannot_start_stops_the_start(void **state)
{
    (void)state;
    first.start_error = -EAGAIN;
    assert_int_equal(crew_start(crew, NULL), -EAGAIN);
    assert_false(second.started);
    first.start_error = 0;
    assert_int_equal(crew_start(crew, NULL), 0);
    assert_true(first.started && second.started);
    crew_stop(crew);
    assert_true(first.stopped && second.stopped);
    assert_false(first.freed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_crew, free_crew)
    const struct CMUnitTest tests[] = {
        TEST(a_round_joins_when_every_turn_has_ended), TEST(a_turn_may_end_later),
        TEST(joining_may_begin_the_next_round),        TEST(the_end_joins_what_all_have_done),
        TEST(the_end_does_not_join_half_a_round),      TEST(a_thread_that_cannot_start_stops_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
