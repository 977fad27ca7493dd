#include "test.h"

#include <stdio.h>

#include "policy/login_cache.h"

static struct login_proof proof(unsigned number)
{
    static const uint8_t key[LOGIN_KEY_LEN] = "key";
    char password[16];
    snprintf(password, sizeof(password), "%u", number);
    return login_proof_make(key, "alice", "hash", password);
}

static void knows_until_its_time_is_up(void **state)
{
    (void)state;
    struct login_cache *cache = login_cache_new();
    const struct login_proof one = proof(1);
    assert_int_equal(login_cache_find(cache, &one, 0), 0);
    login_cache_add(cache, &one, 500);
    assert_int_equal(login_cache_find(cache, &one, 499), 500);
    assert_int_equal(login_cache_find(cache, &one, 500), 0);
    login_cache_add(cache, &one, 900);
    assert_int_equal(login_cache_find(cache, &one, 500), 900);
    login_cache_free(cache);
}

static void one_bit_is_another_proof(void **state)
{
    (void)state;
    struct login_cache *cache = login_cache_new();
    const struct login_proof one = proof(1);
    login_cache_add(cache, &one, 500);
    for (size_t bit = 0; bit < 8 * sizeof(one.mac); bit++) {
        struct login_proof other = one;
        other.mac[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(login_cache_find(cache, &other, 0), 0);
    }
    login_cache_free(cache);
}

/* An empty slot is no proof of zeros. */
static void knows_nothing_at_first(void **state)
{
    (void)state;
    struct login_cache *cache = login_cache_new();
    const struct login_proof zeros = {0};
    assert_int_equal(login_cache_find(cache, &zeros, 0), 0);
    login_cache_free(cache);
}

/* However many are added: it only forgets, the older ones first. */
static void forgets_but_never_errs(void **state)
{
    (void)state;
    struct login_cache *cache = login_cache_new();
    unsigned known = 0;
    for (unsigned i = 0; i < 4 * LOGIN_CACHE_SLOTS; i++) {
        const struct login_proof one = proof(i);
        login_cache_add(cache, &one, 1000 + i);
        assert_int_equal(login_cache_find(cache, &one, 999), 1000 + i);
    }
    for (unsigned i = 0; i < 8 * LOGIN_CACHE_SLOTS; i++) {
        const struct login_proof one = proof(i);
        uint64_t until = login_cache_find(cache, &one, 999);
        assert_true(until == 0 || until == 1000 + i);
        known += until != 0;
    }
    assert_in_range(known, LOGIN_CACHE_SLOTS / 2, LOGIN_CACHE_SLOTS);
    login_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_until_its_time_is_up),
        cmocka_unit_test(one_bit_is_another_proof),
        cmocka_unit_test(knows_nothing_at_first),
        cmocka_unit_test(forgets_but_never_errs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
