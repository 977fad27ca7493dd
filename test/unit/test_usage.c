#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/usage.h"

static struct usage *usage;

static int begin(void **state)
{
    (void)state;
    usage = usage_new();
    assert_non_null(usage);
    usage_set_month(usage, 682);
    return 0;
}

static int end(void **state)
{
    (void)state;
    usage_free(usage);
    return 0;
}

static union netaddr client(const char *host)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, 1));
    return address;
}

/* NULL: refused with EDQUOT. */
static struct usage_account *enter(const char *user, const char *host, uint32_t addresses)
{
    struct usage_account *account;
    const union netaddr from = client(host);
    int error = usage_enter(usage, &account, user, &from, addresses);
    assert_true(error == 0 || error == EDQUOT);
    assert_int_equal(error == 0, account != NULL);
    return account;
}

static void leave(struct usage_account *account, const char *host)
{
    const union netaddr from = client(host);
    usage_leave(account, &from);
}

static void count(struct usage_account *account, uint64_t up, uint64_t down)
{
    usage_add(account, (struct usage_bytes){up, down});
}

static size_t total(void)
{
    size_t count;
    assert_int_equal(usage_list(usage, NULL, 0, &count), 0);
    return count;
}

static void all_sessions_of_a_user_are_counted_together(void **state)
{
    (void)state;
    struct usage_account *first = enter("alice", "192.0.2.1", 0), *second = enter("alice", "192.0.2.2", 0);
    struct usage_account *other = enter("bob", "192.0.2.1", 0);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, other);
    count(first, 100, 1000);
    count(second, 1, 2);
    assert_int_equal(usage_volume(first), 1103);
    assert_int_equal(usage_volume(other), 0);
    leave(first, "192.0.2.1");
    leave(second, "192.0.2.2");
    leave(other, "192.0.2.1");
    first = enter("alice", "192.0.2.3", 0); /* the volume stays when its sessions have ended */
    assert_int_equal(usage_volume(first), 1103);
    leave(first, "192.0.2.3");
}

static void who_has_used_nothing_is_forgotten(void **state)
{
    (void)state;
    struct usage_account *idle = enter("idle", "192.0.2.1", 0), *busy = enter("busy", "192.0.2.1", 0);
    count(busy, 1, 0);
    assert_int_equal(total(), 2);
    leave(idle, "192.0.2.1");
    leave(busy, "192.0.2.1");
    assert_int_equal(total(), 1);
    idle = enter("idle", "192.0.2.1", 0);
    usage_set_month(usage, 682); /* the same */
    assert_int_equal(total(), 2);
    usage_set_month(usage, 683);
    assert_int_equal(total(), 1); /* has a session */
    leave(idle, "192.0.2.1");
    assert_int_equal(total(), 0);
}

static void a_month_begins_at_zero(void **state)
{
    (void)state;
    struct usage_account *account = enter("alice", "192.0.2.1", 0);
    count(account, 7, 0);
    assert_true(usage_first_told(account));
    assert_false(usage_first_told(account));
    usage_set_month(usage, 683);
    assert_int_equal(usage_month(usage), 683);
    assert_int_equal(usage_volume(account), 0);
    assert_true(usage_first_told(account));
    count(account, 0, 9);
    usage_set_month(usage, 682); /* a clock that was set back */
    assert_int_equal(usage_volume(account), 0);
    struct usage_row row;
    size_t all;
    assert_int_equal(usage_list(usage, &row, 1, &all), 1);
    assert_int_equal(row.bytes.up, 7); /* since the start */
    assert_int_equal(row.bytes.down, 9);
    leave(account, "192.0.2.1");
}

static void addresses_at_once_are_limited(void **state)
{
    (void)state;
    struct usage_account *account = enter("alice", "192.0.2.1", 2);
    assert_non_null(enter("alice", "192.0.2.1", 2)); /* a second session */
    assert_non_null(enter("alice", "2001:db8:0:1::1", 2));
    assert_non_null(enter("alice", "2001:db8:0:1::2", 2)); /* the same /64 */
    assert_null(enter("alice", "192.0.2.3", 2));
    assert_null(enter("alice", "2001:db8:0:2::1", 2));
    struct usage_account *bob = enter("bob", "192.0.2.3", 2);
    assert_non_null(bob);
    leave(account, "192.0.2.1");
    assert_null(enter("alice", "192.0.2.3", 2)); /* one session is left there */
    leave(account, "192.0.2.1");
    assert_non_null(enter("alice", "192.0.2.3", 2));
    assert_non_null(enter("alice", "192.0.2.4", 0)); /* a reload lifted the limit */
    assert_null(enter("alice", "192.0.2.5", 1));     /* or lowered it */
    struct usage_row rows[2];
    size_t all;
    assert_int_equal(usage_list(usage, rows, 2, &all), 2);
    assert_int_equal(rows[0].addresses + rows[1].addresses, 3 + 1);
    leave(account, "192.0.2.3");
    leave(account, "192.0.2.4");
    leave(account, "2001:db8:0:1::1");
    leave(account, "2001:db8:0:1::1");
    leave(bob, "192.0.2.3");
}

static void the_busiest_users_are_listed_first(void **state)
{
    (void)state;
    enum { USERS = 50, SHOWN = 10 };
    struct usage_row rows[SHOWN];
    struct usage_account *accounts[USERS];
    size_t all;
    for (int i = 0; i < USERS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "user%d", i * 7 % USERS);
        accounts[i] = enter(name, "192.0.2.1", 0);
        count(accounts[i], 1000 + (uint64_t)(i * 7 % USERS), 0);
    }
    usage_change_rate(accounts[3], (struct usage_bytes){100, 5});
    usage_change_rate(accounts[4], (struct usage_bytes){0, 200});
    assert_int_equal(usage_list(usage, rows, SHOWN, &all), SHOWN);
    assert_int_equal(all, USERS);
    assert_string_equal(rows[0].user, "user28");
    assert_int_equal(rows[0].rate.down, 200);
    assert_string_equal(rows[1].user, "user21");
    assert_string_equal(rows[2].user, "user49");
    assert_string_equal(rows[9].user, "user42");
    usage_change_rate(accounts[4], (struct usage_bytes){0, (uint64_t)0 - 200});
    assert_int_equal(usage_list(usage, rows, SHOWN, &all), SHOWN);
    assert_string_equal(rows[0].user, "user21");
    for (int i = 0; i < USERS; i++)
        leave(accounts[i], "192.0.2.1");
}

/* ---- between processes ---- */

static struct usage *successor;
static int room;

static bool give(void *arg, const char *user, uint64_t volume)
{
    (void)arg;
    if (room-- <= 0)
        return false;
    usage_merge(successor, 682, user, volume);
    return true;
}

static uint64_t volume_of(struct usage *of, const char *user)
{
    struct usage_account *account;
    const union netaddr from = client("192.0.2.1");
    assert_int_equal(usage_enter(of, &account, user, &from, 0), 0);
    uint64_t volume = usage_volume(account);
    usage_leave(account, &from);
    return volume;
}

static void another_process_continues_the_counts(void **state)
{
    (void)state;
    successor = usage_new();
    usage_set_month(successor, 682);
    struct usage_account *alice = enter("alice", "192.0.2.1", 0), *bob = enter("bob", "192.0.2.1", 0);
    count(alice, 5, 5);
    count(bob, 3, 0);
    room = 1;
    usage_collect(usage, give, NULL); /* there is no room for the second */
    assert_int_equal(volume_of(successor, "alice") + volume_of(successor, "bob"), volume_of(successor, "bob") ? 3 : 10);
    room = 9;
    usage_collect(usage, give, NULL);
    assert_int_equal(room, 8);
    count(alice, 0, 1);
    usage_collect(usage, give, NULL);
    usage_collect(usage, give, NULL);
    assert_int_equal(room, 7);
    assert_int_equal(volume_of(successor, "alice"), 11);
    assert_int_equal(volume_of(successor, "bob"), 3);
    usage_merge(successor, 683, "alice", 100); /* of another month */
    assert_int_equal(volume_of(successor, "alice"), 11);
    leave(alice, "192.0.2.1");
    leave(bob, "192.0.2.1");
    usage_free(successor);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(all_sessions_of_a_user_are_counted_together),
        TEST(who_has_used_nothing_is_forgotten),
        TEST(a_month_begins_at_zero),
        TEST(addresses_at_once_are_limited),
        TEST(the_busiest_users_are_listed_first),
        TEST(another_process_continues_the_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
