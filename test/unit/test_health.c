/* Whether a worker whose event loop hangs is noticed. */
#include "test.h"

#include <event2/event.h>
#include <string.h>

#include "daemon/health.h"
#include "worker_stub.h"

static void pass_rounds(struct health *health, unsigned rounds)
{
    while (rounds-- > 0) {
        health_round(health);
        worker_stub_work(&first);
    }
}

static void a_worker_that_hangs_is_named(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct crew *crew = worker_stub_crew(base);
    struct health *health = health_new(base, crew);
    assert_non_null(health);
    event_base_loop(base, EVLOOP_ONCE); /* the first round comes by itself */
    assert_int_equal(first.posts + second.posts, 2);
    assert_null(health_complaint(health));
    worker_stub_work(&first);
    pass_rounds(health, 10);
    assert_null(health_complaint(health)); /* it may be busy */
    assert_int_equal(health_silent_s(health), 10);
    pass_rounds(health, 1);
    assert_string_equal(health_complaint(health), "worker 2 of 2 has not answered for 11 s");
    assert_int_equal(second.posts, 1); /* the ping that is pending is not sent again */
    worker_stub_work(&second);
    pass_rounds(health, 1);
    assert_null(health_complaint(health));
    assert_int_equal(second.posts, 2);
    health_free(health);
    crew_free(crew);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_hangs_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
