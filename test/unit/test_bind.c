#include "test.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "policy/rules.h"
#include "support/loopback.h"
#include "support/own_addresses.h"

static union netaddr told; /* by the first reply */

static int begin_with_bind(void **state)
{
    begin(state);
    config.bind.enabled = true;
    config.bind.timeout_ms = 3600 * 1000;
    return 0;
}

static int ask(const char *from)
{
    uint8_t bytes[300];
    const union netaddr peer = at(from, 0);
    int client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_BIND, &peer));
    expect(client, "\5\0", 2);
    return client;
}

/* The first reply, whatever its port. */
static void expect_told(int client, const char *host)
{
    uint8_t reply[10];
    ssize_t n = -1;
    wait_until((n = recv(client, reply, sizeof(reply), MSG_DONTWAIT)) >= 0);
    assert_int_equal(n, sizeof(reply));
    assert_memory_equal(reply, "\5\0\0\1", 4);
    told = netaddr_from_bytes(reply + 4, 4, (uint16_t)(reply[8] << 8 | reply[9]));
    const union netaddr expected = at(host, netaddr_port(&told));
    assert_true(netaddr_equal(&told, &expected));
    assert_int_not_equal(netaddr_port(&told), 0);
}

static int listening(const char *from)
{
    int client = ask(from);
    expect_told(client, "127.0.0.1");
    return client;
}

/* The peer's connection to what was told, with its address; -1: refused. */
static int come_from(const char *host, union netaddr *own)
{
    const union netaddr from = at(host, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &from.sa, netaddr_len(&from)), 0);
    if (connect(fd, &told.sa, netaddr_len(&told)) < 0) { /* on loopback that is known at once */
        assert_int_equal(errno, ECONNREFUSED);
        close(fd);
        return -1;
    }
    *own = sock_local(fd);
    return fd;
}

static void expect_served(int client, const char *host)
{
    union netaddr own;
    int peer = come_from(host, &own);
    assert_true(peer >= 0);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &own);
    say(client, "ping", 4);
    expect(peer, "ping", 4);
    say(peer, "pong", 4);
    expect(client, "pong", 4);
    close(peer);
    close(client);
}

static void expect_closed(void)
{
    union netaddr own;
    assert_int_equal(come_from("127.0.0.1", &own), -1);
}

/* Comes, and is sent away. */
static void expect_turned_away(const char *host)
{
    union netaddr own;
    int peer = come_from(host, &own);
    assert_true(peer >= 0);
    expect_reset(peer);
    close(peer);
}

static void two_replies_and_both_ways(void **state)
{
    (void)state;
    int client = listening("127.0.0.1");
    expect_served(client, "127.0.0.1");
    assert_int_equal(env.metrics.binds_total, 1);
    assert_int_equal(env.metrics.connects_total, 0);
}

static void its_port_takes_one_connection(void **state)
{
    (void)state;
    union netaddr own;
    int client = listening("127.0.0.1");
    int peer = come_from("127.0.0.1", &own);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &own);
    expect_closed();
    shutdown(client, SHUT_WR); /* from here on it is a stream like any other */
    expect_end(peer);
    say(peer, "the answer", 10);
    expect(client, "the answer", 10);
    sock_abort(peer);
    expect_reset(client);
    close(client);
}

static void who_was_not_asked_for_is_sent_away(void **state)
{
    (void)state;
    int client = listening("127.0.0.2");
    for (int i = 0; i < 20; i++)
        expect_turned_away("127.0.0.3");
    assert_int_equal(env.metrics.bind_strangers_total, 20);
    expect_served(client, "127.0.0.2");
}

static void leave_from(const char *host)
{
    static union netaddr address;
    address = at(host, 0);
    config.outbound.address_v4 = (struct config_pool){&address, 1, CONFIG_POOL_LIST, 0};
}

/* It is gone again before we look: that is no reason to stop waiting. */
static void a_peer_that_resets_at_once(void **state)
{
    (void)state;
    union netaddr own;
    int client = listening("127.0.0.2");
    for (int i = 0; i < 5; i++)
        sock_abort(come_from("127.0.0.3", &own));
    wait_until(env.metrics.bind_strangers_total == 5);
    expect_served(client, "127.0.0.2");
}

static void nobody_in_particular(void **state)
{
    (void)state;
    leave_from("127.0.0.1"); /* where there may be no default route */
    expect_served(listening("0.0.0.0"), "127.0.0.9");
}

/* libdsocks asks for the address that a CONNECT was answered with: active FTP. */
static void an_address_of_our_own(void **state)
{
    (void)state;
    const union netaddr own = at("198.51.100.1", 0);
    leave_from("127.0.0.1");
    env.policy.own_hosts = hosts_of(&own, 1);
    expect_served(listening("198.51.100.1"), "127.0.0.9");
    own_hosts_release(env.policy.own_hosts);
    env.policy.own_hosts = NULL;
    env.policy.advertised[FAMILY_V4] = at("203.0.113.7", 0);
    expect_served(listening("203.0.113.7"), "127.0.0.9");
}

/* Whoever comes is judged as a destination is. */
static void policy_judges_the_peer(void **state)
{
    (void)state;
    leave_from("127.0.0.1");
    config.active_reach = CONFIG_REACH_PUBLIC;
    int client = listening("0.0.0.0");
    expect_turned_away("127.0.0.9");
    assert_int_equal(env.metrics.refused_by_reach_total, 1);
    assert_int_equal(env.metrics.bind_strangers_total, 1);
    config.active_reach = CONFIG_REACH_ALL;
    expect_served(client, "127.0.0.9");
    config.active_reach = CONFIG_REACH_PUBLIC;
    client = ask("127.0.0.1");
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    close(client);
}

static void rules_about_bind(void **state)
{
    (void)state;
    enum config_command commands[] = {CONFIG_COMMAND_BIND};
    struct config_rule list[] = {{.action = CONFIG_ACTION_DENY, .commands = commands, .command_count = 1}};
    struct rules *rules = rules_compile(list, 1);
    config.rules = list;
    config.rule_count = 1;
    env.rules = rules;
    const char *const asked[] = {"127.0.0.1", "0.0.0.0"};
    for (size_t i = 0; i < 2; i++) {
        int client = ask(asked[i]);
        expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
        close(client);
    }
    assert_int_equal(env.metrics.refused_by_rule_total, 2);
    wait_until(TAILQ_EMPTY(&env.sessions));
    rules_free(rules);
}

static void a_range_has_an_end(void **state)
{
    (void)state;
    /* Where the system takes no ports for others from; and several of us may run at once. */
    const uint16_t low = (uint16_t)(20000 + getpid() % 5000 * 2);
    config.bind.ports = (struct config_ports){low, (uint16_t)(low + 1)};
    int first = listening("127.0.0.1"), port = netaddr_port(&told);
    int second = listening("127.0.0.1");
    assert_int_equal(port + netaddr_port(&told), 2 * low + 1);
    int third = ask("127.0.0.1");
    expect_refusal(third, SOCKS5_REPLY_GENERAL_FAILURE);
    assert_int_equal(env.metrics.binds_without_port_total, 1);
    close(third);
    close(second);
    wait_until(TAILQ_FIRST(&env.sessions) == TAILQ_LAST(&env.sessions, session_queue));
    expect_served(listening("127.0.0.1"), "127.0.0.1"); /* which does not rest: TCP has its own ways */
    expect_served(listening("127.0.0.1"), "127.0.0.1");
    close(first);
}

static void nobody_comes(void **state)
{
    (void)state;
    config.bind.timeout_ms = 50;
    int client = listening("127.0.0.1");
    expect_refusal(client, SOCKS5_REPLY_TTL_EXPIRED);
    expect_closed();
    close(client);
}

/* Those who were not asked for do not prolong it. */
static void strangers_until_the_end(void **state)
{
    (void)state;
    union netaddr own;
    config.bind.timeout_ms = 100;
    int client = listening("127.0.0.2"), stranger;
    for (int i = 0; (stranger = come_from("127.0.0.3", &own)) >= 0 && i < PATIENCE_MS; i++) {
        expect_reset(stranger);
        close(stranger);
    }
    assert_int_equal(stranger, -1);
    expect_refusal(client, SOCKS5_REPLY_TTL_EXPIRED);
    close(client);
}

static void the_client_leaves_while_it_waits(void **state)
{
    (void)state;
    for (int reset = 0; reset <= 1; reset++) {
        int client = listening("127.0.0.1");
        if (reset)
            sock_abort(client);
        else
            close(client);
        wait_until(TAILQ_EMPTY(&env.sessions));
        expect_closed();
    }
}

/* What the client says before the second reply is for its peer; and if it is reset then, that is found by asking. */
static void the_client_speaks_first(void **state)
{
    (void)state;
    union netaddr own;
    int client = listening("127.0.0.1");
    say(client, "early", 5);
    turn();
    int peer = come_from("127.0.0.1", &own);
    expect(peer, "early", 5);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &own);
    close(peer);
    close(client);

    client = listening("127.0.0.1");
    say(client, "early", 5);
    turn();
    sock_abort(client);
    wait_until((sessions_sweep(&env), TAILQ_EMPTY(&env.sessions)));
    expect_closed();
}

/* Row 40: descriptors have run out when the peer comes. */
static void row_40_no_descriptor_for_the_peer(void **state)
{
    (void)state;
    union netaddr own;
    struct rlimit before, none;
    int client = listening("127.0.0.1");
    int peer = come_from("127.0.0.1", &own);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_reset(peer);
    assert_int_equal(env.metrics.accept_failed_total, 1);
    close(peer);
    close(client);
}

/* Row 40: nor for the port. */
static void row_40_no_descriptor_for_the_port(void **state)
{
    (void)state;
    struct rlimit before, none;
    uint8_t bytes[300];
    const union netaddr from = at("127.0.0.1", 0);
    int client = new_client(false);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_BIND, &from));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect(client, "\5\0", 2);
    wait_until(env.metrics.requests_refused_total == 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    close(client);
}

static void names_and_literals(void **state)
{
    (void)state;
    int client = new_client(false);
    say(client, "\5\1\0\5\2\0\3\11localhost\0\25", 19);
    expect(client, "\5\0", 2);
    expect_refusal(client, SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED);
    close(client);
    client = new_client(false);
    say(client, "\5\1\0\5\2\0\3\011127.0.0.1\0\25", 19);
    expect(client, "\5\0", 2);
    expect_told(client, "127.0.0.1");
    expect_served(client, "127.0.0.1");
}

static void switched_off(void **state)
{
    (void)state;
    config.bind.enabled = false;
    int client = ask("127.0.0.1");
    expect_refusal(client, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED);
    close(client);
}

static void an_address_that_this_host_has_not(void **state)
{
    (void)state;
    leave_from("198.51.100.1");
    int client = ask("127.0.0.1");
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    close(client);
}

static void the_daemon_stops_meanwhile(void **state)
{
    (void)state;
    int client = listening("127.0.0.1");
    sessions_end(&env, "stopped");
    expect_closed();
    close(client);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_bind, end)
    const struct CMUnitTest tests[] = {
        TEST(two_replies_and_both_ways),
        TEST(its_port_takes_one_connection),
        TEST(who_was_not_asked_for_is_sent_away),
        TEST(a_peer_that_resets_at_once),
        TEST(nobody_in_particular),
        TEST(an_address_of_our_own),
        TEST(policy_judges_the_peer),
        TEST(rules_about_bind),
        TEST(a_range_has_an_end),
        TEST(nobody_comes),
        TEST(strangers_until_the_end),
        TEST(the_client_leaves_while_it_waits),
        TEST(the_client_speaks_first),
        TEST(row_40_no_descriptor_for_the_peer),
        TEST(row_40_no_descriptor_for_the_port),
        TEST(names_and_literals),
        TEST(switched_off),
        TEST(an_address_that_this_host_has_not),
        TEST(the_daemon_stops_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
