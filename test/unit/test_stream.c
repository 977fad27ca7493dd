#include "test.h"

#include <stdlib.h>

#include "support/loopback.h"

static union netaddr where; /* the destination */
static int destination;
static int client, remote;

static int begin_with_destination(void **state)
{
    begin(state);
    destination = listen_at("127.0.0.1", &where);
    return 0;
}

static int end_with_destination(void **state)
{
    close(destination);
    return end(state);
}

static int ask_for_name(const char *name, uint16_t port)
{
    uint8_t bytes[300] = {5, 1, 0, 5, SOCKS5_COMMAND_CONNECT, 0, SOCKS5_ATYP_NAME, (uint8_t)strlen(name)};
    size_t len = 8 + strlen(name);
    memcpy(bytes + 8, name, strlen(name));
    bytes[len++] = (uint8_t)(port >> 8);
    bytes[len++] = (uint8_t)port;
    int fd = new_client(false);
    say(fd, bytes, len);
    return fd;
}

/* A stream: client -> proxy -> remote. BND is the address that the destination sees. */
static void connect_through(void)
{
    union netaddr seen;
    uint8_t bytes[300];
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_CONNECT, &where));
    remote = accept_from(destination, &seen);
    expect(client, "\5\0", 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &seen);
}

static void hang_up(void)
{
    close(client);
    close(remote);
}

static void both_ways(void **state)
{
    (void)state;
    connect_through();
    say(client, "ping", 4);
    expect(remote, "ping", 4);
    say(remote, "pong", 4);
    expect(client, "pong", 4);
    hang_up();
}

/* Row 44, half-close in both orders. */
static void row_44_the_client_closes_first(void **state)
{
    (void)state;
    connect_through();
    say(client, "question", 8);
    shutdown(client, SHUT_WR);
    expect(remote, "question", 8);
    expect_end(remote);
    now_ms += 3600 * 1000;
    sessions_sweep(&env); /* however long the answer takes */
    say(remote, "answer", 6);
    shutdown(remote, SHUT_WR);
    expect(client, "answer", 6);
    expect_end(client);
    wait_until(TAILQ_EMPTY(&env.sessions));
    hang_up();
}

static void row_44_the_destination_closes_first(void **state)
{
    (void)state;
    connect_through();
    say(remote, "banner", 6);
    shutdown(remote, SHUT_WR);
    expect(client, "banner", 6);
    expect_end(client);
    now_ms += 3600 * 1000;
    sessions_sweep(&env);
    say(client, "still here", 10);
    expect(remote, "still here", 10);
    shutdown(client, SHUT_WR);
    expect_end(remote);
    wait_until(TAILQ_EMPTY(&env.sessions));
    hang_up();
}

static void row_44_a_reset_goes_through(void **state)
{
    (void)state;
    connect_through();
    sock_abort(client);
    expect_reset(remote);
    close(remote);
    connect_through();
    sock_abort(remote);
    expect_reset(client);
    close(client);
}

/* Nothing listens to a side that has half-closed: its end must be found by asking. */
static void row_44_a_half_closed_side_vanishes(void **state)
{
    (void)state;
    connect_through();
    shutdown(client, SHUT_WR);
    expect_end(remote);
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    sock_abort(client);
    wait_until((sessions_sweep(&env), TAILQ_EMPTY(&env.sessions)));
    wait_until(sock_is_lost(remote));
    close(remote);

    connect_through();
    shutdown(remote, SHUT_WR);
    expect_end(client);
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    sock_abort(remote);
    wait_until((sessions_sweep(&env), TAILQ_EMPTY(&env.sessions)));
    wait_until(sock_is_lost(client));
    close(client);
}

/* Our end of the connection to the destination. */
static int outgoing(void)
{
    for (int fd = 3; fd < 200; fd++) {
        union netaddr peer;
        socklen_t len = sizeof(peer);
        if (getpeername(fd, &peer.sa, &len) == 0 && netaddr_equal(&peer, &where))
            return fd;
    }
    fail_msg("no connection to the destination");
    return -1;
}

static bool keeps_alive(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    return on;
}

/* A destination that vanishes without a word must be found: once a stream has lived for a while it is watched. */
static void a_stream_that_lasts_is_kept_alive(void **state)
{
    (void)state;
    connect_through();
    now_ms += 9999;
    sessions_sweep(&env);
    assert_false(keeps_alive(outgoing()));
    now_ms += 1;
    sessions_sweep(&env);
    assert_true(keeps_alive(outgoing()));
    hang_up();
}

/* Row 44: a reader that does not read stops the writer, and loses nothing. */
static void row_44_a_slow_reader(void **state)
{
    (void)state;
    enum { TOTAL = 24 * 1024 * 1024, PIECE = 64 * 1024 };
    static uint8_t piece[PIECE], heard[PIECE];
    connect_through();
    size_t sent = 0, received = 0, blocked = 0;
    while (received < TOTAL) {
        for (size_t i = 0; i < PIECE; i++)
            piece[i] = (uint8_t)((sent + i) % 251);
        size_t want = TOTAL - sent < PIECE ? TOTAL - sent : PIECE;
        ssize_t n = want ? send(remote, piece, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (n > 0) {
            sent += (size_t)n;
            event_base_loop(env.base, EVLOOP_NONBLOCK);
            continue;
        }
        if (blocked++ < 20) { /* the client does not read: all that can be under way is under way */
            turn();
            continue;
        }
        assert_true(received > 0 || sent < TOTAL);
        n = recv(client, heard, PIECE, MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(heard[i], (received + (size_t)i) % 251);
        if (n > 0)
            received += (size_t)n;
        else
            turn();
        event_base_loop(env.base, EVLOOP_NONBLOCK);
    }
    hang_up();
}

/* ---- rates: the first 200 ms' worth at once, then as the test's clock goes ---- */

enum { RATE = 1024 * 1024, AT_ONCE = RATE / 5 };

/* What arrives while the loop turns for longer than a rest. */
static size_t count_heard(int fd)
{
    static uint8_t heard[65536];
    size_t count = 0;
    for (int quiet = 0; quiet < 150;) {
        ssize_t n = recv(fd, heard, sizeof(heard), MSG_DONTWAIT);
        if (n <= 0)
            quiet++;
        else
            count += (size_t)n;
        turn();
    }
    return count;
}

static void send_much(int fd, size_t count)
{
    static const uint8_t piece[16384];
    while (count) {
        ssize_t n = send(fd, piece, count < sizeof(piece) ? count : sizeof(piece), MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(n > 0);
        count -= (size_t)n;
    }
}

static void a_stream_keeps_to_its_rate(void **state)
{
    (void)state;
    config.limits.bandwidth_per_session = RATE;
    connect_through();
    send_much(client, AT_ONCE + 100000);
    assert_int_equal(count_heard(remote), AT_ONCE);
    now_ms += 50;
    assert_int_equal(count_heard(remote), RATE / 20);
    say(remote, "pong", 4); /* the other way has a rate of its own */
    expect(client, "pong", 4);
    shutdown(client, SHUT_WR);
    now_ms += 1000;
    assert_int_equal(count_heard(remote), 100000 - RATE / 20);
    expect_end(remote);
    hang_up();
}

static void a_reset_goes_through_a_stream_that_rests(void **state)
{
    (void)state;
    config.limits.bandwidth_per_session = RATE;
    connect_through();
    send_much(client, AT_ONCE + 100000);
    assert_int_equal(count_heard(remote), AT_ONCE);
    sock_abort(client);
    now_ms += 1000;
    count_heard(remote); /* the reset follows all that was sent before it, which may not fit into the window */
    wait_until(sock_is_lost(remote));
    close(remote);
    connect_through();
    send_much(client, AT_ONCE + 100000);
    assert_int_equal(count_heard(remote), AT_ONCE);
    sock_abort(remote);
    expect_reset(client);
    close(client);
}

static void a_name_with_two_families(void **state)
{
    (void)state;
    union netaddr seen;
    client = ask_for_name("localhost", netaddr_port(&where)); /* ::1 refuses, 127.0.0.1 does not */
    remote = accept_from(destination, &seen);
    expect(client, "\5\0", 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &seen);
    hang_up();
}

static void names_that_lead_nowhere(void **state)
{
    (void)state;
    union netaddr closed;
    close(listen_at("127.0.0.1", &closed));
    const struct {
        const char *name;
        uint16_t port;
        uint8_t code;
    } cases[] = {
        {"localhost", netaddr_port(&closed), SOCKS5_REPLY_CONNECTION_REFUSED},
        {"bad name", 80, SOCKS5_REPLY_HOST_UNREACHABLE},
        {"127.1", 80, SOCKS5_REPLY_HOST_UNREACHABLE},
        {"0.0.0.0", 80, SOCKS5_REPLY_NOT_ALLOWED},
        {"127.0.0.1", netaddr_port(&closed), SOCKS5_REPLY_CONNECTION_REFUSED},
        {"localhost", 0, SOCKS5_REPLY_GENERAL_FAILURE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client = ask_for_name(cases[i].name, cases[i].port);
        expect(client, "\5\0", 2);
        expect_refusal(client, cases[i].code);
        close(client);
    }
}

/* Row 25: what counts is the address that a name leads to. */
static void row_25_a_name_is_judged_by_its_address(void **state)
{
    (void)state;
    config.active_reach = CONFIG_REACH_PUBLIC;
    client = ask_for_name("localhost", netaddr_port(&where));
    expect(client, "\5\0", 2);
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    close(client);
}

static void one_family_only(void **state)
{
    (void)state;
    union netaddr seen;
    config.outbound.prefer = CONFIG_PREFER_IPV6_ONLY;
    client = ask_for_name("localhost", netaddr_port(&where));
    expect(client, "\5\0", 2);
    expect_refusal(client, SOCKS5_REPLY_CONNECTION_REFUSED);
    close(client);
    config.outbound.prefer = CONFIG_PREFER_IPV4_ONLY;
    client = ask_for_name("localhost", netaddr_port(&where));
    remote = accept_from(destination, &seen);
    expect(client, "\5\0", 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &seen);
    hang_up();
}

static void it_comes_from_the_configured_address(void **state)
{
    (void)state;
    union netaddr from = at("127.0.0.77", 0);
    config.outbound.address_v4 = (struct config_pool){&from, 1, CONFIG_POOL_LIST, 0};
    connect_through(); /* which compares BND with what the destination sees */
    union netaddr seen = {0};
    socklen_t len = sizeof(seen);
    assert_int_equal(getpeername(remote, &seen.sa, &len), 0);
    assert_true(netaddr_equal_host(&seen, &from));
    hang_up();
}

static void it_comes_from_where_its_rule_says(void **state)
{
    (void)state;
    struct config_target here = {.kind = CONFIG_TARGET_NETWORK, .network = {at("127.0.0.1", 0), 32}};
    union netaddr by_rule = at("127.0.0.79", 0), otherwise = at("127.0.0.77", 0);
    struct config_rule rules[] = {
        {.action = CONFIG_ACTION_ALLOW,
         .terms.address_v4 = {&by_rule, 1, CONFIG_POOL_LIST, 0},
         .to = &here,
         .to_count = 1},
    };
    config.rules = rules;
    config.rule_count = 1;
    config.outbound.address_v4 = (struct config_pool){&otherwise, 1, CONFIG_POOL_LIST, 0};
    struct rules *compiled = rules_compile(rules, 1);
    env.rules = compiled;
    union netaddr seen = {0};
    socklen_t len = sizeof(seen);
    connect_through();
    assert_int_equal(getpeername(remote, &seen.sa, &len), 0);
    assert_true(netaddr_equal_host(&seen, &by_rule));
    hang_up();
    client = ask_for_name("localhost", netaddr_port(&where));
    remote = accept_from(destination, &seen);
    assert_true(netaddr_equal_host(&seen, &by_rule));
    hang_up();
    rules_free(compiled);
    env.rules = NULL;
    config.rules = NULL;
    config.rule_count = 0;
}

static void the_preferred_family_goes_first(void **state)
{
    (void)state;
    union netaddr six = at("::1", netaddr_port(&where)), seen;
    int other = sock_listen(&six, false);
    assert_true(other >= 0);
    for (int ipv4_first = 0; ipv4_first <= 1; ipv4_first++) {
        config.outbound.prefer = ipv4_first ? CONFIG_PREFER_IPV4 : CONFIG_PREFER_IPV6;
        client = ask_for_name("localhost", netaddr_port(&where));
        remote = accept_from(ipv4_first ? destination : other, &seen);
        hang_up();
    }
    close(other);
}

static void a_dead_resolver_is_told_as_such(void **state)
{
    (void)state;
    client = ask_for_name("slow.example", 80);
    expect(client, "\5\0", 2);
    expect_refusal(client, SOCKS5_REPLY_TTL_EXPIRED);
    close(client);
    descriptors_before = count_descriptors();
}

/* Some clients read ten bytes, whatever is said: over IPv4 they get an IPv4 address. */
static void bound_is_ipv4_for_a_client_over_ipv4(void **state)
{
    (void)state;
    union netaddr six, seen;
    int other = listen_at("::1", &six);
    uint8_t bytes[300];
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_CONNECT, &six));
    remote = accept_from(other, &seen);
    const union netaddr readable = at("0.0.0.0", netaddr_port(&seen));
    expect(client, "\5\0", 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &readable);
    hang_up();
    close(other);
}

/* A listener whose queue is full: it answers nobody any more. */
static void be_silent(int fillers[8])
{
    assert_int_equal(listen(destination, 0), 0);
    for (size_t i = 0; i < 8; i++)
        fillers[i] = sock_connect(NULL, &where, NULL);
}

static void silence_is_told_as_such(void **state)
{
    (void)state;
    int fillers[8];
    be_silent(fillers);
    config.timeouts.connect_ms = 100;
    uint8_t bytes[300];
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_CONNECT, &where));
    expect(client, "\5\0", 2);
    expect_refusal(client, SOCKS5_REPLY_TTL_EXPIRED);
    close(client);
    for (size_t i = 0; i < 8; i++)
        close(fillers[i]);
}

static void the_client_leaves_while_it_is_being_connected(void **state)
{
    (void)state;
    int fillers[8];
    be_silent(fillers);
    size_t before = count_descriptors();
    uint8_t bytes[300];
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_CONNECT, &where));
    wait_until(count_descriptors() == before + 3); /* it is being connected */
    now_ms += 60 * 1000;                           /* the handshake's deadline is not the connect's */
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    sock_abort(client);
    wait_until((sessions_sweep(&env), TAILQ_EMPTY(&env.sessions)));
    for (size_t i = 0; i < 8; i++)
        close(fillers[i]);
}

static void the_client_leaves_while_its_name_is_resolved(void **state)
{
    (void)state;
    client = ask_for_name("slow.example", 80);
    wait_until(resolver_waiting(env.resolver) == 2); /* nobody answers */
    sock_abort(client);
    wait_until((sessions_sweep(&env), TAILQ_EMPTY(&env.sessions)));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_destination, end_with_destination)
    const struct CMUnitTest tests[] = {
        TEST(both_ways),
        TEST(row_44_the_client_closes_first),
        TEST(row_44_the_destination_closes_first),
        TEST(row_44_a_reset_goes_through),
        TEST(row_44_a_half_closed_side_vanishes),
        TEST(a_stream_that_lasts_is_kept_alive),
        TEST(row_44_a_slow_reader),
        TEST(a_stream_keeps_to_its_rate),
        TEST(a_reset_goes_through_a_stream_that_rests),
        TEST(a_name_with_two_families),
        TEST(names_that_lead_nowhere),
        TEST(row_25_a_name_is_judged_by_its_address),
        TEST(one_family_only),
        TEST(it_comes_from_the_configured_address),
        TEST(it_comes_from_where_its_rule_says),
        TEST(the_preferred_family_goes_first),
        TEST(a_dead_resolver_is_told_as_such),
        TEST(bound_is_ipv4_for_a_client_over_ipv4),
        TEST(silence_is_told_as_such),
        TEST(the_client_leaves_while_it_is_being_connected),
        TEST(the_client_leaves_while_its_name_is_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
