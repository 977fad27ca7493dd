/*
 * The lookup of a name in both families, over the fake resolver of world.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "proxy/lookup.h"
#include "world.h"

static struct lookup *lookup;
static struct {
    int families[4]; /* of the addresses, in the order in which they came */
    size_t count, ended;
    bool timed_out, cancels;
} heard;

static void on_found(void *arg, const union netaddr *addresses, size_t count)
{
    (void)arg;
    for (size_t i = 0; i < count; i++)
        heard.families[heard.count++] = addresses[i].sa.sa_family;
    if (heard.cancels)
        lookup_cancel(lookup);
}

static void on_ended(void *arg, bool timed_out)
{
    (void)arg;
    heard.ended++;
    heard.timed_out = timed_out;
}

static int begin(void **state)
{
    (void)state;
    memset(&heard, 0, sizeof(heard));
    world_begin();
    return 0;
}

static int end(void **state)
{
    (void)state;
    assert_int_equal(world_pending_queries(), 0);
    world_end();
    return 0;
}

static void look_up(int first_family)
{
    const struct lookup_hooks hooks = {on_found, on_ended, NULL};
    const union netaddr client = addr("10.0.0.2", 0);
    lookup = lookup_begin(&world_env, &client, NULL, "both.example", first_family, &hooks);
    assert_non_null(lookup);
}

static void answer(int family)
{
    const char *address = family == AF_INET ? "192.0.2.10" : "2001:db8::10";
    assert_true(world_answer("both.example", family, RESOLVER_FOUND, address));
}

static void the_first_family_may_answer_second(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int first = i == 0 ? AF_INET : AF_INET6, second = i == 0 ? AF_INET6 : AF_INET;
        memset(&heard, 0, sizeof(heard));
        look_up(first);
        answer(second);
        world_run();
        assert_int_equal(heard.count, 0);
        answer(first);
        assert_int_equal(heard.count, 2);
        assert_int_equal(heard.families[0], first);
        assert_int_equal(heard.families[1], second);
        assert_int_equal(heard.ended, 1);
    }
}

/* Row 67: name servers that are silent about one family. */
static void row_67_one_family_silent(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int first = i == 0 ? AF_INET : AF_INET6, second = i == 0 ? AF_INET6 : AF_INET;
        memset(&heard, 0, sizeof(heard));
        look_up(first);
        answer(second);
        event_base_loop(world_env.base, EVLOOP_ONCE); /* until the delay is over */
        assert_int_equal(heard.count, 1);
        assert_int_equal(heard.ended, 0);
        assert_true(world_answer("both.example", first, RESOLVER_TIMED_OUT, NULL));
        assert_int_equal(heard.count, 1);
        assert_int_equal(heard.ended, 1);
        assert_true(heard.timed_out);
    }
    look_up(AF_INET);
    heard.count = 0;
    answer(AF_INET); /* which waits for nothing */
    assert_int_equal(heard.count, 1);
    lookup_cancel(lookup);
}

static void a_family_that_does_not_exist_is_not_waited_for(void **state)
{
    (void)state;
    look_up(AF_INET6);
    answer(AF_INET);
    assert_true(world_answer("both.example", AF_INET6, RESOLVER_NOT_FOUND, NULL));
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.ended, 1);
    assert_false(heard.timed_out);
    assert_int_equal(world_env.metrics.lookups_failed_total, 0);
}

static void what_does_not_resolve_is_counted(void **state)
{
    (void)state;
    look_up(AF_INET6);
    assert_true(world_answer("both.example", AF_INET, RESOLVER_NOT_FOUND, NULL));
    assert_true(world_answer("both.example", AF_INET6, RESOLVER_FAILED, NULL));
    assert_int_equal(heard.count, 0);
    assert_int_equal(heard.ended, 1);
    assert_int_equal(world_env.metrics.lookups_total, 1);
    assert_int_equal(world_env.metrics.lookups_failed_total, 1);
}

static void it_may_be_cancelled_by_what_it_has_found(void **state)
{
    (void)state;
    heard.cancels = true;
    look_up(AF_INET6);
    answer(AF_INET);
    answer(AF_INET6); /* both are to be handed over now */
    assert_int_equal(heard.count, 1);
    look_up(AF_INET6);
    answer(AF_INET);
    event_base_loop(world_env.base, EVLOOP_ONCE);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.ended, 0);
}

static void a_family_may_be_ruled_out(void **state)
{
    (void)state;
    world_config.outbound.prefer = CONFIG_PREFER_IPV4_ONLY;
    look_up(AF_INET6);
    assert_int_equal(world_pending_queries(), 1);
    answer(AF_INET);
    assert_int_equal(heard.families[0], AF_INET);
    assert_int_equal(heard.ended, 1);
    world_config.outbound.prefer = CONFIG_PREFER_IPV6_ONLY;
    look_up(AF_INET6);
    assert_true(world_answer("both.example", AF_INET6, RESOLVER_FOUND, "::ffff:192.0.2.10 2001:db8::10"));
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.families[1], AF_INET6);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(the_first_family_may_answer_second),
        TEST(row_67_one_family_silent),
        TEST(a_family_that_does_not_exist_is_not_waited_for),
        TEST(what_does_not_resolve_is_counted),
        TEST(it_may_be_cancelled_by_what_it_has_found),
        TEST(a_family_may_be_ruled_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
