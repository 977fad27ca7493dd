/* Whether a worker that no longer comes round is noticed. Workers are this test's own: worker.c is not linked. */
#include "test.h"

#include <event2/event.h>
#include <string.h>

#include "daemon/health.h"
#include "daemon/worker.h"

struct worker {
    bool stuck;
    unsigned pings;
};

static struct worker first, second;
static struct worker *workers[] = {&first, &second};

bool worker_ping(struct worker *worker)
{
    worker->pings++;
    return !worker->stuck;
}

static void turn(struct health *health, unsigned rounds)
{
    while (rounds-- > 0)
        health_round(health);
}

static void one_that_is_stuck_is_named(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct health *health = health_new(base, workers, 2);
    assert_non_null(health);
    event_base_loop(base, EVLOOP_ONCE); /* the first round comes by itself */
    assert_int_equal(first.pings + second.pings, 2);
    assert_null(health_complaint(health));
    second.stuck = true;
    turn(health, 10);
    assert_null(health_complaint(health)); /* busy, it may be */
    turn(health, 1);
    assert_string_equal(health_complaint(health), "worker 2 of 2 has not answered for 11 s");
    second.stuck = false;
    turn(health, 1);
    assert_null(health_complaint(health));
    health_free(health);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_stuck_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
