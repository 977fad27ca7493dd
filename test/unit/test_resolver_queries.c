#include "test.h"

#include <sys/resource.h>

#include "net/reserve.h"
#include "support/lookups.h"

static void cancels_in_every_phase(void **state)
{
    (void)state;
    struct wish asked, cached, local, killer;
    expect_address("one.test", "192.0.2.1");
    start(&asked, "two.test", AF_INET);
    start(&cached, "one.test", AF_INET);
    start(&local, "localhost", AF_INET);
    resolver_cancel(asked.query);
    resolver_cancel(cached.query);
    resolver_cancel(local.query);
    settle_down();
    assert_int_equal(asked.answers + cached.answers + local.answers, 0);

    /* From within another's `done`, and in the order in which they are answered. */
    start(&killer, "localhost", AF_INET);
    start(&local, "localhost", AF_INET);
    killer.cancels = &local;
    wait_for(&killer);
    start(&killer, "localhost", AF_INET);
    start(&asked, "v4.test", AF_INET);
    killer.cancels = &asked;
    wait_for(&killer);
    settle_down();
    assert_int_equal(asked.answers + local.answers, 0);

    expect_address("v4.test", "192.0.2.4");
}

/* Questions that are under way when the resolver is freed must find nothing to call. */
static void frees_in_every_phase(void **state)
{
    (void)state;
    struct wish asked, cached, local, forgotten, freer;
    for (int from_done = 0; from_done < 2; from_done++) {
        expect_address("one.test", "192.0.2.1");
        start(&forgotten, "silent.test", AF_INET);
        resolver_cancel(forgotten.query);
        start(&freer, "localhost", AF_INET);
        start(&asked, "silent.test", AF_INET);
        start(&cached, "one.test", AF_INET);
        start(&local, "localhost", AF_INET);
        freer.frees_resolver = from_done;
        if (from_done)
            wait_for(&freer);
        else
            resolver_free(resolver);
        settle_down();
        assert_int_equal(asked.answers + cached.answers + local.answers + forgotten.answers, 0);
        open_resolver(300, 0);
    }
    /* When its time is up. */
    start(&asked, "silent.test", AF_INET);
    asked.frees_resolver = true;
    wait_for(&asked);
    assert_int_equal(asked.status, RESOLVER_TIMED_OUT);
}

/* Row 36. */
static void bounds_the_queries_of_a_client(void **state)
{
    (void)state;
    struct wish wishes[8];
    reopen(5000, 2);
    assert_true(start_as("198.51.100.7", &wishes[0], "one.test", AF_INET));
    assert_true(start_as("198.51.100.7", &wishes[1], "two.test", AF_INET));
    assert_false(start_as("198.51.100.7", &wishes[2], "v4.test", AF_INET));
    assert_false(start_as("::ffff:198.51.100.7", &wishes[2], "localhost", AF_INET));
    assert_true(start_as("198.51.100.8", &wishes[3], "one.test", AF_INET));
    wait_for(&wishes[0]);
    wait_for(&wishes[1]);
    assert_true(start_as("198.51.100.7", &wishes[2], "v4.test", AF_INET));

    /* One /64 is one client, and none that has the same bytes in IPv4. */
    assert_true(start_as("32.1.13.184", &wishes[7], "silent.test", AF_INET));
    assert_true(start_as("32.1.13.184", &wishes[7], "silent.test", AF_INET));
    assert_true(start_as("2001:db8::1", &wishes[7], "silent.test", AF_INET));
    assert_true(start_as("2001:db8:1:2::1", &wishes[4], "one.test", AF_INET));
    assert_true(start_as("2001:db8:1:2:ffff::1", &wishes[5], "one.test", AF_INET));
    assert_false(start_as("2001:db8:1:2:8000::9", &wishes[6], "one.test", AF_INET));
    assert_true(start_as("2001:db8:1:3::1", &wishes[6], "one.test", AF_INET));
    wait_for(&wishes[4]);
    assert_true(start_as("2001:db8:1:2::1", &wishes[7], "one.test", AF_INET));
}

static void counts_what_a_client_gave_up(void **state)
{
    (void)state;
    struct wish wish;
    reopen(5000, 1);
    start(&wish, "silent.test", AF_INET);
    resolver_cancel(wish.query);
    assert_false(start_as("198.51.100.7", &wish, "one.test", AF_INET)); /* the question is still under way */
    assert_true(start_as("198.51.100.8", &wish, "one.test", AF_INET));
    resolver_cancel(wish.query);
    settle_down(); /* answered */
    assert_true(start_as("198.51.100.8", &wish, "one.test", AF_INET));
    wait_for(&wish);
    assert_true(start_as("198.51.100.8", &wish, "localhost", AF_INET));
    resolver_cancel(wish.query);
    assert_true(start_as("198.51.100.8", &wish, "localhost", AF_INET));
}

static size_t start_all(const char *client, struct wish *wishes, size_t count)
{
    size_t started = 0;
    while (started < count && start_as(client, &wishes[started], "silent.test", AF_INET))
        started++;
    return started;
}

/* However few want all, there is one for who comes next. */
static void bounds_all_queries(void **state)
{
    (void)state;
    static const char *const greedy[] = {"198.51.100.7", "198.51.100.8", "198.51.100.9", "198.51.100.10"};
    static struct wish wishes[4][4096], next;
    for (size_t i = 0; i < 4; i++)
        assert_in_range(start_all(greedy[i], wishes[i], 4096), 64 >> i, 1023);
    assert_true(start_as("198.51.100.11", &next, "silent.test", AF_INET));
}

/* Each question takes a descriptor, and others need some, too. */
static void row_61_fewer_queries_where_descriptors_are_few(void **state)
{
    (void)state;
    static struct wish wishes[4096], next;
    struct rlimit usual, small;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    small = (struct rlimit){1024, usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    reserve_set(reserve, 0);
    assert_int_equal(start_all("198.51.100.7", wishes, 4096), 64);
    assert_true(start_as("198.51.100.8", &next, "one.test", AF_INET));
    wait_for(&next);
    assert_int_equal(next.status, RESOLVER_FOUND);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    reserve_set(reserve, 0);
}

/* One for each server that it asks, and each worker has a resolver: all of them together have the share. */
static void row_61_the_share_holds_for_all_servers_and_workers(void **state)
{
    (void)state;
    static struct dns_server silent[2];
    static struct wish wishes[4096], others[4096];
    union netaddr servers[3] = {server.address};
    struct rlimit usual, small;
    for (int i = 0; i < 2; i++) {
        assert_true(dns_server_open(&silent[i], base, names, "127.0.0.1", 0));
        silent[i].silent = true;
        servers[i + 1] = silent[i].address;
    }
    const struct resolver_options options = {
        .servers = servers, .server_count = 3, .timeout_ms = 5000, .reserve = reserve};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    small = (struct rlimit){1024, usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    reserve_set(reserve, 0);
    struct resolver *first = resolver, *second = resolver_new(base, &options);
    assert_true(second && resolver_change(first, &options));
    assert_int_equal(start_all("198.51.100.7", wishes, 4096), 128 / 3 / 2);
    resolver = second;
    assert_int_equal(start_all("198.51.100.7", others, 4096), 11);
    resolver = first;
    resolver_free(second);
    for (int i = 0; i < 2; i++)
        dns_server_close(&silent[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    reserve_set(reserve, 0);
}

/* Servers of resolv.conf answer on port 53 only, which not everybody may have. */
static void moves_when_resolv_conf_changes(void **state)
{
    (void)state;
    static struct dns_server first, second;
    if (!dns_server_open(&first, base, names, "127.83.0.1", 53))
        SKIP_TEST("port 53 is not for this user");
    assert_true(dns_server_open(&second, base, names, "127.83.0.2", 53));
    resolver_free(resolver);
    write_file(resolv_conf_path, "nameserver 127.83.0.1\n");
    const struct resolver_options options = {
        .timeout_ms = 5000, .hosts_file = hosts_path, .resolv_conf = resolv_conf_path};
    resolver = resolver_new(base, &options);
    assert_non_null(resolver);
    expect_address("one.test", "192.0.2.1");
    assert_int_equal(dns_server_asked(&first), 1);

    write_file(resolv_conf_path, "nameserver 127.83.0.1\noptions edns0\n");
    expect_address("one.test", "192.0.2.1");
    assert_int_equal(dns_server_asked(&first), 1); /* the same servers, so what is known stays */

    first.silent = true;
    struct wish moved, forgotten;
    start(&moved, "two.test", AF_INET);
    start(&forgotten, "v4.test", AF_INET);
    resolver_cancel(forgotten.query);
    settle_down();
    write_file(resolv_conf_path, "# elsewhere\nnameserver 127.83.0.2\n");
    expect_address("one.test", "192.0.2.1");
    wait_for(&moved);
    assert_int_equal(moved.status, RESOLVER_FOUND);
    assert_int_equal(forgotten.answers, 0);
    assert_int_equal(dns_server_asked(&second), 2);
    dns_server_close(&first);
    dns_server_close(&second);
}

/* At a reload: what is under way is asked again, what is known stays when only limits change. */
static void changes_servers_and_limits(void **state)
{
    (void)state;
    static struct dns_server second;
    assert_true(dns_server_open(&second, base, names, "127.0.0.1", 0));
    struct resolver_options options = {.servers = &server.address, .server_count = 1, .timeout_ms = 5000};
    expect_address("one.test", "192.0.2.1");
    options.per_client = 1;
    assert_true(resolver_change(resolver, &options));
    expect_address("one.test", "192.0.2.1");
    assert_int_equal(dns_server_asked(&server), 1);
    struct wish waiting, refused;
    start(&waiting, "silent.test", AF_INET);
    assert_false(start_as("198.51.100.7", &refused, "one.test", AF_INET));

    resolver_cancel(waiting.query);
    options.per_client = 0;
    assert_true(resolver_change(resolver, &options));
    server.silent = true;
    start(&waiting, "two.test", AF_INET);
    settle_down();
    options.servers = &second.address;
    assert_true(resolver_change(resolver, &options));
    wait_for(&waiting);
    assert_int_equal(waiting.status, RESOLVER_FOUND);
    expect_address("one.test", "192.0.2.1"); /* what another server said is forgotten */
    assert_int_equal(dns_server_asked(&second), 2);

    options.server_count = 0; /* resolv.conf's, which names none that would answer here */
    options.timeout_ms = 100;
    assert_true(resolver_change(resolver, &options));
    start(&waiting, "silent2.test", AF_INET);
    wait_for(&waiting);
    assert_int_not_equal(waiting.status, RESOLVER_FOUND);
    assert_int_equal(dns_server_asked(&second), 2);
    dns_server_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOKUP_TEST(cancels_in_every_phase),
        LOOKUP_TEST(frees_in_every_phase),
        LOOKUP_TEST(bounds_the_queries_of_a_client),
        LOOKUP_TEST(counts_what_a_client_gave_up),
        LOOKUP_TEST(bounds_all_queries),
        LOOKUP_TEST(moves_when_resolv_conf_changes),
        LOOKUP_TEST(changes_servers_and_limits),
        LOOKUP_TEST(row_61_the_share_holds_for_all_servers_and_workers),
        LOOKUP_TEST(row_61_fewer_queries_where_descriptors_are_few),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
