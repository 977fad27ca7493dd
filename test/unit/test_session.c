#include "test.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "proxy/assoc/assoc.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"
#include "support/log_capture.h"
#include "support/loopback.h"

static const struct shortage of_ports = {.kind = SHORTAGE_PORTS, .option = "udp.ports"};
static const uint8_t chosen_none[] = {5, 0};

static int request(uint8_t command, const union netaddr *to)
{
    uint8_t bytes[300];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, command, to));
    expect(client, chosen_none, 2);
    return client;
}

/* ---- negotiation ---- */

/* Row 17: cut at every byte, and whole, with early data behind. */
static void row_17_no_byte_is_lost(void **state)
{
    (void)state;
    static const char early[] = "early data";
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where);
    uint8_t bytes[300];
    size_t len = make_request(bytes, SOCKS5_COMMAND_CONNECT, &where);
    memcpy(bytes + len, early, sizeof(early));
    len += sizeof(early);
    for (size_t cut = 0; cut <= len; cut++) {
        int client = new_client(false);
        say(client, bytes, cut);
        for (int i = 0; i < 5; i++)
            turn();
        say(client, bytes + cut, len - cut);
        int remote = accept_from(destination, &peer);
        expect(client, chosen_none, 2);
        expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &peer);
        expect(remote, early, sizeof(early));
        close(client);
        expect_end(remote);
        close(remote);
    }
    close(destination);
}

static void a_byte_at_a_time(void **state)
{
    (void)state;
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where), client = new_client(false);
    uint8_t bytes[300];
    size_t len = make_request(bytes, SOCKS5_COMMAND_CONNECT, &where);
    for (size_t i = 0; i < len; i++) {
        say(client, bytes + i, 1);
        turn();
    }
    int remote = accept_from(destination, &peer);
    expect(client, chosen_none, 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &peer);
    close(remote);
    close(client);
    close(destination);
}

/* Row 19: whoever speaks something else hears nothing. */
static void row_19_other_protocols(void **state)
{
    (void)state;
    static const char *const openings[] = {"GET / HTTP/1.1\r\n\r\n", "\4\1\1\1\1\1\1", "\x16\3\1\2"};
    for (size_t i = 0; i < 3; i++) {
        int client = new_client(false);
        say(client, openings[i], strlen(openings[i]));
        expect_end(client);
        close(client);
    }
}

static void no_method_in_common(void **state)
{
    (void)state;
    static const uint8_t none_of_them[] = {5, 0xff};
    int client = new_client(true);
    say(client, "\5\1\0", 3);
    expect(client, none_of_them, 2);
    expect_end(client);
    close(client);
}

static void a_refused_client_need_not_leave(void **state)
{
    (void)state;
    int stays = new_client(false), talks = new_client(false);
    say(stays, "x", 1);
    say(talks, "x", 1);
    expect_end(stays);
    expect_end(talks);
    now_ms += 999;
    sessions_sweep(&env);
    say(talks, "and on, and on", 14);
    turn();
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 1;
    sessions_sweep(&env);
    assert_true(TAILQ_EMPTY(&env.sessions));
    close(stays);
    close(talks);
}

static void a_handshake_has_a_deadline(void **state)
{
    (void)state;
    int client = new_client(false);
    for (int i = 0; i < 9; i++) { /* however busy the client is */
        now_ms += 1000;
        if (i < 3)
            say(client, &"\5\2\0"[i], 1);
        turn();
        sessions_sweep(&env);
        assert_false(TAILQ_EMPTY(&env.sessions));
    }
    now_ms += 1000;
    sessions_sweep(&env);
    assert_true(TAILQ_EMPTY(&env.sessions));
    expect_end(client);
    close(client);
}

static void a_client_may_leave_at_any_byte(void **state)
{
    (void)state;
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where);
    uint8_t bytes[300];
    size_t len = make_request(bytes, SOCKS5_COMMAND_CONNECT, &where);
    for (size_t cut = 0; cut <= len; cut++) {
        for (int reset = 0; reset <= 1; reset++) {
            int client = new_client(false);
            say(client, bytes, cut);
            if (cut % 2)
                turn();
            if (reset)
                sock_abort(client);
            else
                close(client);
            for (int fd; (fd = sock_accept(destination, &peer)) >= 0;)
                close(fd);
        }
    }
    close(destination);
    wait_until(TAILQ_EMPTY(&env.sessions));
}

/* ---- requests ---- */

static void what_is_refused_says_why(void **state)
{
    (void)state;
    union netaddr closed, nobody = at("0.0.0.0", 80), port_0 = at("127.0.0.1", 0), somebody = at("127.0.0.1", 80);
    close(listen_at("127.0.0.1", &closed));
    const struct {
        uint8_t command;
        const union netaddr *to;
        uint8_t code;
    } cases[] = {
        {SOCKS5_COMMAND_CONNECT, &closed, SOCKS5_REPLY_CONNECTION_REFUSED},
        {SOCKS5_COMMAND_CONNECT, &nobody, SOCKS5_REPLY_NOT_ALLOWED},
        {SOCKS5_COMMAND_CONNECT, &port_0, SOCKS5_REPLY_GENERAL_FAILURE},
        {SOCKS5_COMMAND_BIND, &somebody, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED},
        {9, &somebody, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int client = request(cases[i].command, cases[i].to);
        expect_refusal(client, cases[i].code);
        close(client);
    }
    config.udp.enabled = false;
    int client = request(SOCKS5_COMMAND_UDP_ASSOCIATE, &nobody);
    expect_refusal(client, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED);
    close(client);
}

/* Closing with bytes unread would reset the reply away. */
static void a_refusal_reaches_a_client_that_has_said_more(void **state)
{
    (void)state;
    int client = new_client(false);
    say(client, "\5\1\0\5\2\0\1\177\0\0\1\0\120and more that nobody asked for", 43);
    expect(client, chosen_none, 2);
    expect_refusal(client, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED);
    close(client);
}

static void an_unknown_address_type(void **state)
{
    (void)state;
    int client = new_client(false);
    say(client, "\5\1\0\5\1\0\2aaaaaa", 13);
    expect(client, chosen_none, 2);
    expect_refusal(client, SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED);
    close(client);
}

/* ---- associations ---- */

static int associate(union netaddr *relay)
{
    const union netaddr any = at("0.0.0.0", 0);
    int client = request(SOCKS5_COMMAND_UDP_ASSOCIATE, &any);
    uint8_t reply[10];
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply)); /* and not a byte more or less */
    assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
    assert_int_equal(reply[3], SOCKS5_ATYP_IPV4);
    *relay = netaddr_from_bytes(reply + 4, 4, (uint16_t)(reply[8] << 8 | reply[9]));
    return client;
}

static void an_association_lives_while_its_connection_does(void **state)
{
    (void)state;
    union netaddr relay, local = at("127.0.0.1", 0);
    int client = associate(&relay);
    assert_true(netaddr_equal_host(&relay, &local)); /* never a wildcard */
    assert_int_not_equal(netaddr_port(&relay), 0);
    say(client, "stray bytes", 11);
    now_ms += 24 * 3600 * 1000;
    sessions_sweep(&env);
    for (int i = 0; i < 10; i++)
        turn();
    struct ports *ports = ports_new();
    const uint16_t port = netaddr_port(&relay);
    const struct port_range same = {.ports = ports, .first = port, .last = port};
    struct port_lease lease;
    assert_int_equal(sock_udp(NULL, &local, &same, now_ms, &lease), -EADDRINUSE);
    close(client);
    wait_until(TAILQ_EMPTY(&env.sessions));
    int freed = sock_udp(NULL, &local, &same, now_ms, &lease);
    assert_true(freed >= 0);
    close(freed);
    ports_release(&same, &lease, 0, now_ms);
    ports_free(ports);
}

static void an_idle_association_may_be_ended(void **state)
{
    (void)state;
    union netaddr relay;
    config.udp.idle_ms = 300 * 1000;
    int client = associate(&relay);
    now_ms += 300 * 1000 - 1;
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 1;
    sessions_sweep(&env);
    assert_true(TAILQ_EMPTY(&env.sessions));
    expect_end(client);
    close(client);
}

static void the_longest_idle_is_shed_first(void **state)
{
    (void)state;
    union netaddr relay;
    int first = associate(&relay);
    now_ms += 1000;
    int second = associate(&relay), negotiating = new_client(false);
    now_ms += 118999;
    assert_false(shed_idle_of(&env, NULL, &of_ports));
    now_ms += 1;
    assert_true(shed_idle_of(&env, NULL, &of_ports));
    expect_end(first);
    assert_false(shed_idle_of(&env, NULL, &of_ports));
    now_ms += 1000;
    assert_true(shed_idle_of(&env, NULL, &of_ports));
    expect_end(second);
    assert_false(shed_idle_of(&env, NULL, &of_ports)); /* nor is a handshake an association */
    close(first);
    close(second);
    close(negotiating);
}

/* Row 41: of those who do not come to a request the first goes first, but nobody within two seconds. */
static void row_41_the_longest_waiting_is_shed_first(void **state)
{
    (void)state;
    union netaddr relay;
    int associated = associate(&relay), first = new_client(false);
    now_ms += 1000;
    int second = new_client(true);
    say(first, "\5\1\0", 3); /* to begin is not to come to a request */
    expect(first, chosen_none, 2);
    now_ms += 999;
    assert_false(shed_handshake(&env, &of_ports));
    now_ms += 1;
    assert_true(shed_handshake(&env, &of_ports));
    expect_end(first);
    assert_false(shed_handshake(&env, &of_ports));
    now_ms += 1000;
    assert_true(shed_handshake(&env, &of_ports));
    expect_end(second);
    now_ms += 1000000;
    assert_false(shed_handshake(&env, &of_ports));
    close(first);
    close(second);
    close(associated);
}

/* Row 39: an association that nobody uses gives its descriptors to one that somebody asks for. */
static void row_39_descriptors_run_out(void **state)
{
    (void)state;
    const union netaddr any = at("0.0.0.0", 0);
    union netaddr relay;
    struct rlimit before, none_left;
    int idle = associate(&relay);
    now_ms += 120 * 1000;
    int client = new_client(false), late = new_client(false);
    uint8_t bytes[300], answer[12];
    size_t len = make_request(bytes, SOCKS5_COMMAND_UDP_ASSOCIATE, &any);
    struct log_capture log;
    log_capture_begin(&log);
    int lowest_free = dup(listener);
    close(lowest_free);
    getrlimit(RLIMIT_NOFILE, &before);
    none_left = (struct rlimit){.rlim_cur = (rlim_t)lowest_free, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none_left);
    say(client, bytes, len);
    wait_until(recv(client, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer));
    say(late, bytes, len);
    expect(late, chosen_none, 2);
    expect_refusal(late, SOCKS5_REPLY_GENERAL_FAILURE); /* nobody is idle for long enough any more */
    setrlimit(RLIMIT_NOFILE, &before);
    log_capture_expect(&log, "idle longest, ended to make room: descriptors ran out: raise LimitNOFILE=");
    assert_int_equal(answer[3], SOCKS5_REPLY_SUCCEEDED);
    expect_end(idle);
    close(idle);
    close(client);
    close(late);
}

/* The same when udp.ports or udp.external_ports is full: the reason names the one that is. */
static void a_full_range_ends_the_longest_idle(void **state)
{
    (void)state;
    union netaddr relay;
    struct port_range *const ranges[] = {&env.relay_ports, &env.external_ports};
    static const char *const texts[] = {
        "idle longest, ended to make room: every port of udp.ports is in use: make the range larger",
        "idle longest, ended to make room: every port of udp.external_ports is in use: make the range larger"};
    env.relay_ports.option = "udp.ports";
    env.external_ports.option = "udp.external_ports";
    for (int i = 0; i < 2; i++) {
        const struct port_range whole = *ranges[i];
        struct log_capture log;
        int idle = associate(&relay);
        const struct assoc_flow *flow = assoc_flow(TAILQ_LAST(&env.sessions, session_queue)->assoc);
        const union netaddr *used = i ? &flow->external[FAMILY_V4] : &flow->relay;
        ranges[i]->first = ranges[i]->last = netaddr_port(used);
        ranges[i]->random = false;
        now_ms += 120 * 1000;
        log_capture_begin(&log);
        int next = associate(&relay);
        log_capture_expect(&log, texts[i]);
        expect_end(idle);
        *ranges[i] = whole;
        close(idle);
        close(next);
        wait_until(TAILQ_EMPTY(&env.sessions));
    }
}

static void all_end_when_the_server_stops(void **state)
{
    (void)state;
    union netaddr relay, where, peer;
    int destination = listen_at("127.0.0.1", &where);
    int associated = associate(&relay), negotiating = new_client(false), refused_one = new_client(false);
    int streaming = request(SOCKS5_COMMAND_CONNECT, &where), remote = accept_from(destination, &peer);
    say(refused_one, "x", 1);
    expect_end(refused_one);
    sessions_end(&env, "the test says so");
    assert_true(TAILQ_EMPTY(&env.sessions));
    expect_end(associated);
    expect_end(negotiating);
    close(associated);
    close(negotiating);
    close(refused_one);
    close(streaming);
    close(remote);
    close(destination);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(row_17_no_byte_is_lost),
        TEST(a_byte_at_a_time),
        TEST(row_19_other_protocols),
        TEST(no_method_in_common),
        TEST(a_refused_client_need_not_leave),
        TEST(a_handshake_has_a_deadline),
        TEST(a_client_may_leave_at_any_byte),
        TEST(what_is_refused_says_why),
        TEST(a_refusal_reaches_a_client_that_has_said_more),
        TEST(an_unknown_address_type),
        TEST(an_association_lives_while_its_connection_does),
        TEST(an_idle_association_may_be_ended),
        TEST(the_longest_idle_is_shed_first),
        TEST(row_41_the_longest_waiting_is_shed_first),
        TEST(row_39_descriptors_run_out),
        TEST(a_full_range_ends_the_longest_idle),
        TEST(all_end_when_the_server_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
