/* When a drain is over. */
#include "test.h"

#include <event2/event.h>

#include "daemon/drain.h"
#include "daemon/listeners.h"
#include "host/host.h"
#include "policy/quota.h"
#include "worker_stub.h"

#define POLL_MS 250 /* how often a drain looks for sessions */

static struct event_base *base;
static struct crew *crew;
static struct host *host;
static struct drain *drain;
static unsigned over;

/* None is open. */
struct listeners *worker_listeners(struct worker *worker)
{
    static struct listeners none;
    (void)worker;
    return &none;
}

static void on_over(void *arg)
{
    assert_ptr_equal(arg, &over);
    over++;
}

static int make_drain(void **state)
{
    (void)state;
    base = event_base_new();
    crew = worker_stub_crew(base);
    host = host_new();
    over = 0;
    drain = drain_new(base, crew, host, on_over, &over);
    return drain ? 0 : -1;
}

static int free_drain(void **state)
{
    (void)state;
    crew_stop(crew);
    drain_free(drain);
    crew_free(crew);
    host_free(host);
    event_base_free(base);
    return 0;
}

static void all_work(void)
{
    worker_stub_work(&first);
    worker_stub_work(&second);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void let_it_look(void)
{
    const struct timeval time = {.tv_usec = 2 * POLL_MS * 1000};
    event_base_loopexit(base, &time);
    event_base_dispatch(base);
}

/* A worker may have handed a connection over right before it closed its listeners. What was posted before the second
 * round has run when that ends. */
static void it_waits_for_what_workers_have_handed_over(void **state)
{
    (void)state;
    drain_begin(drain, DRAIN_LEAVE_WAITING, 0);
    all_work();
    let_it_look();
    assert_int_equal(over, 0);
    all_work();
    let_it_look();
    assert_int_equal(over, 1);
}

static void it_waits_for_the_last_session(void **state)
{
    (void)state;
    struct quota_account *all = quota_of_all(host->quota);
    assert_true(quota_take(all, QUOTA_SESSIONS, 0));
    drain_begin(drain, DRAIN_TAKE_WAITING, 0);
    all_work();
    all_work();
    let_it_look();
    assert_int_equal(over, 0);
    quota_give_back(all, QUOTA_SESSIONS);
    let_it_look();
    assert_int_equal(over, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, make_drain, free_drain)
    const struct CMUnitTest tests[] = {
        T(it_waits_for_what_workers_have_handed_over),
        T(it_waits_for_the_last_session),
    };
    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
