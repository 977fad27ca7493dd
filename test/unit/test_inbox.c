#include "test.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/util.h"
#include "net/inbox.h"

#define POSTERS 4
#define EACH    5000

struct letter {
    struct inbox_item item;
    int poster, number;
};

static struct event_base *base;
static struct inbox *inbox;
static int seen[POSTERS], total, expected;

static void on_letter(struct inbox_item *item)
{
    struct letter *letter = container_of(item, struct letter, item);
    assert_int_equal(letter->number, seen[letter->poster]++);
    free(letter);
    if (++total == expected)
        event_base_loopbreak(base);
}

static void *post_many(void *arg)
{
    int poster = *(int *)arg;
    for (int i = 0; i < EACH; i++) {
        struct letter *letter = calloc(1, sizeof(*letter));
        *letter = (struct letter){.item.run = on_letter, .poster = poster, .number = i};
        inbox_post(inbox, &letter->item);
    }
    return NULL;
}

static int begin(void **state)
{
    (void)state;
    base = event_base_new();
    inbox = inbox_new(base);
    total = 0;
    for (int i = 0; i < POSTERS; i++)
        seen[i] = 0;
    return base && inbox ? 0 : -1;
}

static void each_posters_items_arrive_in_order(void **state)
{
    (void)state;
    pthread_t threads[POSTERS];
    int numbers[POSTERS];
    expected = POSTERS * EACH;
    for (int i = 0; i < POSTERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &numbers[i]), 0);
    }
    event_base_dispatch(base);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(total, POSTERS * EACH);
    inbox_free(inbox);
    event_base_free(base);
}

static void what_is_left_runs_at_the_end(void **state)
{
    (void)state;
    int poster = 0;
    expected = -1;
    post_many(&poster);
    inbox_free(inbox);
    assert_int_equal(total, EACH);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_posters_items_arrive_in_order, begin),
        cmocka_unit_test_setup(what_is_left_runs_at_the_end, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
