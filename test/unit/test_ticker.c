/* Whether a function is called at each interval until it is stopped, while the event loop has no timer. */
#include "test.h"

#include <event2/event.h>

#include "base/clock.h"
#include "net/ticker.h"

struct counted {
    struct event_base *base;
    unsigned ticks;
};

static void count_two(void *arg)
{
    struct counted *counted = arg;
    if (++counted->ticks == 2)
        event_base_loopbreak(counted->base);
}

static void it_ticks_until_it_is_stopped(void **state)
{
    (void)state;
    struct counted counted = {.base = event_base_new()};
    struct ticker ticker = {0};
    const uint64_t begun_ms = clock_ms();
    assert_true(ticker_start(&ticker, counted.base, 1, count_two, &counted));
    event_base_dispatch(counted.base);
    assert_int_equal(counted.ticks, 2);
    assert_true(clock_ms() - begun_ms >= 1990);
    ticker_stop(&ticker);
    ticker_stop(&ticker);                                   /* nothing happens */
    assert_int_equal(event_base_dispatch(counted.base), 1); /* no event is left */
    event_base_free(counted.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_ticks_until_it_is_stopped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
