/* Which questions are put to the workers, and which answers are shared. Workers, reload and pressure watch are stubs,
 * which answer when the test says so. */
#include "test.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pressure_watch.h"
#include "daemon/reload.h"
#include "daemon/status_query.h"
#include "host/host.h"
#include "policy/quota.h"
#include "policy/snapshot.h"
#include "policy/usage.h"
#include "proxy/session/session_list.h"
#include "worker_stub.h"

static struct crew *crew;
static struct snapshot *snapshot;
static struct host host;
static struct port_range system_ports;
static struct event_base *base;
static struct status_query *status_query;

/* A session for each id up to 10: odd ones are the first worker's. */
void worker_list_sessions(struct worker *worker, struct session_list *list, uint64_t after)
{
    for (uint64_t id = worker == &first ? 1 : 2; id <= 10; id += 2) {
        if (id <= after)
            continue;
        if (list->row_count < list->row_max)
            list->rows[list->row_count++] = (struct session_list_row){.id = id};
        else
            list->more = true;
    }
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

enum memory_level pressure_watch_level(const struct pressure_watch *watch, struct memory_use *use)
{
    (void)watch;
    *use = (struct memory_use){0};
    return MEMORY_AMPLE;
}

static int make_query(void **state)
{
    (void)state;
    char *errors, *warnings;
    snapshot = snapshot_new(config_load(NULL, &errors, &warnings));
    host.quota = quota_new();
    host.usage = usage_new();
    base = event_base_new();
    crew = worker_stub_crew(base);
    system_ports = port_range_of_system(ports_new());
    const struct status_query_scene scene = {
        .crew = crew, .host = &host, .system_ports = &system_ports, .kernel_path_why = "off"};
    status_query = status_query_new(base, &scene);
    assert_true(snapshot && host.quota && host.usage && status_query);
    return 0;
}

static int free_query(void **state)
{
    (void)state;
    status_query_free(status_query);
    crew_free(crew);
    event_base_free(base);
    quota_free(host.quota);
    usage_free(host.usage);
    ports_free(system_ports.ports);
    snapshot_release(snapshot);
    return 0;
}

static void answer(struct worker *worker)
{
    worker_stub_work(worker);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

/* A question and its answer. */
struct asker {
    unsigned answers;
    bool nothing; /* there was no answer */
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
    status_query_status(status_query, false, &query, on_answer, asker);
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

static void an_answer_has_all_workers(void **state)
{
    (void)state;
    struct asker asker;
    ask(&asker, 3, 4);
    answer(&second);
    assert_int_equal(asker.answers, 0);
    answer(&first);
    expect_page(&asker, 4, 4, 7);
}

static void same_questions_share_the_next_answer(void **state)
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
    assert_int_equal(first.posts, 3);
    assert_null(first.posted);
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

static void a_draining_server_says_so(void **state)
{
    (void)state;
    struct asker running, draining = {0};
    const struct admin_query query = {.limit = 1};
    ask(&running, 0, 1);
    status_query_status(status_query, true, &query, on_answer, &draining);
    for (int i = 0; i < 2; i++) {
        answer(&first);
        answer(&second);
    }
    assert_string_equal(running.state, "running");
    assert_string_equal(draining.state, "draining");
}

/* Row 54: questions beyond the limit are refused at once, and all others are answered. */
static void row_54_the_number_of_waiting_questions_is_limited(void **state)
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
    status_query_free(status_query);
    assert_true(under_way.nothing && half.nothing && waiting.nothing);
    assert_int_equal(under_way.answers + half.answers + waiting.answers, 3);
    status_query = NULL;
}

/* Stopped workers have answered, but the main thread has not read that yet. */
static void the_end_comes_with_the_answer(void **state)
{
    (void)state;
    struct asker asker, waiting;
    ask(&asker, 0, 10);
    ask(&waiting, 5, 10);
    worker_stub_work(&first);
    worker_stub_work(&second);
    status_query_free(status_query);
    status_query = NULL;
    assert_int_equal(asker.answers, 1);
    assert_false(asker.nothing);
    assert_int_equal(waiting.answers, 1);
    assert_true(waiting.nothing);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_query, free_query)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_has_all_workers),
        TEST(same_questions_share_the_next_answer),
        TEST(pages_of_another_size_are_other_pages),
        TEST(a_draining_server_says_so),
        TEST(row_54_the_number_of_waiting_questions_is_limited),
        TEST(the_end_comes_before_the_answer),
        TEST(the_end_comes_with_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
