#include "test.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/reserve.h"

#define LIMIT   512
#define RESERVE 32 /* a sixteenth of that, and as many as there are at most without a handover */

static struct descriptor_reserve *reserve;
static struct rlimit before;
static int open_fds[LIMIT], open_count;

static int begin(void **state)
{
    (void)state;
    if (getrlimit(RLIMIT_NOFILE, &before) != 0)
        return -1;
    const struct rlimit small = {.rlim_cur = LIMIT, .rlim_max = before.rlim_max};
    open_count = 0;
    if (setrlimit(RLIMIT_NOFILE, &small) != 0)
        return -1;
    reserve = reserve_new();
    reserve_set(reserve, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    while (open_count)
        close(open_fds[--open_count]);
    reserve_free(reserve);
    return setrlimit(RLIMIT_NOFILE, &before);
}

static int open_one(void)
{
    int fd = dup(0);
    if (fd >= 0)
        open_fds[open_count++] = fd;
    return fd;
}

/* Row 61: sessions stop where the reserve begins, the rest of the process does not. */
static void row_61_sessions_leave_the_reserve(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(reserve_limit(reserve), LIMIT);
    assert_int_equal(reserve_keep(reserve, -ENFILE), -ENFILE);
    while ((fd = reserve_keep(reserve, dup(0))) >= 0)
        open_fds[open_count++] = fd;
    assert_int_equal(fd, -EMFILE);
    assert_int_equal(open_fds[open_count - 1], LIMIT - RESERVE - 1);
    for (int i = 0; i < RESERVE; i++)
        assert_true(open_one() >= 0);
    assert_int_equal(open_one(), -1);
}

static void newcomers_stop_before_that(void **state)
{
    (void)state;
    assert_true(reserve_has_room(reserve, 0));
    assert_false(reserve_is_short(reserve, 5000, 0));
    assert_false(reserve_has_room(reserve, LIMIT - RESERVE - RESERVE / 2)); /* they are counted */
    while (open_one() < LIMIT - RESERVE - RESERVE / 2)
        ;
    assert_false(reserve_has_room(reserve, LIMIT / 2)); /* what others open is not */
    assert_true(reserve_is_short(reserve, 5000, LIMIT / 2));
    close(open_fds[--open_count]);
    close(open_fds[--open_count]);
    assert_true(reserve_has_room(reserve, LIMIT / 2));
    assert_false(reserve_is_short(reserve, 5000, LIMIT / 2));
    reserve_note_shortage(reserve, 5000);
    assert_true(reserve_is_short(reserve, 9999, 0));
    assert_false(reserve_is_short(reserve, 10000, 0));
}

/* Nobody is charged for those, nor are they all that nobody counts: when a session gets none, that is looked into. */
static void what_others_take_is_noticed(void **state)
{
    (void)state;
    int fd;
    reserve_count_question(reserve, LIMIT);
    assert_false(reserve_has_room(reserve, 0));
    reserve_count_question(reserve, -LIMIT);
    assert_true(reserve_has_room(reserve, 0));
    while ((fd = reserve_keep(reserve, dup(0))) >= 0)
        open_fds[open_count++] = fd;
    assert_false(reserve_has_room(reserve, 0));
    while (open_count)
        close(open_fds[--open_count]);
    assert_true(reserve_has_room(reserve, 0));
}

/* Else the highest numbers would tell nothing. */
static void a_session_keeps_no_high_number(void **state)
{
    (void)state;
    int fd;
    while ((fd = open_one()) < LIMIT - 1)
        ;
    int low = open_fds[0];
    close(low);
    open_fds[0] = reserve_move(reserve, fd);
    assert_int_equal(open_fds[0], low);
    open_count--;
    assert_int_equal(open_one(), fd);
    open_count--;
    assert_int_equal(reserve_move(reserve, fd), -EMFILE); /* and closes it */
    assert_int_equal(open_one(), fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_others_take_is_noticed, begin, end),
        cmocka_unit_test_setup_teardown(row_61_sessions_leave_the_reserve, begin, end),
        cmocka_unit_test_setup_teardown(newcomers_stop_before_that, begin, end),
        cmocka_unit_test_setup_teardown(a_session_keeps_no_high_number, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
