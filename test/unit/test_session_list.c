#include "test.h"

#include <stdlib.h>

#include "base/util.h"
#include "proxy/assoc/assoc.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_list.h"
#include "proxy/session/session_user.h"
#include "support/loopback.h"

static struct session_list *report;

static int begin_with_report(void **state)
{
    report = session_list_new(100);
    assert_non_null(report);
    int outcome = begin(state);
    config.log.destinations = true;
    return outcome;
}

static int end_with_report(void **state)
{
    free(report);
    return end(state);
}

static int ask(uint8_t command, const union netaddr *to)
{
    uint8_t bytes[300];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, command, to));
    expect(client, "\5\0", 2);
    return client;
}

static int associate(uint8_t command)
{
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t reply[10];
    int client = ask(command, &any);
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
    assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
    return client;
}

static struct session *last_session(void)
{
    return TAILQ_LAST(&env.sessions, session_queue);
}

static const struct session_list_row *only_row(void)
{
    session_list_take(report, &env, 0);
    assert_int_equal(report->row_count, 1);
    assert_false(report->more);
    return &report->rows[0];
}

static void expect_counts(size_t associations, size_t streams, size_t negotiating)
{
    assert_int_equal(report->counts.associations, associations);
    assert_int_equal(report->counts.streams, streams);
    assert_int_equal(report->counts.negotiating, negotiating);
}

/* ---- one session ---- */

/* Row 50: what stands where the user's name does may be a password, until the login is over. */
static void row_50_who_has_not_asked_yet(void **state)
{
    (void)state;
    int client = new_client(true);
    const union netaddr source = sock_local(client);
    last_session()->user = session_user_new((const uint8_t *)"hunter2", strlen("hunter2"));
    now_ms += 1234;
    const struct session_list_row *row = only_row();
    assert_int_equal(row->kind, KIND_NEGOTIATION);
    assert_true(netaddr_equal(&row->client, &source));
    assert_int_equal(row->age_ms, 1234);
    assert_string_equal(row->user, "");
    assert_string_equal(row->upstream, "");
    expect_counts(0, 0, 1);
    close(client);
}

/* Thousands of associations are idle at a time. What few of them need is allocated when it is needed. */
static void an_association_takes_little_memory(void **state)
{
    (void)state;
    if (sizeof(void *) != 8)
        SKIP_TEST("pointers are not of 8 bytes");
    assert_in_range(sizeof(struct session) + sizeof(struct assoc) + sizeof(struct external), 0, 1016);
}

static void an_association(void **state)
{
    (void)state;
    int client = associate(SOCKS5_COMMAND_UDP_ASSOCIATE);
    last_session()->user = session_user_new((const uint8_t *)"al\"ice", strlen("al\"ice"));
    now_ms += 5000;
    assoc_drop(last_session()->assoc, DROP_STRANGER, 2);
    const struct session_list_row *row = only_row();
    const struct assoc_flow *flow = assoc_flow(last_session()->assoc);
    assert_int_equal(row->kind, KIND_ASSOCIATION);
    assert_int_equal(row->age_ms, 5000);
    assert_int_equal(row->assoc.idle_ms, 5000);
    assert_string_equal(row->user, "al\"ice");
    assert_memory_equal(&row->assoc.flow, flow, offsetof(struct assoc_flow, dropped));
    assert_memory_equal(row->assoc.dropped, flow->dropped, sizeof(row->assoc.dropped));
    assert_int_equal(row->assoc.dropped[DROP_STRANGER], 2);
    assert_int_not_equal(netaddr_port(&flow->relay), 0);
    assert_int_equal(row->assoc.filtering, CONFIG_FILTERING_ENDPOINT_INDEPENDENT);
    expect_counts(1, 0, 0);
    close(client);
}

static void an_association_over_tcp(void **state)
{
    (void)state;
    config.udp.over_tcp = true;
    int client = associate(SOCKS5_COMMAND_UDP_IN_TCP);
    assert_int_equal(only_row()->kind, KIND_ASSOCIATION_OVER_TCP);
    expect_counts(1, 0, 0);
    close(client);
}

static void a_connect(void **state)
{
    (void)state;
    union netaddr where, peer;
    char text[NETADDR_TEXT_MAX];
    int destination = listen_at("127.0.0.1", &where), client = ask(SOCKS5_COMMAND_CONNECT, &where);
    int remote = accept_from(destination, &peer);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &peer);
    say(client, "up", 2);
    expect(remote, "up", 2);
    say(remote, "down!", 5);
    expect(client, "down!", 5);
    const struct session_list_row *row = only_row();
    assert_int_equal(row->kind, KIND_CONNECT);
    assert_string_equal(row->stream.destination, netaddr_format(&where, text));
    assert_true(netaddr_equal(&row->stream.remote, &where));
    assert_int_equal(row->stream.up_bytes, 2);
    assert_int_equal(row->stream.down_bytes, 5);
    expect_counts(0, 1, 0);
    config.log.destinations = false;
    assert_string_equal(only_row()->stream.destination, "");
    assert_int_equal(report->rows[0].stream.remote.sa.sa_family, AF_UNSPEC);
    assert_int_equal(report->rows[0].stream.up_bytes, 2);
    close(client);
    close(remote);
    close(destination);
}

/* The longest name, which a server that says nothing is asked for; and a port that nobody comes to. */
static void streams_on_their_way(void **state)
{
    (void)state;
    enum { LONGEST = 253 };
    union netaddr server = at("127.0.0.1", 0), other = at("127.0.0.1", 9);
    struct port_lease lease;
    int silent = sock_udp(NULL, &server, &env.relay_ports, now_ms, &lease);
    assert_true(silent >= 0);
    struct resolver_options options = {
        .servers = &server, .server_count = 1, .timeout_ms = 300, .release = lookup_release};
    assert_true(resolver_change(env.resolver, &options));
    char name[LONGEST + 1], expected[sizeof(name) + 6];
    for (size_t i = 0; i < LONGEST; i++)
        name[i] = (i + 1) % 60 ? 'a' : '.';
    name[LONGEST] = '\0';
    snprintf(expected, sizeof(expected), "%s:65535", name);
    uint8_t bytes[300] = {5, 1, 0, 5, SOCKS5_COMMAND_CONNECT, 0, SOCKS5_ATYP_NAME, LONGEST};
    memcpy(bytes + 8, name, LONGEST);
    memset(bytes + 8 + LONGEST, 0xff, 2);
    int client = new_client(false);
    say(client, bytes, 10 + LONGEST);
    wait_until(only_row()->kind == KIND_CONNECT);
    assert_string_equal(report->rows[0].stream.destination, expected);
    assert_int_equal(report->rows[0].stream.remote.sa.sa_family, AF_UNSPEC);
    assert_int_equal(report->lookups, 2);
    assert_int_equal(report->server_count, 1);
    assert_true(netaddr_equal(&report->servers[0], &server));
    expect_counts(0, 1, 0);
    close(client);
    wait_until(TAILQ_EMPTY(&env.sessions));
    options.servers = &other; /* which ends the questions that nobody wants any more */
    assert_true(resolver_change(env.resolver, &options));
    close(silent);
    ports_release(&env.relay_ports, &lease, 0, now_ms);

    const union netaddr peer = at("127.0.0.1", 80);
    config.bind.enabled = true;
    config.bind.timeout_ms = 1000;
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_BIND, &peer));
    wait_until(only_row()->kind == KIND_BIND);
    expect_counts(0, 1, 0);
    close(client);
}

/* ---- pages ---- */

static void pages_in_the_order_of_ids(void **state)
{
    (void)state;
    int clients[25];
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        clients[i] = new_client(false);
    const uint64_t first = TAILQ_FIRST(&env.sessions)->id;
    struct session_list *page = session_list_new(10);
    assert_non_null(page);
    session_list_take(page, &env, 0);
    assert_int_equal(page->row_count, 10);
    assert_true(page->more);
    assert_int_equal(page->counts.negotiating, 25); /* all, not the page's */
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(page->rows[i].id, first + i);
    close(clients[9]); /* the one that the next page is asked after */
    close(clients[10]);
    wait_until(TAILQ_FIRST(&env.sessions)->id == first &&
               (session_list_take(report, &env, first + 9), report->row_count == 14));
    session_list_take(page, &env, first + 9);
    assert_int_equal(page->rows[0].id, first + 11);
    assert_true(page->more);
    session_list_take(page, &env, first + 21); /* from the other end */
    assert_int_equal(page->row_count, 3);
    assert_int_equal(page->rows[0].id, first + 22);
    session_list_take(page, &env, first + 20);
    assert_int_equal(page->row_count, 4);
    assert_false(page->more);
    session_list_take(page, &env, first + 2);
    assert_int_equal(page->rows[0].id, first + 3);
    session_list_take(page, &env, UINT64_MAX);
    assert_int_equal(page->row_count, 0);
    assert_false(page->more);
    free(page);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        if (i != 9 && i != 10)
            close(clients[i]);
}

/* Three workers' sessions, of which one has many, one few, and one none: page by page all are seen once, in order. */
static void pages_of_all_workers(void **state)
{
    (void)state;
    enum { WORKERS = 3, MAX = 4, LAST = 23 };
    struct session_list *reports[WORKERS];
    const struct session_list_row *rows[MAX];
    for (size_t i = 0; i < WORKERS; i++)
        assert_non_null(reports[i] = session_list_new(MAX));
    uint64_t after = 0, seen = 0, next;
    do {
        for (size_t i = 0; i < WORKERS; i++) {
            *reports[i] = (struct session_list){.row_max = MAX};
            for (uint64_t id = after + 1; id <= LAST; id++) {
                size_t whose = id % 7 == 0 ? 1 : 0;
                if (whose == i && reports[i]->row_count < MAX)
                    reports[i]->rows[reports[i]->row_count++].id = id;
                else if (whose == i)
                    reports[i]->more = true;
            }
        }
        size_t count = session_list_merge(reports, WORKERS, rows, MAX, &next);
        assert_int_equal(count, LAST - after < MAX ? LAST - after : MAX);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(rows[i]->id, ++seen);
        after = seen;
        assert_int_equal(next, seen < LAST ? seen : 0);
    } while (next);
    assert_int_equal(seen, LAST);
    for (size_t i = 0; i < WORKERS; i++)
        free(reports[i]);
}

/* What a report has no room for may come before another's rows: a page ends there. */
static void a_page_leaves_none_out(void **state)
{
    (void)state;
    struct session_list *reports[] = {session_list_new(1), session_list_new(3)};
    const struct session_list_row *rows[8];
    uint64_t next;
    reports[0]->row_count = 1;
    reports[0]->rows[0].id = 2;
    reports[0]->more = true; /* from 3 on */
    reports[1]->row_count = 2;
    reports[1]->rows[0].id = 1;
    reports[1]->rows[1].id = 9;
    assert_int_equal(session_list_merge(reports, 2, rows, 8, &next), 2);
    assert_int_equal(rows[0]->id, 1);
    assert_int_equal(rows[1]->id, 2);
    assert_int_equal(next, 2);
    free(reports[0]);
    free(reports[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_report, end_with_report)
    const struct CMUnitTest tests[] = {
        TEST(row_50_who_has_not_asked_yet),
        TEST(an_association),
        TEST(an_association_takes_little_memory),
        TEST(an_association_over_tcp),
        TEST(a_connect),
        TEST(streams_on_their_way),
        TEST(pages_in_the_order_of_ids),
        TEST(pages_of_all_workers),
        TEST(a_page_leaves_none_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
