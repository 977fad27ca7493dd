/* What a reload does to a worker's sessions, and when. */
#include "test.h"

#include <stdlib.h>

#include "policy/snapshot.h"
#include "proxy/session/review.h"
#include "support/loopback.h"

#define SESSIONS 150 /* more than two slices */

static int clients[SESSIONS], sockets[SESSIONS];
static union netaddr relays[SESSIONS];
static unsigned done_calls;

static struct snapshot *made_of(const char *text)
{
    char *errors, *warnings;
    struct config *made = config_parse("test", text, strlen(text), &errors, &warnings);
    assert_non_null(made);
    struct snapshot *snapshot = snapshot_new(made);
    assert_non_null(snapshot);
    free(warnings);
    return snapshot;
}

static struct snapshot *use(const char *text)
{
    struct snapshot *snapshot = made_of(text), *before = env_use(&env, snapshot);
    snapshot_release(snapshot); /* the env holds it */
    return before;
}

static int associate(union netaddr *relay)
{
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t bytes[300], reply[10];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_UDP_ASSOCIATE, &any));
    expect(client, "\5\0", 2);
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
    assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
    *relay = netaddr_from_bytes(reply + 4, 4, (uint16_t)(reply[8] << 8 | reply[9]));
    return client;
}

static int begin_many(void **state)
{
    begin(state);
    env.system_ports = env.relay_ports;
    done_calls = 0;
    assert_null(use("rules: [{action: deny, to: [192.0.2.0/24]}]\n"));
    for (int i = 0; i < SESSIONS; i++) {
        clients[i] = associate(&relays[i]);
        sockets[i] = -1;
    }
    return 0;
}

static int end_many(void **state)
{
    for (int i = 0; i < SESSIONS; i++) {
        close(clients[i]);
        if (sockets[i] >= 0)
            close(sockets[i]);
    }
    wait_until(TAILQ_EMPTY(&env.sessions));
    assert_null(env.review.before);
    snapshot_release(env_use(&env, NULL));
    return end(state);
}

static void on_done(void *arg)
{
    (void)arg;
    done_calls++;
}

static void reload(const char *text)
{
    review_prepare(&env, use(text));
    review_sessions(&env, on_done, NULL);
}

/* Whether a datagram of that session's client arrives. */
static bool relays_datagrams(int session)
{
    const union netaddr here = at("127.0.0.1", 0);
    int peer = sock_udp_open(NULL, AF_INET, false);
    assert_true(peer >= 0 && sock_udp_bind(peer, &here) == 0);
    if (sockets[session] < 0) {
        sockets[session] = sock_udp_open(NULL, AF_INET, false);
        assert_true(sockets[session] >= 0 && sock_udp_bind(sockets[session], &here) == 0);
    }
    const union netaddr to = sock_local(peer);
    const uint16_t port = netaddr_port(&to);
    const uint8_t datagram[] = {0, 0, 0, 1, 127, 0, 0, 1, (uint8_t)(port >> 8), (uint8_t)port, 'x'};
    char byte = 0;
    assert_int_equal(
        sendto(sockets[session], datagram, sizeof(datagram), 0, &relays[session].sa, sizeof(relays[session].v4)),
        sizeof(datagram));
    event_base_loop(env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* a single look at the sockets */
    bool arrived = recv(peer, &byte, 1, MSG_DONTWAIT) == 1;
    close(peer);
    return arrived;
}

/* Row 70. A review of thousands stopped every datagram of the worker for a third of a second. */
static void test_row70_sockets_are_served_between_slices(void **state)
{
    (void)state;
    reload("rules: [{action: deny, to: [198.51.100.0/24]}]\n");
    assert_int_equal(done_calls, 0);
    assert_true(relays_datagrams(SESSIONS - 1));
    assert_int_equal(done_calls, 0);
    wait_until(done_calls > 0);
    turn();
    assert_int_equal(done_calls, 1);
    assert_true(relays_datagrams(0) && relays_datagrams(SESSIONS / 2) && relays_datagrams(SESSIONS - 1));
    assert_int_equal(env.open.associations, SESSIONS);
}

static bool has_ended(int session)
{
    char byte;
    return recv(clients[session], &byte, 1, MSG_DONTWAIT) == 0;
}

/* Between a new snapshot and the review, a listener that goes accepts what waits there. That may end an association,
 * and its end may read a datagram of another one. */
static void test_a_datagram_obeys_before_the_review_begins(void **state)
{
    (void)state;
    assert_true(relays_datagrams(0));
    review_prepare(&env, use("rules: [{action: deny}]\n"));
    assert_false(relays_datagrams(0));
    assert_true(has_ended(0) && !has_ended(1));
    assert_int_equal(env.open.associations, SESSIONS - 1);
    review_sessions(&env, on_done, NULL);
    wait_until(done_calls > 0);
    assert_true(TAILQ_EMPTY(&env.sessions));
}

/* The last is not reviewed yet, and its next datagram obeys all the same, and ends it: a review is not repeated. */
static void expect_obedience(const char *text)
{
    assert_true(relays_datagrams(SESSIONS - 1));
    reload(text);
    assert_int_equal(done_calls, 0);
    assert_true(env.open.associations > SESSIONS / 2);
    assert_false(relays_datagrams(SESSIONS - 1));
    assert_int_equal(done_calls, 0);
    assert_true(has_ended(SESSIONS - 1) && !has_ended(SESSIONS - 2));
    wait_until(done_calls > 0);
    assert_true(TAILQ_EMPTY(&env.sessions));
}

static void test_row27_who_waits_for_review_obeys_at_once(void **state)
{
    (void)state;
    expect_obedience("rules: [{action: deny}]\n");
}

static void test_row27_udp_is_off_at_once(void **state)
{
    (void)state;
    expect_obedience("udp: {enabled: false}\n");
}

/* A rule about one destination ends nobody. */
static void test_row27_a_rule_that_denies_one_destination(void **state)
{
    (void)state;
    reload("rules: [{action: deny, to: [127.0.0.1]}]\n");
    assert_int_equal(done_calls, 0);
    assert_false(relays_datagrams(SESSIONS - 1));
    wait_until(done_calls > 0);
    assert_false(relays_datagrams(0));
    assert_int_equal(env.open.associations, SESSIONS);
}

static void who_leaves_meanwhile_is_passed_over(void **state)
{
    (void)state;
    reload("rules: []\n");
    for (int i = 60; i < 140; i++)
        shutdown(clients[i], SHUT_RDWR);
    wait_until(done_calls > 0);
    wait_until(env.open.associations == SESSIONS - 80);
}

static void a_server_that_stops_reviews_nobody_any_more(void **state)
{
    (void)state;
    reload("rules: []\n");
    assert_int_equal(done_calls, 0);
    sessions_end(&env, "the test says so");
    assert_int_equal(done_calls, 1);
    turn();
    turn();
    assert_int_equal(done_calls, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_many, end_many)
    const struct CMUnitTest tests[] = {
        TEST(test_row70_sockets_are_served_between_slices),  TEST(test_a_datagram_obeys_before_the_review_begins),
        TEST(test_row27_who_waits_for_review_obeys_at_once), TEST(test_row27_udp_is_off_at_once),
        TEST(test_row27_a_rule_that_denies_one_destination), TEST(who_leaves_meanwhile_is_passed_over),
        TEST(a_server_that_stops_reviews_nobody_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
