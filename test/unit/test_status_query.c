/* Who asks, who is asked, and who gets which answer. Workers, reload and watermark are this test's own, and answer when
 * it says so. */
#include "test.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pressure_watch.h"
#include "daemon/reload.h"
#include "daemon/status_query.h"
#include "daemon/worker.h"
#include "policy/quota.h"
#include "policy/snapshot.h"
#include "proxy/session/session_list.h"

struct worker {
    struct metrics metrics;
    struct worker_question *asked; /* NULL: nothing, or it has answered */
    unsigned questions;
};

static struct worker first, second;
static struct worker *workers[] = {&first, &second};
static struct snapshot *snapshot;
static struct quota *quota;
static struct port_range system_ports;
static struct event_base *base;
static struct status_query *survey;

void worker_ask(struct worker_question *question)
{
    assert_null(question->worker->asked); /* one survey at a time */
    question->worker->asked = question;
    question->worker->questions++;
}

const struct metrics *worker_metrics(const struct worker *worker)
{
    return &worker->metrics;
}

const struct reload_record *reload_record(const struct reload *reload)
{
    static const struct reload_record record;
    (void)reload;
    return &record;
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
    (void)reload;
    return snapshot;
}

enum memory_level pressure_watch_level(const struct pressure_watch *watermark, struct memory_use *use)
{
    (void)watermark;
    *use = (struct memory_use){0};
    return MEMORY_AMPLE;
}

static int begin(void **state)
{
    (void)state;
    char *errors, *warnings;
    snapshot = snapshot_new(config_load(NULL, &errors, &warnings));
    quota = quota_new();
    base = event_base_new();
    first = second = (struct worker){0};
    system_ports = port_range_of_system(ports_new());
    const struct status_query_scene scene = {
        .workers = workers, .worker_count = 2, .quota = quota, .system_ports = &system_ports};
    survey = status_query_new(base, &scene);
    assert_true(snapshot && quota && survey);
    return 0;
}

static int end(void **state)
{
    (void)state;
    status_query_free(survey);
    event_base_free(base);
    quota_free(quota);
    ports_free(system_ports.ports);
    snapshot_release(snapshot);
    return 0;
}

/* A session for each id up to 10: odd ones are the first worker's. */
static void answer(struct worker *worker)
{
    struct worker_question *question = worker->asked;
    struct session_list *report = question->report;
    *report = (struct session_list){.row_max = report->row_max};
    for (uint64_t id = worker == &first ? 1 : 2; id <= 10; id += 2) {
        if (id <= question->after)
            continue;
        if (report->row_count < report->row_max)
            report->rows[report->row_count++] = (struct session_list_row){.id = id};
        else
            report->more = true;
    }
    worker->asked = NULL;
    question->done(question);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Somebody who asks. */
struct asker {
    unsigned answers;
    bool nothing; /* the answer was that there is none */
    json_int_t lowest, next, count;
    char state[16];
};

static void on_answer(void *arg, char *text)
{
    struct asker *asker = arg;
    asker->answers++;
    asker->nothing = !text;
    if (!text)
        return;
    json_t *json = json_loads(text, 0, NULL), *rows = json_object_get(json, "sessions");
    asker->count = (json_int_t)json_array_size(rows);
    asker->lowest = json_integer_value(json_object_get(json_array_get(rows, 0), "id"));
    asker->next = json_integer_value(json_object_get(json, "next"));
    snprintf(asker->state, sizeof(asker->state), "%s", json_string_value(json_object_get(json, "state")));
    json_decref(json);
    free(text);
}

static void ask(struct asker *asker, uint64_t after, uint32_t limit)
{
    const struct admin_query query = {.after = after, .limit = limit};
    *asker = (struct asker){0};
    status_query_status(survey, false, &query, on_answer, asker);
}

static void expect_page(const struct asker *asker, json_int_t lowest, json_int_t count, json_int_t next)
{
    assert_int_equal(asker->answers, 1);
    assert_false(asker->nothing);
    assert_int_equal(asker->lowest, lowest);
    assert_int_equal(asker->count, count);
    assert_int_equal(asker->next, next);
    assert_string_equal(asker->state, "running");
}

static void an_answer_is_all_workers(void **state)
{
    (void)state;
    struct asker asker;
    ask(&asker, 3, 4);
    answer(&second);
    assert_int_equal(asker.answers, 0);
    answer(&first);
    expect_page(&asker, 4, 4, 7);
}

static void who_asks_for_the_same_meanwhile_shares_the_next(void **state)
{
    (void)state;
    struct asker a, b, c, other;
    ask(&a, 0, 10);
    ask(&b, 0, 10);
    ask(&other, 5, 10);
    ask(&c, 0, 10);
    answer(&first);
    answer(&second);
    expect_page(&a, 1, 10, 0);
    assert_int_equal(b.answers + c.answers + other.answers, 0); /* what was under way may be from before they asked */
    answer(&first);
    answer(&second);
    expect_page(&b, 1, 10, 0);
    expect_page(&c, 1, 10, 0);
    assert_int_equal(other.answers, 0);
    answer(&second);
    answer(&first);
    expect_page(&other, 6, 5, 0);
    assert_int_equal(first.questions, 3);
    assert_null(first.asked);
}

static void pages_of_another_size_are_other_pages(void **state)
{
    (void)state;
    struct asker askers[3];
    for (uint32_t i = 0; i < 3; i++)
        ask(&askers[i], 0, i + 1);
    for (uint32_t i = 0; i < 3; i++) {
        answer(&first);
        answer(&second);
        expect_page(&askers[i], 1, i + 1, i + 1);
    }
}

static void it_may_be_about_to_end(void **state)
{
    (void)state;
    struct asker running, draining = {0};
    const struct admin_query query = {.limit = 1};
    ask(&running, 0, 1);
    status_query_status(survey, true, &query, on_answer, &draining);
    for (int i = 0; i < 2; i++) {
        answer(&first);
        answer(&second);
    }
    assert_string_equal(running.state, "running");
    assert_string_equal(draining.state, "draining");
}

/* Row 54: the rest is told so at once, and all others are answered. */
static void row_54_so_many_may_wait(void **state)
{
    (void)state;
    enum { CROWD = 1000 };
    static struct asker askers[CROWD];
    size_t refused = 0;
    for (size_t i = 0; i < CROWD; i++) {
        ask(&askers[i], i % 2, 10);
        refused += askers[i].answers;
    }
    assert_in_range(refused, CROWD - 100, CROWD - 33); /* more than the admin listener has connections */
    for (int i = 0; i < 3; i++) {
        answer(&first);
        answer(&second);
    }
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(askers[i].answers, 1);
    struct asker late;
    ask(&late, 0, 10);
    answer(&first);
    answer(&second);
    expect_page(&late, 1, 10, 0);
}

static void the_end_comes_before_the_answer(void **state)
{
    (void)state;
    struct asker under_way, half, waiting;
    ask(&under_way, 0, 10);
    answer(&first);
    ask(&half, 0, 5);
    ask(&waiting, 0, 6);
    status_query_free(survey);
    assert_true(under_way.nothing && half.nothing && waiting.nothing);
    assert_int_equal(under_way.answers + half.answers + waiting.answers, 3);
    survey = NULL;
}

/* Workers that were stopped have answered, but nobody has read that. */
static void the_end_comes_with_the_answer(void **state)
{
    (void)state;
    struct asker asker, waiting;
    ask(&asker, 0, 10);
    ask(&waiting, 5, 10);
    for (size_t i = 0; i < 2; i++) {
        *workers[i]->asked->report = (struct session_list){.row_max = 10};
        workers[i]->asked->done(workers[i]->asked);
    }
    status_query_free(survey);
    survey = NULL;
    assert_int_equal(asker.answers, 1);
    assert_false(asker.nothing);
    assert_int_equal(waiting.answers, 1);
    assert_true(waiting.nothing);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_is_all_workers),
        TEST(who_asks_for_the_same_meanwhile_shares_the_next),
        TEST(pages_of_another_size_are_other_pages),
        TEST(it_may_be_about_to_end),
        TEST(row_54_so_many_may_wait),
        TEST(the_end_comes_before_the_answer),
        TEST(the_end_comes_with_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
