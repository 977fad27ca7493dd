#include "test.h"

#include <stdio.h>

#include "net/resolver_cache.h"

static struct resolver_cache cache;

static struct resolver_answer found(const char *address, uint32_t ttl_s)
{
    struct resolver_answer answer = {.status = RESOLVER_FOUND, .ttl_s = ttl_s, .count = 1};
    assert_true(netaddr_parse(&answer.addresses[0], address, 0));
    return answer;
}

static void expect(const char *name, int family, uint64_t now_ms, const char *address)
{
    char text[NETADDR_TEXT_MAX];
    struct resolver_cached_answer cached;
    assert_int_equal(resolver_cache_find(&cache, name, family, now_ms, &cached), address != NULL);
    if (!address)
        return;
    assert_int_equal(cached.status, RESOLVER_FOUND);
    assert_int_equal(cached.count, 1);
    assert_string_equal(netaddr_format_host(cached.addresses, text), address);
}

static void keeps_answers_for_their_ttl(void **state)
{
    (void)state;
    struct resolver_answer one = found("192.0.2.1", 10), six = found("2001:db8::1", 20), none = found("192.0.2.2", 0);
    expect("one.test", AF_INET, 0, NULL);
    resolver_cache_keep(&cache, "one.test", AF_INET, 1000, &one);
    resolver_cache_keep(&cache, "one.test", AF_INET6, 1000, &six);
    resolver_cache_keep(&cache, "two.test", AF_INET, 1000, &none);
    expect("one.test", AF_INET, 10999, "192.0.2.1");
    expect("one.test", AF_INET6, 10999, "2001:db8::1");
    expect("two.test", AF_INET, 1000, NULL);
    expect("one.test", AF_INET, 11000, NULL);
    expect("one.test", AF_INET6, 11000, "2001:db8::1");

    six = found("2001:db8::2", 20); /* another one takes its place */
    resolver_cache_keep(&cache, "one.test", AF_INET6, 11000, &six);
    expect("one.test", AF_INET6, 11000, "2001:db8::2");
    resolver_cache_clear(&cache);
    assert_int_equal(cache.bytes, 0);
    expect("one.test", AF_INET6, 11000, NULL);
}

static void keeps_what_does_not_exist(void **state)
{
    (void)state;
    const struct resolver_answer missing = {.status = RESOLVER_NOT_FOUND, .ttl_s = 5};
    resolver_cache_keep(&cache, "one.test", AF_INET, 0, &missing);
    struct resolver_cached_answer cached;
    assert_true(resolver_cache_find(&cache, "one.test", AF_INET, 0, &cached));
    assert_int_equal(cached.status, RESOLVER_NOT_FOUND);
    assert_int_equal(cached.count, 0);
    resolver_cache_clear(&cache);
}

/* What is in use stays; the rest makes room. */
static void is_bounded(void **state)
{
    (void)state;
    const struct resolver_answer one = found("192.0.2.1", 3600);
    char name[32];
    size_t most = 0;
    for (int i = 0; i < 50000; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        resolver_cache_keep(&cache, name, AF_INET, 0, &one);
        expect("n0.test", AF_INET, 0, "192.0.2.1");
        most = cache.bytes > most ? cache.bytes : most;
    }
    assert_in_range(most, 1 << 20, 2 << 20);
    expect("n1.test", AF_INET, 0, NULL);
    expect("n49999.test", AF_INET, 0, "192.0.2.1");
    resolver_cache_clear(&cache);
    assert_int_equal(cache.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_answers_for_their_ttl),
        cmocka_unit_test(keeps_what_does_not_exist),
        cmocka_unit_test(is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
