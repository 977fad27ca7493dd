#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "policy/quota.h"

static struct quota *quota;

static int begin(void **state)
{
    (void)state;
    quota = quota_new();
    return quota ? 0 : -1;
}

/* Nothing stays behind a test. */
static int end(void **state)
{
    (void)state;
    assert_int_equal(quota_size(quota), 0);
    quota_free(quota);
    return 0;
}

static struct quota_account *of_client(const char *host)
{
    union netaddr client;
    assert_true(netaddr_parse(&client, host, 4711));
    struct quota_account *account = quota_of_client(quota, &client);
    assert_non_null(account);
    return account;
}

static struct quota_account *of_user(const char *name)
{
    struct quota_account *account = quota_of_user(quota, name);
    assert_non_null(account);
    return account;
}

static void charges_and_returns_balance(void **state)
{
    (void)state;
    struct quota_account *alice = of_user("alice");
    assert_true(quota_take(alice, QUOTA_SESSIONS, 2));
    assert_true(quota_take(alice, QUOTA_SESSIONS, 2));
    assert_false(quota_take(alice, QUOTA_SESSIONS, 2));
    assert_int_equal(quota_held(alice, QUOTA_SESSIONS), 2); /* a refusal costs nothing */
    quota_give_back(alice, QUOTA_SESSIONS);
    assert_true(quota_take(alice, QUOTA_SESSIONS, 2));
    quota_give_back(alice, QUOTA_SESSIONS);
    quota_give_back(alice, QUOTA_SESSIONS);
    assert_int_equal(quota_held(alice, QUOTA_SESSIONS), 0);
    quota_close(alice);
    quota_close(NULL);
}

static void each_kind_counts_by_itself(void **state)
{
    (void)state;
    struct quota_account *alice = of_user("alice");
    for (int kind = 0; kind < QUOTA_KINDS; kind++)
        assert_true(quota_take(alice, (enum quota_kind)kind, 1));
    for (int kind = 0; kind < QUOTA_KINDS; kind++) {
        assert_false(quota_take(alice, (enum quota_kind)kind, 1));
        quota_give_back(alice, (enum quota_kind)kind);
    }
    quota_close(alice);
}

/* A reload may lower a limit below what there is, or set the first one. */
static void the_limit_is_the_one_in_force(void **state)
{
    (void)state;
    struct quota_account *all = quota_of_all(quota);
    for (int i = 0; i < 100; i++)
        assert_true(quota_take(all, QUOTA_ASSOCIATIONS, 0));
    assert_false(quota_take(all, QUOTA_ASSOCIATIONS, 50));
    assert_true(quota_take(all, QUOTA_ASSOCIATIONS, 101));
    for (int i = 0; i < 52; i++)
        quota_give_back(all, QUOTA_ASSOCIATIONS);
    assert_true(quota_take(all, QUOTA_ASSOCIATIONS, 50));
    assert_int_equal(quota_held(all, QUOTA_ASSOCIATIONS), 50);
}

/* Row 42: a subscriber is one client, whatever his address within his /64; nobody else is. */
static void who_is_one(void **state)
{
    (void)state;
    struct quota_account *v6 = of_client("2001:db8:1:2::1"), *same_64 = of_client("2001:db8:1:2:ffff:ffff:ffff:ffff");
    struct quota_account *other_64 = of_client("2001:db8:1:3::1");
    struct quota_account *v4 = of_client("192.0.2.1"), *mapped = of_client("::ffff:192.0.2.1");
    struct quota_account *other_v4 = of_client("192.0.2.2");
    struct quota_account *user = of_user("alice"), *same_user = of_user("alice"), *other_user = of_user("alic");
    assert_ptr_equal(v6, same_64);
    assert_ptr_equal(v4, mapped);
    assert_ptr_equal(user, same_user);
    assert_ptr_not_equal(v6, other_64);
    assert_ptr_not_equal(v4, other_v4);
    assert_ptr_not_equal(user, other_user);
    assert_int_equal(quota_size(quota), 6);
    struct quota_account *all[] = {v6, same_64, other_64, v4, mapped, other_v4, user, same_user, other_user};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        quota_close(all[i]);
}

/* A user may call himself what an address looks like inside. */
static void a_name_is_no_address(void **state)
{
    (void)state;
    const union netaddr client = netaddr_from_bytes((const uint8_t[]){'a', 'b', 'c', 'd'}, 4, 0);
    struct quota_account *address = quota_of_client(quota, &client);
    struct quota_account *user = of_user("\4abcd"), *nobody = of_user("");
    assert_ptr_not_equal(address, user);
    assert_ptr_not_equal(nobody, quota_of_all(quota));
    quota_close(address);
    quota_close(user);
    quota_close(nobody);
}

/* As many as are open, not as many as ever were. */
static void the_size_is_what_is_alive(void **state)
{
    (void)state;
    struct quota_account *open[100];
    for (int i = 0; i < 10000; i++) {
        char host[32];
        if (i >= 100)
            quota_close(open[i % 100]);
        snprintf(host, sizeof(host), "10.1.%d.%d", i / 256, i % 256);
        open[i % 100] = of_client(host);
        assert_true(quota_size(quota) <= 100);
    }
    for (int i = 0; i < 100; i++)
        quota_close(open[i]);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS  20000
#define LIMIT   3

static atomic_uint inside, most_inside, refused;

static void *worker(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct quota_account *account = quota_of_user(quota, i % 2 ? "alice" : "bob");
        if (i % 2 && quota_take(account, QUOTA_SESSIONS, LIMIT)) {
            unsigned now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside);
            while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
                ;
            atomic_fetch_sub(&inside, 1);
            quota_give_back(account, QUOTA_SESSIONS);
        } else if (i % 2) {
            atomic_fetch_add(&refused, 1);
        }
        quota_close(account);
    }
    return NULL;
}

/* TSan watches this one. The limit holds for all threads together, and accounts come and go beneath them. */
static void threads_share_it(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(most_inside, 1, LIMIT);
}

/* Row 61: a user and a client are compared by what they hold, at most ten times a second. */
static void who_holds_most(void **state)
{
    (void)state;
    struct quota_heaviest heaviest;
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1000, &heaviest);
    assert_null(heaviest.account);
    struct quota_account *client = of_client("2001:db8:0:1::77"), *user = of_user("alice");
    quota_add(client, QUOTA_DESCRIPTORS, 5);
    quota_add(user, QUOTA_DESCRIPTORS, 4);
    quota_add(user, QUOTA_SESSIONS, 40);
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1100, &heaviest);
    assert_ptr_equal(heaviest.account, client);
    assert_int_equal(heaviest.held, 5);
    assert_int_equal(heaviest.of_all, 9);
    assert_string_equal(heaviest.name, "client 2001:db8:0:1::/64");
    quota_add(user, QUOTA_DESCRIPTORS, 4);
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1199, &heaviest);
    assert_ptr_equal(heaviest.account, client);
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1200, &heaviest);
    assert_ptr_equal(heaviest.account, user);
    assert_string_equal(heaviest.name, "user alice");
    quota_subtract(user, QUOTA_DESCRIPTORS, 7); /* that is another, however soon */
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1201, &heaviest);
    assert_ptr_equal(heaviest.account, client);
    quota_subtract(client, QUOTA_DESCRIPTORS, 5);
    quota_close(client);
    quota_find_heaviest(quota, QUOTA_DESCRIPTORS, 1202, &heaviest);
    assert_ptr_equal(heaviest.account, user);
    quota_subtract(user, QUOTA_DESCRIPTORS, 1);
    quota_subtract(user, QUOTA_SESSIONS, 40);
    quota_close(user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(charges_and_returns_balance, begin, end),
        cmocka_unit_test_setup_teardown(each_kind_counts_by_itself, begin, end),
        cmocka_unit_test_setup_teardown(the_limit_is_the_one_in_force, begin, end),
        cmocka_unit_test_setup_teardown(who_is_one, begin, end),
        cmocka_unit_test_setup_teardown(a_name_is_no_address, begin, end),
        cmocka_unit_test_setup_teardown(the_size_is_what_is_alive, begin, end),
        cmocka_unit_test_setup_teardown(who_holds_most, begin, end),
        cmocka_unit_test_setup_teardown(threads_share_it, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
