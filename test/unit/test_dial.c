#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <string.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/sock.h"

/* Loopback refuses at once and never stays silent; a full listen queue does stay silent: further SYNs are dropped. */
static struct event_base *base;
static int calls;
static struct dial_outcome outcome;

static void on_done(void *arg, const struct dial_outcome *told)
{
    (void)arg;
    calls++;
    outcome = *told;
    event_base_loopbreak(base);
}

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static int listen_at(const char *host, union netaddr *where)
{
    union netaddr address = at(host, 0);
    int fd = sock_listen(&address, false);
    assert_true(fd >= 0);
    *where = sock_local(fd);
    return fd;
}

/* A listener whose queue is full: it answers nobody any more. */
struct silent {
    int listener, fillers[8];
    union netaddr where;
};

static void be_silent(struct silent *silent, const char *host)
{
    silent->listener = listen_at(host, &silent->where);
    assert_int_equal(listen(silent->listener, 0), 0);
    for (size_t i = 0; i < 8; i++)
        silent->fillers[i] = sock_connect(NULL, &silent->where, NULL);
}

static void stop_being_silent(struct silent *silent)
{
    for (size_t i = 0; i < 8; i++)
        if (silent->fillers[i] >= 0)
            close(silent->fillers[i]);
    close(silent->listener);
}

static struct dial *start(uint64_t timeout_ms, bool ipv4_first)
{
    const struct dial_options options = {.timeout_ms = timeout_ms, .ipv4_first = ipv4_first};
    calls = 0;
    struct dial *dial = dial_new(base, &options, on_done, NULL);
    assert_non_null(dial);
    return dial;
}

static void run(void)
{
    assert_int_equal(calls, 0); /* never from inside a call */
    event_base_dispatch(base);
    assert_int_equal(calls, 1);
    if (outcome.fd >= 0)
        close(outcome.fd);
}

static void one_address_is_reached(void **state)
{
    (void)state;
    union netaddr where;
    int listener = listen_at("127.0.0.1", &where);
    struct dial *dial = start(5000, false);
    dial_add(dial, AF_INET, &where, 1, NULL);
    dial_all_added(dial);
    run();
    assert_true(outcome.fd >= 0);
    assert_true(netaddr_equal(&outcome.to, &where));
    union netaddr seen;
    close(sock_accept(listener, &seen));
    assert_true(netaddr_equal(&outcome.local, &seen));
    close(listener);
}

static struct event answer;
static bool answered;

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)arg;
    char text[8];
    assert_int_equal(what, EV_READ);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 5);
    answered = true;
    event_base_loopbreak(base);
}

static void watch_answer(void *arg, int fd)
{
    (void)arg;
    assert_int_equal(calls, 0); /* `done` comes after it */
    event_assign(&answer, base, fd, EV_READ, on_answer, NULL);
    assert_int_equal(event_add(&answer, NULL), 0);
}

static void the_owner_watches_before_it_is_done(void **state)
{
    (void)state;
    union netaddr where, from;
    int listener = listen_at("127.0.0.1", &where);
    const struct dial_options options = {.timeout_ms = 5000, .watch = watch_answer};
    calls = 0;
    struct dial *dial = dial_new(base, &options, on_done, NULL);
    dial_add(dial, AF_INET, &where, 1, NULL);
    dial_all_added(dial);
    event_base_dispatch(base);
    assert_int_equal(calls, 1);
    int accepted = sock_accept(listener, &from);
    assert_int_equal(send(accepted, "hello", 5, 0), 5);
    event_base_dispatch(base);
    assert_true(answered);
    close(accepted);
    close(outcome.fd);
    close(listener);
}

static void a_refusal_is_told(void **state)
{
    (void)state;
    union netaddr where;
    close(listen_at("127.0.0.1", &where));
    struct dial *dial = start(5000, false);
    dial_add(dial, AF_INET, &where, 1, NULL);
    dial_all_added(dial);
    run();
    assert_int_equal(outcome.fd, -1);
    assert_int_equal(outcome.error, ECONNREFUSED);
}

static void no_address_is_error_0(void **state)
{
    (void)state;
    dial_all_added(start(5000, false));
    run();
    assert_int_equal(outcome.fd, -1);
    assert_int_equal(outcome.error, 0);
}

static void silence_times_out(void **state)
{
    (void)state;
    struct silent silent;
    be_silent(&silent, "127.0.0.1");
    struct dial *dial = start(400, false);
    dial_add(dial, AF_INET, &silent.where, 1, NULL);
    dial_all_added(dial);
    run();
    assert_int_equal(outcome.error, ETIMEDOUT);
    stop_being_silent(&silent);
}

static void nothing_at_all_times_out(void **state)
{
    (void)state;
    (void)start(100, false);
    run();
    assert_int_equal(outcome.error, ETIMEDOUT);
}

static void a_silent_ipv6_does_not_keep_ipv4_waiting(void **state)
{
    (void)state;
    struct silent silent;
    union netaddr where;
    be_silent(&silent, "::1");
    int listener = listen_at("127.0.0.1", &where);
    struct dial *dial = start(5000, false);
    dial_add(dial, AF_INET, &where, 1, NULL);
    dial_add(dial, AF_INET6, &silent.where, 1, NULL);
    dial_all_added(dial);
    run();
    assert_true(netaddr_equal(&outcome.to, &where));
    close(listener);
    stop_being_silent(&silent);
}

static void the_preferred_family_goes_first(void **state)
{
    (void)state;
    union netaddr v4, v6;
    int listener4 = listen_at("127.0.0.1", &v4), listener6 = listen_at("::1", &v6);
    for (int ipv4_first = 0; ipv4_first <= 1; ipv4_first++) {
        struct dial *dial = start(5000, ipv4_first);
        dial_add(dial, AF_INET, &v4, 1, NULL);
        dial_add(dial, AF_INET6, &v6, 1, NULL);
        dial_all_added(dial);
        run();
        assert_int_equal(outcome.to.sa.sa_family, ipv4_first ? AF_INET : AF_INET6);
    }
    close(listener4);
    close(listener6);
}

static void families_alternate(void **state)
{
    (void)state;
    union netaddr refusing6[4], v4[2], none;
    for (int i = 0; i < 4; i++)
        close(listen_at("::1", &refusing6[i]));
    close(listen_at("127.0.0.1", &none));
    int listener = listen_at("127.0.0.1", &v4[0]);
    struct dial *dial = start(5000, false);
    dial_add(dial, AF_INET6, refusing6, 4, NULL);
    dial_add(dial, AF_INET, v4, 1, NULL);
    dial_all_added(dial);
    run();
    assert_true(netaddr_equal(&outcome.to, &v4[0]));
    close(listener);
}

/* Not 250 ms later: nine refusals would use up the time. */
static void a_failure_starts_the_next_at_once(void **state)
{
    (void)state;
    union netaddr addresses[10];
    close(listen_at("127.0.0.1", &addresses[0]));
    for (int i = 1; i < 9; i++)
        addresses[i] = addresses[0];
    int listener = listen_at("127.0.0.1", &addresses[9]);
    struct dial *dial = start(1500, false);
    dial_add(dial, AF_INET, addresses, 10, NULL);
    dial_all_added(dial);
    run();
    assert_true(netaddr_equal(&outcome.to, &addresses[9]));
    close(listener);
}

/* The second attempt is the other family's, not the first one's eighth. */
static void silent_addresses_of_one_family_do_not_go_first(void **state)
{
    (void)state;
    struct silent silent;
    union netaddr where, silent6[8];
    be_silent(&silent, "::1");
    for (int i = 0; i < 8; i++)
        silent6[i] = silent.where;
    int listener = listen_at("127.0.0.1", &where);
    struct dial *dial = start(1500, false);
    dial_add(dial, AF_INET6, silent6, 8, NULL);
    dial_add(dial, AF_INET, &where, 1, NULL);
    dial_all_added(dial);
    run();
    assert_true(netaddr_equal(&outcome.to, &where));
    close(listener);
    stop_being_silent(&silent);
}

struct later {
    struct dial *dial;
    union netaddr where;
};

static void add_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct later *later = arg;
    dial_add(later->dial, later->where.sa.sa_family, &later->where, 1, NULL);
    dial_all_added(later->dial);
}

/* The other family's answer comes while the first attempt is under way, or has failed already. */
static void addresses_may_come_late(void **state)
{
    (void)state;
    struct silent silent;
    struct later later;
    be_silent(&silent, "::1");
    int listener = listen_at("127.0.0.1", &later.where);
    for (int delay_ms = 10; delay_ms <= 600; delay_ms += 590) {
        later.dial = start(5000, false);
        dial_add(later.dial, AF_INET6, &silent.where, 1, NULL);
        const struct timeval delay = {.tv_usec = delay_ms * 1000};
        event_base_once(base, -1, EV_TIMEOUT, add_later, &later, &delay);
        run();
        assert_true(netaddr_equal(&outcome.to, &later.where));
    }
    close(listener);
    stop_being_silent(&silent);
}

static void what_failed_before_all_were_added_is_not_the_end(void **state)
{
    (void)state;
    union netaddr refusing;
    struct later later;
    close(listen_at("::1", &refusing));
    int listener = listen_at("127.0.0.1", &later.where);
    later.dial = start(5000, false);
    dial_add(later.dial, AF_INET6, &refusing, 1, NULL);
    for (int i = 0; i < 20; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    const struct timeval next = {.tv_usec = 1};
    event_base_once(base, -1, EV_TIMEOUT, add_later, &later, &next);
    run();
    assert_true(netaddr_equal(&outcome.to, &later.where));
    close(listener);
}

static void refused_is_more_telling_than_unroutable(void **state)
{
    (void)state;
    union netaddr refusing, broadcast = at("255.255.255.255", 80);
    close(listen_at("127.0.0.1", &refusing));
    const union netaddr addresses[] = {broadcast, refusing, broadcast};
    struct dial *dial = start(5000, true);
    dial_add(dial, AF_INET, addresses, 3, NULL);
    dial_all_added(dial);
    run();
    assert_int_equal(outcome.error, ECONNREFUSED);
}

static void a_cancelled_dial_says_nothing(void **state)
{
    (void)state;
    struct silent silent;
    be_silent(&silent, "127.0.0.1");
    struct dial *dial = start(200, false);
    dial_add(dial, AF_INET, &silent.where, 1, NULL);
    event_base_loop(base, EVLOOP_NONBLOCK);
    dial_cancel(dial);
    event_base_dispatch(base); /* nothing is left to wait for */
    assert_int_equal(calls, 0);
    stop_being_silent(&silent);
}

static void too_many_addresses_are_cut(void **state)
{
    (void)state;
    union netaddr many[100];
    close(listen_at("127.0.0.1", &many[0]));
    for (size_t i = 1; i < 100; i++)
        many[i] = many[0];
    struct dial *dial = start(5000, false);
    dial_add(dial, AF_INET, many, 100, NULL);
    dial_add(dial, AF_INET, many, 100, NULL);
    dial_all_added(dial);
    run();
    assert_int_equal(outcome.error, ECONNREFUSED);
}

/* The way fixes the connection's own port, which the system else picks at random (row 65). */
static void row65_a_connection_to_itself_is_a_refusal(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        struct sock_way way = {.egress = {.mark = 0}};
        close(listen_at(hosts[i], &way.from));
        struct dial *dial = start(5000, false);
        dial_add(dial, way.from.sa.sa_family, &way.from, 1, &way);
        dial_all_added(dial);
        run();
        assert_int_equal(outcome.fd, -1);
        assert_int_equal(outcome.error, ECONNREFUSED);
    }
}

static size_t most_at_once;
static void count_descriptors(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    if (dial_descriptors(arg) > most_at_once)
        most_at_once = dial_descriptors(arg);
}

/* Silent addresses make room for the ones behind them, all within one time limit. */
static void few_attempts_run_at_once_and_late_addresses_get_their_turn(void **state)
{
    (void)state;
    struct silent silent;
    union netaddr addresses[6];
    be_silent(&silent, "127.0.0.1");
    for (int i = 0; i < 5; i++)
        addresses[i] = silent.where;
    int listener = listen_at("127.0.0.1", &addresses[5]);
    struct dial *dial = start(10000, false);
    dial_add(dial, AF_INET, addresses, 6, NULL);
    dial_all_added(dial);
    const struct timeval often = {.tv_usec = 20000};
    struct event *counting = event_new(base, -1, EV_PERSIST, count_descriptors, dial);
    event_add(counting, &often);
    most_at_once = 0;
    run();
    event_free(counting);
    assert_true(netaddr_equal(&outcome.to, &addresses[5]));
    assert_int_equal(most_at_once, 4);
    close(listener);
    stop_being_silent(&silent);
}

int main(void)
{
    base = event_base_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_is_reached),
        cmocka_unit_test(the_owner_watches_before_it_is_done),
        cmocka_unit_test(a_refusal_is_told),
        cmocka_unit_test(no_address_is_error_0),
        cmocka_unit_test(silence_times_out),
        cmocka_unit_test(nothing_at_all_times_out),
        cmocka_unit_test(a_silent_ipv6_does_not_keep_ipv4_waiting),
        cmocka_unit_test(the_preferred_family_goes_first),
        cmocka_unit_test(families_alternate),
        cmocka_unit_test(a_failure_starts_the_next_at_once),
        cmocka_unit_test(silent_addresses_of_one_family_do_not_go_first),
        cmocka_unit_test(what_failed_before_all_were_added_is_not_the_end),
        cmocka_unit_test(addresses_may_come_late),
        cmocka_unit_test(refused_is_more_telling_than_unroutable),
        cmocka_unit_test(a_cancelled_dial_says_nothing),
        cmocka_unit_test(too_many_addresses_are_cut),
        cmocka_unit_test(row65_a_connection_to_itself_is_a_refusal),
        cmocka_unit_test(few_attempts_run_at_once_and_late_addresses_get_their_turn),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    event_base_free(base);
    return failed;
}
