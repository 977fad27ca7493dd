/* Name servers as people have them, and which of several is asked. */
#include "test.h"

#include <sys/resource.h>
#include <time.h>

#include "net/resolver_question.h"
#include "support/lookups.h"

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct dns_server other;

static void use(const union netaddr *servers, size_t count, uint64_t timeout_ms)
{
    const struct resolver_options options = {.servers = servers,
                                             .server_count = count,
                                             .timeout_ms = timeout_ms,
                                             .hosts_file = hosts_path,
                                             .resolv_conf = resolv_conf_path};
    resolver_free(resolver);
    resolver = resolver_new(base, &options);
    assert_non_null(resolver);
}

/* The resolver asks `server` first, then `other`. */
static void use_both(uint64_t timeout_ms)
{
    assert_true(dns_server_open(&other, base, names, "127.0.0.1", 0));
    const union netaddr both[] = {server.address, other.address};
    use(both, 2, timeout_ms);
}

/* An answer that takes S seconds is there after S + 1.5: each question is listened to until the end. */
static void row67_slow_answers_count(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t ms;
    } slow[] = {{"late-500.test", 500}, {"late-1200.test", 1200}, {"late-2200.test", 2200}};
    struct wish wishes[3];
    const uint64_t begun = now_ms();
    for (size_t i = 0; i < 3; i++)
        start(&wishes[i], slow[i].name, AF_INET);
    for (size_t i = 0; i < 3; i++) {
        wait_for(&wishes[i]);
        assert_int_equal(wishes[i].status, RESOLVER_FOUND);
        assert_in_range(now_ms() - begun, slow[i].ms - 10, slow[i].ms + 1500);
    }
    assert_int_equal(dns_server_asked(&server), 5); /* again after a second */
}

static void row67_a_dead_first_server_is_asked_last(void **state)
{
    (void)state;
    use_both(5000);
    server.silent = true;
    struct wish first, second;
    start(&first, "one.test", AF_INET);
    start(&second, "one.test", AF_INET6);
    wait_for(&first);
    wait_for(&second);
    assert_int_equal(first.status, RESOLVER_FOUND);
    assert_int_equal(second.status, RESOLVER_FOUND);
    const int asked = dns_server_asked(&server);
    expect_address("two.test", "192.0.2.2");
    expect_address("two.test", "2001:db8::2");
    expect_address("v4.test", "192.0.2.4");
    assert_int_equal(dns_server_asked(&server), asked);

    /* When both are silent, both are asked, and the one that is back serves. */
    other.silent = true;
    server.silent = false;
    expect_address("private.test", "10.1.2.3");
    expect_address("private.test", "fd00::1");
    dns_server_close(&other);
}

static void row67_a_server_that_refuses_costs_no_time(void **state)
{
    (void)state;
    use_both(5000);
    dns_server_close(&server); /* nobody listens there now */
    const uint64_t begun = now_ms();
    expect_address("one.test", "192.0.2.1");
    expect_address("two.test", "192.0.2.2");
    const uint64_t took = now_ms() - begun;
    dns_server_close(&other);
    assert_true(dns_server_open(&server, base, names, "127.0.0.1", 0)); /* for tear_down */
    assert_true(took < 900);
}

/* A local server that is started anew is away for a moment. */
static void waits_for_a_server_that_comes_back(void **state)
{
    (void)state;
    const union netaddr address = server.address;
    dns_server_close(&server);
    struct wish wish;
    start(&wish, "one.test", AF_INET);
    const struct timeval moment = {0, 200000};
    event_base_loopexit(base, &moment);
    event_base_dispatch(base);
    assert_int_equal(wish.answers, 0);
    char host[NETADDR_TEXT_MAX];
    assert_true(dns_server_open(&server, base, names, netaddr_format_host(&address, host), netaddr_port(&address)));
    wait_for(&wish);
    assert_int_equal(wish.status, RESOLVER_FOUND);
}

static void a_server_that_fails_leaves_it_to_the_next(void **state)
{
    (void)state;
    use_both(5000);
    server.fault = DNS_SERVFAIL;
    const uint64_t begun = now_ms();
    expect_address("one.test", "192.0.2.1");
    expect_status("missing.test", AF_INET, RESOLVER_NOT_FOUND);
    expect_status("broken.test", AF_INET, RESOLVER_FAILED);
    assert_int_equal(dns_server_asked(&server), 3);
    assert_int_equal(dns_server_asked(&other), 3);
    assert_true(now_ms() - begun < 900);
    dns_server_close(&other);
}

/* The next one may be slow: it is waited for like any other. */
static void a_slow_answer_counts_when_another_server_fails(void **state)
{
    (void)state;
    use_both(5000);
    server.fault = DNS_SERVFAIL;
    expect_address("late-2200.test", "192.0.2.52");
    dns_server_close(&other);
}

static void row67_truncated_answers(void **state)
{
    (void)state;
    assert_int_equal(look_up("cut.test", AF_INET).count, RESOLVER_ADDRESSES_MAX);
    assert_int_equal(server.asked_tcp, 1);

    /* A server without TCP: what fitted has to do. */
    use(&server.address, 1, 5000);
    server.hangs_tcp = true;
    expect_address("cut.test", "192.0.2.200");
    event_del(server.on_tcp);
    close(server.tcp);
    use(&server.address, 1, 5000);
    const uint64_t begun = now_ms();
    expect_address("cut.test", "192.0.2.200");
    assert_true(now_ms() - begun < 900);
    server.tcp = socket(AF_INET, SOCK_STREAM, 0); /* for tear_down */
}

/* Without a descriptor for TCP, too. */
static void what_fitted_into_a_datagram_is_used(void **state)
{
    (void)state;
    struct rlimit limit, none;
    struct wish wish;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    start(&wish, "cut.test", AF_INET);
    while (dns_server_asked(&server) == 0)
        event_base_loop(base, EVLOOP_ONCE);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    wait_for(&wish);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(server.asked_tcp, 0);
    assert_int_equal(wish.status, RESOLVER_FOUND);
    assert_int_equal(wish.count, 1);
}

static void on_answer(void *arg, const struct resolver_answer *answer)
{
    *(struct resolver_answer *)arg = *answer;
    event_base_loopbreak(base);
}

static struct resolver_answer ask(const char *name)
{
    struct resolver_answer answer;
    struct name_servers *servers = name_servers_new(base, &server.address, 1, NULL, NULL);
    assert_non_null(resolver_question_ask(servers, name, AF_INET, 5000, on_answer, &answer));
    event_base_dispatch(base);
    free(servers);
    return answer;
}

/* An alias that changes often leads to addresses that do not. */
static void an_answer_lives_no_longer_than_the_aliases_to_it(void **state)
{
    (void)state;
    static const char *const brief[] = {"brief-chain.test", "to-brief.test", "brief-cut.test"};
    assert_int_equal(ask("chain1.test").ttl_s, 300);
    for (size_t i = 0; i < sizeof(brief) / sizeof(brief[0]); i++) {
        server.hangs_tcp = true; /* of the last one, what fits is all that comes */
        const struct resolver_answer answer = ask(brief[i]);
        assert_int_equal(answer.status, RESOLVER_FOUND);
        assert_int_equal(answer.ttl_s, DNS_BRIEF_S);
    }
}

/* Many questions for one name at once would also help whoever forges answers. */
static void row59_one_question_for_all_who_ask(void **state)
{
    (void)state;
    static struct wish wishes[100];
    for (size_t i = 0; i < 100; i++)
        start(&wishes[i], i % 2 ? "one.test" : "ONE.test.", AF_INET);
    for (size_t i = 0; i < 100; i++) {
        wait_for(&wishes[i]);
        assert_int_equal(wishes[i].status, RESOLVER_FOUND);
    }
    assert_int_equal(dns_server_asked(&server), 1);
}

/* 200 names that are answered by SERVFAIL, and late; others feel nothing, and few questions leave. */
static void row59_late_failures_delay_nobody(void **state)
{
    (void)state;
    enum { GREEDY = 200 };
    static struct wish greedy[GREEDY];
    static struct dns_name table[GREEDY + 5];
    static char texts[GREEDY][32];
    for (size_t i = 0; i < GREEDY; i++) {
        snprintf(texts[i], sizeof(texts[i]), "late-1500.%zu.test", i);
        table[i] = (struct dns_name){.name = texts[i], .fault = DNS_SERVFAIL};
    }
    for (size_t i = 0; i < 4; i++)
        table[GREEDY + i] = names[i];
    server.names = table;
    for (size_t i = 0; i < GREEDY; i++)
        start(&greedy[i], texts[i], AF_INET);
    settle_down();
    const uint64_t begun = now_ms();
    for (size_t i = 0; i < 4; i++) {
        struct wish wish;
        assert_true(start_as("198.51.100.8", &wish, names[i].name, AF_INET));
        wait_for(&wish);
        assert_int_equal(wish.status, RESOLVER_FOUND);
    }
    assert_true(now_ms() - begun < 1000);
    for (size_t i = 0; i < GREEDY; i++) {
        wait_for(&greedy[i]);
        assert_int_equal(greedy[i].status, RESOLVER_FAILED);
    }
    assert_in_range(dns_server_asked(&server), 4 + GREEDY, 4 + 2 * GREEDY);
    server.names = names;
}

/* Names that nobody answers double the questions; only many that were answered at once pay for a third. */
static void row59_how_often_a_question_is_sent(void **state)
{
    (void)state;
    use(&server.address, 1, 3500);
    expect_status("silent.test", AF_INET, RESOLVER_TIMED_OUT);
    assert_int_equal(dns_server_asked(&server), 2);

    use(&server.address, 1, 3500);
    static const char *const answered[] = {"one.test", "two.test", "private.test", "v4.test"};
    for (size_t i = 0; i < 8; i++)
        (void)look_up(answered[i / 2], i % 2 ? AF_INET : AF_INET6);
    const int asked = dns_server_asked(&server);
    expect_status("silent.test", AF_INET, RESOLVER_TIMED_OUT);
    assert_int_equal(dns_server_asked(&server), asked + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOKUP_TEST(row67_slow_answers_count),
        LOOKUP_TEST(row67_a_dead_first_server_is_asked_last),
        LOOKUP_TEST(row67_a_server_that_refuses_costs_no_time),
        LOOKUP_TEST(waits_for_a_server_that_comes_back),
        LOOKUP_TEST(a_server_that_fails_leaves_it_to_the_next),
        LOOKUP_TEST(a_slow_answer_counts_when_another_server_fails),
        LOOKUP_TEST(row67_truncated_answers),
        LOOKUP_TEST(what_fitted_into_a_datagram_is_used),
        LOOKUP_TEST(an_answer_lives_no_longer_than_the_aliases_to_it),
        LOOKUP_TEST(row59_one_question_for_all_who_ask),
        LOOKUP_TEST(row59_late_failures_delay_nobody),
        LOOKUP_TEST(row59_how_often_a_question_is_sent),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
