#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "conesocks/socks5.h"
#include "net/dgram_io.h"
#include "net/inbox.h"
#include "net/pump.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/session.h"

/* Sessions over real sockets, with a clock that the test owns. What clients do is in test/integration. */
static struct env env;
static struct config config;
static uint64_t now_ms;

static uint64_t fake_clock(void)
{
    return now_ms;
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    sessions_reap(&env);
}

static int begin(void **state)
{
    (void)state;
    now_ms = 1000000;
    config = (struct config){.reach = CONFIG_REACH_ALL,
                             .udp = {.enabled = true, .rebind_after_ms = 15000},
                             .timeouts = {.handshake_ms = 10000, .connect_ms = 5000}};
    memset(&env, 0, sizeof(env));
    env.base = event_base_new();
    env.config = &config;
    env.clock_ms = fake_clock;
    env.dgrams = dgram_io_new(false);
    env.pumps = pump_pool_new(true);
    ports_init_system(&env.ports);
    TAILQ_INIT(&env.sessions);
    TAILQ_INIT(&env.ended);
    event_assign(&env.reaper, env.base, -1, 0, on_reap, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sessions_end(&env, "test over");
    sessions_reap(&env);
    dgram_io_free(env.dgrams);
    pump_pool_free(env.pumps);
    event_base_free(env.base);
    return 0;
}

/* A client's end of a new control connection. */
static int connect_client(void)
{
    union netaddr where, peer, none = {0};
    assert_true(netaddr_parse(&where, "127.0.0.1", 0));
    int listener = sock_listen(&where, false);
    where = sock_local(listener);
    int client = sock_connect(&where, &none);
    struct pollfd poll_fd = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    int accepted = sock_accept(listener, &peer);
    assert_true(client >= 0 && accepted >= 0);
    close(listener);
    session_new(&env, accepted, &peer, false);
    return client;
}

static void run(void)
{
    for (int i = 0; i < 20; i++) {
        event_base_loop(env.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

static void sweep(void)
{
    sessions_sweep(&env);
    run();
}

static void say(int client, const char *bytes, size_t len)
{
    assert_int_equal(send(client, bytes, len, MSG_NOSIGNAL), len);
    run();
}

static ssize_t hear(int client, uint8_t *bytes, size_t size)
{
    run();
    return recv(client, bytes, size, MSG_DONTWAIT);
}

static bool is_open(int client)
{
    uint8_t byte;
    run();
    ssize_t n = recv(client, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n < 0 && errno == EAGAIN;
}

static int associate(void)
{
    uint8_t answer[32];
    int client = connect_client();
    say(client, "\5\1\0\5\3\0\1\0\0\0\0\0\0", 13);
    assert_int_equal(hear(client, answer, sizeof(answer)), 12);
    assert_memory_equal(answer, "\5\0\5\0\0\1", 6);
    return client;
}

/* Row 41: the deadline is absolute, however busily the bytes drip in. */
static void a_slow_handshake_ends_at_its_deadline(void **state)
{
    (void)state;
    int client = connect_client();
    say(client, "\5", 1);
    now_ms += 9999;
    sweep();
    assert_true(is_open(client));
    say(client, "\2", 1);
    now_ms += 1;
    sweep();
    assert_false(is_open(client));
    assert_true(TAILQ_EMPTY(&env.sessions));
    assert_true(TAILQ_EMPTY(&env.ended));
    close(client);
}

static void a_granted_session_has_no_deadline(void **state)
{
    (void)state;
    int client = associate();
    now_ms += 365ULL * 24 * 3600 * 1000;
    sweep();
    assert_true(is_open(client));
    close(client);
    run();
    assert_true(TAILQ_EMPTY(&env.sessions));
}

/* The reply can be read even by a client that sent more than was asked for; who does not close is closed. */
static void a_refusal_lingers_for_its_reader(void **state)
{
    (void)state;
    uint8_t answer[64];
    int client = connect_client();
    say(client, "\5\1\0\5\2\0\1\177\0\0\1\0\120and more that nobody reads", 39); /* BIND */
    assert_int_equal(hear(client, answer, sizeof(answer)), 12);
    assert_memory_equal(answer, "\5\0\5\7\0\1", 6);
    assert_int_equal(hear(client, answer, sizeof(answer)), 0);
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 1000;
    sweep();
    assert_true(TAILQ_EMPTY(&env.sessions));
    close(client);
}

static void the_idle_limit_ends_an_association(void **state)
{
    (void)state;
    config.udp.idle_ms = 120 * 1000;
    int client = associate();
    now_ms += 119999;
    sweep();
    assert_true(is_open(client));
    now_ms += 1;
    sweep();
    assert_false(is_open(client));
    close(client);
}

static void the_longest_idle_goes_first_but_not_before_two_minutes(void **state)
{
    (void)state;
    int handshaking = connect_client(), first = associate();
    now_ms += 1000;
    int second = associate();
    now_ms += 118999;
    assert_false(sessions_shed(&env));
    now_ms += 1;
    assert_true(sessions_shed(&env));
    assert_false(is_open(first));
    assert_true(is_open(second));
    assert_false(sessions_shed(&env));
    now_ms += 1000;
    assert_true(sessions_shed(&env));
    assert_false(is_open(second));
    assert_false(sessions_shed(&env));
    close(handshaking);
    close(first);
    close(second);
}

static void udp_switched_off_is_command_not_supported(void **state)
{
    (void)state;
    uint8_t answer[32];
    config.udp.enabled = false;
    int client = connect_client();
    say(client, "\5\1\0\5\3\0\1\0\0\0\0\0\0", 13);
    assert_int_equal(hear(client, answer, sizeof(answer)), 12);
    assert_int_equal(answer[3], SOCKS5_REPLY_COMMAND_NOT_SUPPORTED);
    close(client);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_slow_handshake_ends_at_its_deadline),
        TEST(a_granted_session_has_no_deadline),
        TEST(a_refusal_lingers_for_its_reader),
        TEST(the_idle_limit_ends_an_association),
        TEST(the_longest_idle_goes_first_but_not_before_two_minutes),
        TEST(udp_switched_off_is_command_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
