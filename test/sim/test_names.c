/*
 * The names of one association, over the fake resolver of world.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/assoc/dgram_queue.h"
#include "proxy/assoc/names.h"
#include "world.h"

static struct {
    size_t delivered, dropped;
    union netaddr last_to;
    union netaddr unusable[4];
    size_t unusable_count;
} heard;

static void on_deliver(void *arg, const char *name, const union netaddr *to, const uint8_t *payload, size_t len)
{
    (void)name;
    (void)arg, (void)payload, (void)len;
    heard.delivered++;
    heard.last_to = *to;
}

static void on_delivered(void *arg)
{
    (void)arg;
}

static void on_dropped(void *arg, enum drop_reason reason, uint32_t count)
{
    (void)arg, (void)reason;
    heard.dropped += count;
}

static bool can_reach(void *arg, const char *name, const union netaddr *to)
{
    (void)arg, (void)name;
    for (size_t i = 0; i < heard.unusable_count; i++)
        if (netaddr_equal_host(&heard.unusable[i], to))
            return false;
    return sock_has_route(to, NULL);
}

static void on_use(void *arg, const union netaddr *address)
{
    (void)arg, (void)address;
}

/* Of the associations of one test: each is a client's of its own. */
static struct loan loans[16];
static size_t loan_count;

static struct names *names_of(const char *client)
{
    const struct names_hooks hooks = {can_reach, on_use, on_deliver, on_delivered, on_dropped, NULL};
    const union netaddr host = addr(client, 0);
    struct loan *loan = &loans[loan_count++];
    *loan = (struct loan){.all = &world_env.loans};
    struct names *names = names_new(&world_env, loan, &host, NULL, &hooks);
    assert_non_null(names);
    return names;
}

static int begin(void **state)
{
    (void)state;
    memset(&heard, 0, sizeof(heard));
    loan_count = 0;
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

static enum names_verdict route(struct names *names, const char *name, size_t len, union netaddr *to)
{
    static const uint8_t payload[16 * 1024];
    enum drop_reason reason;
    return names_route(names, name, 53, payload, len, to, &reason);
}

/* Where a name leads that has an address of each family. */
static union netaddr choice(const char *client)
{
    union netaddr to;
    struct names *names = names_of(client);
    assert_int_equal(route(names, "both.example", 1, &to), NAMES_WAITS);
    world_answer("both.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10");
    world_answer("both.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    assert_int_equal(route(names, "both.example", 1, &to), NAMES_KNOWN);
    assert_true(netaddr_equal(&to, &heard.last_to));
    names_free(names);
    return to;
}

static void the_clients_family_first(void **state)
{
    (void)state;
    assert_int_equal(choice("10.0.0.2").sa.sa_family, AF_INET);
    assert_int_equal(choice("fd00::2").sa.sa_family, AF_INET6);
}

static void but_only_where_a_route_leads(void **state)
{
    (void)state;
    world_ipv6_has_route = false;
    assert_int_equal(choice("fd00::2").sa.sa_family, AF_INET);
}

static void or_ipv4_when_that_is_preferred(void **state)
{
    (void)state;
    world_config.outbound.prefer = CONFIG_PREFER_IPV4;
    assert_int_equal(choice("fd00::2").sa.sa_family, AF_INET);
}

/* An AAAA record may hold an IPv4-mapped address, which no IPv6 socket of ours sends to. */
static void a_mapped_address_is_unmapped(void **state)
{
    (void)state;
    union netaddr to, expected = addr("192.0.2.10", 53);
    struct names *names = names_of("10.0.0.2");
    route(names, "mapped.example", 1, &to);
    world_answer("mapped.example", AF_INET, RESOLVER_NOT_FOUND, NULL);
    world_answer("mapped.example", AF_INET6, RESOLVER_FOUND, "::ffff:192.0.2.10");
    assert_true(netaddr_equal(&heard.last_to, &expected));
    names_free(names);
}

static void what_waits_is_bounded_in_bytes(void **state)
{
    (void)state;
    enum { LEN = 16 * 1024, FIT = DGRAM_QUEUE_BYTES / LEN };
    union netaddr to;
    struct names *names = names_of("10.0.0.2");
    for (size_t i = 0; i < FIT; i++)
        assert_int_equal(route(names, "slow.example", LEN, &to), NAMES_WAITS);
    assert_int_equal(route(names, "slow.example", 1, &to), NAMES_DROPPED);
    assert_int_equal(route(names, "slow.example", 0, &to), NAMES_WAITS); /* empty is a datagram like any other */
    world_answer("slow.example", AF_INET6, RESOLVER_FAILED, NULL);
    world_answer("slow.example", AF_INET, RESOLVER_FAILED, NULL);
    assert_int_equal(heard.dropped, FIT + 1);
    names_free(names);
}

/* Rows 45 and 60: all clients of a worker share what may wait; one that takes all it can leaves as much to the others.
 */
static void what_waits_is_bounded_in_all(void **state)
{
    (void)state;
    enum { LEN = 16 * 1024, FIT = LOANS_MAX / LEN };
    struct names *names[3];
    size_t waits[3] = {0};
    world_config.limits.lookups_per_association = NAMES_MAX;
    for (int i = 0; i < 3; i++) {
        names[i] = names_of("10.0.0.2");
        for (int k = 0; k < 32; k++) {
            union netaddr to;
            char name[] = "nXX.example";
            name[1] = (char)('a' + k / 10);
            name[2] = (char)('a' + k % 10);
            for (int n = 0; n < DGRAM_QUEUE_BYTES / LEN; n++)
                waits[i] += route(names[i], name, LEN, &to) == NAMES_WAITS;
        }
    }
    /* Names are charged as well: less than one of these datagrams in all. */
    assert_in_range(waits[0], FIT / 2 - 1, FIT / 2);
    assert_in_range(waits[1], FIT / 4 - 1, FIT / 4);
    assert_in_range(waits[2], FIT / 8 - 1, FIT / 8);
    for (int i = 0; i < 3; i++)
        names_free(names[i]);
    assert_int_equal(world_env.loans.lent, 0);
}

static void nothing_waits_while_memory_is_short(void **state)
{
    (void)state;
    union netaddr to;
    struct names *names = names_of("10.0.0.2");
    world_env.memory = MEMORY_SHORT;
    assert_int_equal(route(names, "slow.example", 1, &to), NAMES_DROPPED);
    world_answer("slow.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    world_answer("slow.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    assert_int_equal(route(names, "slow.example", 1, &to), NAMES_KNOWN);
    names_free(names);
    world_env.memory = MEMORY_AMPLE;
}

/* Room for a new name is made by the one that is longest unused, even if it is still being resolved. */
static void the_longest_unused_goes_first(void **state)
{
    (void)state;
    union netaddr to;
    char name[] = "nXX.example";
    struct names *names = names_of("10.0.0.2");
    route(names, "never.example", 1, &to);
    for (int i = 0; i < NAMES_MAX; i++) {
        world_now_ms++;
        name[1] = (char)('a' + i / 10);
        name[2] = (char)('a' + i % 10);
        assert_int_equal(route(names, name, 1, &to), NAMES_WAITS);
        world_answer(name, AF_INET, RESOLVER_FOUND, "192.0.2.10");
        world_answer(name, AF_INET6, RESOLVER_NOT_FOUND, NULL);
    }
    assert_int_equal(heard.dropped, 1);
    assert_int_equal(world_pending_queries(), 0); /* never.example's was given up */
    assert_int_equal(route(names, "naa.example", 1, &to), NAMES_KNOWN);
    world_config.limits.lookups_per_association = 1;
    assert_int_equal(route(names, "new.example", 1, &to), NAMES_WAITS); /* the one place is free again */
    assert_int_equal(route(names, "newer.example", 1, &to), NAMES_DROPPED);
    names_free(names);
}

/* ---- which of its addresses ---- */

static void expect_next(struct names *names, const char *host)
{
    union netaddr to, expected = addr(host, 53);
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_KNOWN);
    assert_true(netaddr_equal(&to, &expected));
}

/* Lets the address be silent for long enough, and has the client send once more. */
static void try_next(struct names *names, const char *addresses)
{
    union netaddr to;
    world_now_ms += NAMES_TRY_MS;
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_KNOWN);
    world_answer("many.example", AF_INET, addresses ? RESOLVER_FOUND : RESOLVER_FAILED, addresses);
    world_answer("many.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
}

static struct names *names_with(const char *addresses)
{
    union netaddr to;
    struct names *names = names_of("10.0.0.2");
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_WAITS);
    assert_true(world_answer("many.example", AF_INET, RESOLVER_FOUND, addresses));
    world_answer("many.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    return names;
}

static void make_unusable(const char *host)
{
    heard.unusable[heard.unusable_count++] = addr(host, 0);
}

static void row_68_a_refused_address_is_passed_over(void **state)
{
    (void)state;
    make_unusable("192.0.2.1");
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    expect_next(names, "192.0.2.2");
    assert_int_equal(heard.delivered, 1);
    names_free(names);
}

static void row_68_a_refused_family_is_passed_over(void **state)
{
    (void)state;
    union netaddr to;
    make_unusable("2001:db8::1");
    struct names *names = names_of("fd00::2");
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_WAITS);
    world_answer("many.example", AF_INET6, RESOLVER_FOUND, "2001:db8::1");
    assert_int_equal(heard.delivered, 0);
    world_answer("many.example", AF_INET, RESOLVER_FOUND, "192.0.2.1");
    assert_int_equal(heard.delivered, 1);
    expect_next(names, "192.0.2.1");
    names_free(names);
}

/* The datagram then goes there, and is dropped and counted as any other. */
static void row_68_where_all_are_refused_the_first_is_taken(void **state)
{
    (void)state;
    make_unusable("192.0.2.1");
    make_unusable("192.0.2.2");
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    assert_int_equal(heard.delivered, 1);
    expect_next(names, "192.0.2.1");
    heard.unusable_count = 0;
    try_next(names, "192.0.2.1 192.0.2.2");
    expect_next(names, "192.0.2.2");
    names_free(names);
}

static void row_68_a_silent_address_gives_way(void **state)
{
    (void)state;
    struct names *names = names_with("192.0.2.1 192.0.2.2 192.0.2.3");
    expect_next(names, "192.0.2.1");
    world_now_ms += NAMES_TRY_MS - 1;
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_pending_queries(), 0);
    try_next(names, "192.0.2.3 192.0.2.1 192.0.2.2"); /* servers rotate them */
    expect_next(names, "192.0.2.3");
    try_next(names, "192.0.2.1 192.0.2.2 192.0.2.3");
    expect_next(names, "192.0.2.2");
    try_next(names, "192.0.2.1 192.0.2.2 192.0.2.3"); /* and round again */
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_env.metrics.names_moved_total, 3);
    names_free(names);
}

static void row_68_a_silent_family_gives_way(void **state)
{
    (void)state;
    union netaddr to;
    struct names *names = names_of("fd00::2");
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_WAITS);
    for (int i = 0; i < 2; i++) {
        world_answer("many.example", AF_INET6, RESOLVER_FOUND, "2001:db8::1");
        world_answer("many.example", AF_INET, RESOLVER_FOUND, "192.0.2.1");
        expect_next(names, i == 0 ? "2001:db8::1" : "192.0.2.1");
        world_now_ms += i == 0 ? NAMES_TRY_MS : 0;
        assert_int_equal(route(names, "many.example", 1, &to), NAMES_KNOWN);
    }
    names_free(names);
}

/* A record that has changed is followed; the datagrams never wait for that. */
static void row_68_a_changed_record_is_followed(void **state)
{
    (void)state;
    struct names *names = names_with("192.0.2.1");
    try_next(names, "192.0.2.1");
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_env.metrics.names_moved_total, 0);
    try_next(names, NULL); /* the servers are down for a while */
    expect_next(names, "192.0.2.1");
    try_next(names, "192.0.2.9");
    expect_next(names, "192.0.2.9");
    assert_int_equal(heard.dropped, 0);
    names_free(names);
}

static void row_68_an_address_that_has_answered_stays(void **state)
{
    (void)state;
    const union netaddr other = addr("192.0.2.2", 53), peer = addr("192.0.2.1", 4444);
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    names_mark_answered(names, &other);
    names_mark_answered(names, &peer);
    for (int i = 0; i < 100; i++) {
        world_now_ms += NAMES_TRY_MS;
        expect_next(names, "192.0.2.1");
    }
    assert_int_equal(world_pending_queries(), 0);
    names_free(names);
}

/* The answer comes while the next address is being looked for. */
static void row_68_an_answer_may_be_late(void **state)
{
    (void)state;
    const union netaddr peer = addr("192.0.2.1", 53);
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    world_now_ms += NAMES_TRY_MS;
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_pending_queries(), 2);
    names_mark_answered(names, &peer);
    assert_int_equal(world_pending_queries(), 0);
    world_now_ms += NAMES_TRY_MS;
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_pending_queries(), 0);
    names_free(names);
}

static void an_unused_name_is_resolved_anew(void **state)
{
    (void)state;
    union netaddr to;
    const union netaddr peer = addr("192.0.2.1", 53);
    struct names *names = names_with("192.0.2.1");
    names_mark_answered(names, &peer);
    world_now_ms += NAMES_KEPT_MS;
    assert_int_equal(route(names, "many.example", 1, &to), NAMES_WAITS);
    world_answer("many.example", AF_INET, RESOLVER_FOUND, "192.0.2.7");
    expect_next(names, "192.0.2.7");
    names_free(names);
}

static void an_address_that_new_rules_deny_is_given_up(void **state)
{
    (void)state;
    const union netaddr peer = addr("192.0.2.1", 53);
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    names_mark_answered(names, &peer);
    names_review(names);
    expect_next(names, "192.0.2.1");
    assert_int_equal(world_pending_queries(), 0);
    make_unusable("192.0.2.1");
    names_review(names);
    expect_next(names, "192.0.2.1");   /* which the association drops */
    names_mark_answered(names, &peer); /* still answers what was sent before */
    world_answer("many.example", AF_INET, RESOLVER_FOUND, "192.0.2.1 192.0.2.2");
    expect_next(names, "192.0.2.2");
    names_free(names);
}

/* Its datagrams may be answers to another name that uses it, or to none. */
static void a_denied_address_is_not_kept_because_it_answers(void **state)
{
    (void)state;
    const union netaddr peer = addr("192.0.2.1", 53);
    make_unusable("192.0.2.1");
    struct names *names = names_with("192.0.2.1");
    names_mark_answered(names, &peer);
    try_next(names, "192.0.2.1 192.0.2.2");
    expect_next(names, "192.0.2.2");
    names_free(names);
}

static void an_address_that_is_allowed_again_is_kept(void **state)
{
    (void)state;
    const union netaddr peer = addr("192.0.2.1", 53);
    struct names *names = names_with("192.0.2.1 192.0.2.2");
    make_unusable("192.0.2.1");
    names_review(names);
    expect_next(names, "192.0.2.1");
    heard.unusable_count = 0;
    names_review(names);
    expect_next(names, "192.0.2.1");
    names_mark_answered(names, &peer);
    assert_int_equal(world_pending_queries(), 0);
    names_free(names);
}

/* Row 67: a server that is silent about one family stops neither this name nor others. */
static void row_67_one_family_silent_blocks_nothing(void **state)
{
    (void)state;
    union netaddr to;
    char name[] = "nX.example";
    struct names *names = names_of("10.0.0.2");
    for (int i = 0; i < 20; i++) {
        name[1] = (char)('a' + i);
        assert_int_equal(route(names, name, 1, &to), NAMES_WAITS);
        assert_true(world_answer(name, AF_INET, RESOLVER_FOUND, "192.0.2.10"));
        assert_int_equal(route(names, name, 1, &to), NAMES_KNOWN);
    }
    names_free(names);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(the_clients_family_first),
        TEST(but_only_where_a_route_leads),
        TEST(or_ipv4_when_that_is_preferred),
        TEST(a_mapped_address_is_unmapped),
        TEST(what_waits_is_bounded_in_bytes),
        TEST(the_longest_unused_goes_first),
        TEST(what_waits_is_bounded_in_all),
        TEST(nothing_waits_while_memory_is_short),
        TEST(row_68_a_refused_address_is_passed_over),
        TEST(row_68_a_refused_family_is_passed_over),
        TEST(row_68_where_all_are_refused_the_first_is_taken),
        TEST(row_68_a_silent_address_gives_way),
        TEST(row_68_a_silent_family_gives_way),
        TEST(row_68_a_changed_record_is_followed),
        TEST(row_68_an_address_that_has_answered_stays),
        TEST(row_68_an_answer_may_be_late),
        TEST(an_unused_name_is_resolved_anew),
        TEST(an_address_that_new_rules_deny_is_given_up),
        TEST(a_denied_address_is_not_kept_because_it_answers),
        TEST(an_address_that_is_allowed_again_is_kept),
        TEST(row_67_one_family_silent_blocks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
