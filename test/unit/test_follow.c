#include "test.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/calendar.h"
#include "daemon/follow.h"
#include "daemon/usage_exchange.h"
#include "policy/usage.h"

static char folder[] = "/tmp/test_follow.XXXXXX", file[64], users[64];
static struct event_base *base;
static struct followers followers;
static struct leader *leader;
static int changes;
static char told_path[64], told_file[64], told_users[64];

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* The content of the file; "none" when it was not sent. */
static void read_text(int fd, char text[64])
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, 63, 0);
    strcpy(n < 0 ? text : text + n, n < 0 ? "none" : "");
}

static void on_changed(void *arg, const char *path, struct config_files *files)
{
    (void)arg;
    changes++;
    snprintf(told_path, sizeof(told_path), "%s", path ? path : "none");
    read_text(files->file, told_file);
    read_text(files->users_file, told_users);
    follow_close_files(files);
}

static int begin(void **state)
{
    (void)state;
    int ends[2];
    strcpy(folder, "/tmp/test_follow.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof(file), "%s/file", folder);
    snprintf(users, sizeof(users), "%s/users", folder);
    write_file(file, "first");
    write_file(users, "alice");
    changes = 0;
    base = event_base_new();
    assert_int_equal(follow_connect(ends), 0);
    assert_true(followers_add(&followers, ends[0]));
    leader = leader_new(base, ends[1], on_changed, NULL);
    return leader ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    leader_free(leader);
    followers_close(&followers);
    event_base_free(base);
    unlink(file);
    unlink(users);
    return rmdir(folder);
}

static void tell(const char *path, char *users_file)
{
    const struct config config = {.users_file = users_file};
    struct config_files files = follow_open_files(path, &config);
    followers_tell(&followers, path, &files);
    follow_close_files(&files);
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void open_files_are_received(void **state)
{
    (void)state;
    tell(file, users);
    assert_int_equal(chmod(file, 0), 0);
    turn();
    assert_int_equal(changes, 1);
    assert_string_equal(told_path, file);
    assert_string_equal(told_file, "first");
    assert_string_equal(told_users, "alice");
    assert_int_equal(chmod(file, 0600), 0);
    tell(file, NULL);
    turn();
    assert_string_equal(told_users, "none");
    tell(NULL, NULL);
    turn();
    assert_int_equal(changes, 3);
    assert_string_equal(told_path, "none");
    assert_string_equal(told_file, "none");
}

static void only_the_last_configuration_counts(void **state)
{
    (void)state;
    tell(users, NULL);
    tell(file, users);
    turn();
    assert_int_equal(changes, 1);
    assert_string_equal(told_file, "first");
}

/* A shell's <(...), and a file that was removed. */
static void files_that_cannot_be_read_again_are_not_sent(void **state)
{
    (void)state;
    tell("/dev/null", NULL);
    tell("/tmp/not-there/at-all", NULL);
    turn();
    assert_int_equal(changes, 0);
    assert_int_equal(followers.count, 1);
}

static void a_follower_that_has_ended_is_forgotten(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(follow_connect(ends), 0);
    assert_true(followers_add(&followers, ends[0]));
    leader_free(leader);
    leader = NULL;
    tell(file, NULL);
    assert_int_equal(followers.count, 1);
    close(ends[1]);
    tell(file, NULL);
    assert_int_equal(followers.count, 0);
}

/* What was sent before still counts; afterwards it stays as it is. */
static void the_serving_process_may_end(void **state)
{
    (void)state;
    tell(file, NULL);
    followers_close(&followers);
    turn();
    turn();
    assert_int_equal(changes, 1);
}

/* ---- volumes ---- */

static uint64_t volume_of(struct usage *usage, const char *user)
{
    struct usage_row rows[4];
    size_t total, count = usage_list(usage, rows, 4, &total);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].user, user) == 0)
            return rows[i].volume;
    return 0;
}

/* What the follower has counted before it was replaced, while it ends, and at the very end. */
static void volumes_are_reported(void **state)
{
    (void)state;
    static const struct followers nobody;
    struct usage *theirs = usage_new(), *ours = usage_new();
    struct usage_exchange *replaced = usage_exchange_new(base, theirs, &nobody);
    struct usage_exchange *serving = usage_exchange_new(base, ours, &followers);
    const union netaddr client = netaddr_from_bytes((const uint8_t[]){192, 0, 2, 1}, 4, 1);
    struct usage_account *alice, *bob;
    usage_set_month(theirs, calendar_month_of(calendar_today()));
    assert_int_equal(usage_enter(theirs, &alice, "alice", &client, 0), 0);
    assert_int_equal(usage_enter(theirs, &bob, "bob", &client, 0), 0);
    usage_add(alice, (struct usage_bytes){100, 200});
    usage_exchange_begin(serving, NULL);
    usage_exchange_begin(replaced, leader);
    usage_exchange_run(serving);
    assert_int_equal(volume_of(ours, "alice"), 300);
    assert_int_equal(volume_of(ours, "bob"), 0);
    usage_add(alice, (struct usage_bytes){1, 0});
    usage_add(bob, (struct usage_bytes){0, 7});
    usage_exchange_run(replaced);
    usage_exchange_run(replaced);
    usage_exchange_run(serving);
    assert_int_equal(volume_of(ours, "alice"), 301);
    assert_int_equal(volume_of(ours, "bob"), 7);
    usage_add(bob, (struct usage_bytes){3, 0});
    usage_leave(alice, &client);
    usage_leave(bob, &client);
    usage_exchange_free(replaced);
    leader_free(leader);
    leader = NULL;
    usage_exchange_run(serving); /* it has ended, and what it has sent can still be read */
    assert_int_equal(volume_of(ours, "bob"), 10);
    usage_exchange_free(serving);
    usage_free(theirs);
    usage_free(ours);
}

/* It ends at once when it has no sessions. */
static void volumes_of_thousands_are_reported_at_the_end(void **state)
{
    (void)state;
    enum { USERS = 5000 };
    static const struct followers nobody;
    struct usage *theirs = usage_new(), *ours = usage_new();
    struct usage_exchange *replaced = usage_exchange_new(base, theirs, &nobody);
    struct usage_exchange *serving = usage_exchange_new(base, ours, &followers);
    const union netaddr client = netaddr_from_bytes((const uint8_t[]){192, 0, 2, 1}, 4, 1);
    struct usage_row row;
    size_t total;
    usage_set_month(theirs, calendar_month_of(calendar_today()));
    for (int i = 0; i < USERS; i++) {
        struct usage_account *account;
        char name[256];
        snprintf(name, sizeof(name), i ? "user%d" : "%0255d", i);
        assert_int_equal(usage_enter(theirs, &account, name, &client, 0), 0);
        usage_add(account, (struct usage_bytes){(uint64_t)i + 1, 0});
        usage_leave(account, &client);
    }
    usage_exchange_begin(serving, NULL);
    usage_exchange_begin(replaced, leader);
    usage_exchange_free(replaced);
    usage_exchange_run(serving);
    assert_int_equal(usage_list(ours, &row, 1, &total), 1);
    assert_int_equal(total, USERS);
    assert_int_equal(row.volume, USERS);
    assert_string_equal(row.user, "user4999");
    usage_exchange_free(serving);
    usage_free(theirs);
    usage_free(ours);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        T(volumes_are_reported),
        T(volumes_of_thousands_are_reported_at_the_end),
        T(open_files_are_received),
        T(only_the_last_configuration_counts),
        T(files_that_cannot_be_read_again_are_not_sent),
        T(a_follower_that_has_ended_is_forgotten),
        T(the_serving_process_may_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
