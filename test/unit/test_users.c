#include "policy/users.h"

#include "test.h"

static char alice[] = "alice", bob[] = "bob", carol[] = "carol", one[] = "$y$one", two[] = "$y$two";

#define USER(name_, password_)                                                                                         \
    {                                                                                                                  \
        .name = name_, .password = password_                                                                           \
    }

static void finds_by_name(void **state)
{
    (void)state;
    const struct config_user list[] = {USER(carol, one), USER(alice, two), USER(bob, one)};
    struct users users;
    assert_true(users_init(&users, list, 3));
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(users_find(&users, list[i].name), &list[i]);
    assert_null(users_find(&users, ""));
    assert_null(users_find(&users, "al"));
    assert_null(users_find(&users, "Alice"));
    users_deinit(&users);
}

static void finds_nobody_among_none(void **state)
{
    (void)state;
    struct users users, zero = {0};
    assert_true(users_init(&users, NULL, 0));
    assert_null(users_find(&users, "alice"));
    assert_null(users_find(&zero, "alice"));
    assert_true(users_agree(&users, &zero, "alice"));
    users_deinit(&users);
    users_deinit(&users);
}

static void agrees_on_name_and_hash(void **state)
{
    (void)state;
    const struct config_user before[] = {USER(alice, one), USER(bob, one)},
                             after[] = {USER(carol, one), USER(bob, two), USER(alice, one)};
    struct users a, b;
    assert_true(users_init(&a, before, 2) && users_init(&b, after, 3));
    assert_true(users_agree(&a, &b, "alice"));
    assert_false(users_agree(&a, &b, "bob"));   /* another hash */
    assert_false(users_agree(&a, &b, "carol")); /* new */
    assert_false(users_agree(&b, &a, "carol")); /* gone */
    assert_true(users_agree(&a, &b, "mallory"));
    users_deinit(&a);
    users_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_by_name),
        cmocka_unit_test(finds_nobody_among_none),
        cmocka_unit_test(agrees_on_name_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
