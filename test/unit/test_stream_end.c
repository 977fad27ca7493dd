/* How streams end when an end of theirs fails, or when we cut them. */
#include "test.h"

#include "support/loopback.h"

enum { SIZE = 30000 }; /* arrives at once, whether the proxy runs or not */

static union netaddr where; /* the destination */
static int destination;
static int client, remote;
static uint8_t answer[SIZE], heard[SIZE + 1];

static int begin_connected(void **state)
{
    const bool *splice = *state;
    union netaddr seen;
    uint8_t bytes[300];
    begin(state);
    pump_pool_free(env.pumps);
    env.pumps = pump_pool_new(*splice, NULL);
    destination = listen_at("127.0.0.1", &where);
    client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_CONNECT, &where));
    remote = accept_from(destination, &seen);
    expect(client, "\5\0", 2);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &seen);
    for (size_t i = 0; i < SIZE; i++)
        answer[i] = (uint8_t)(i * 31 / 7);
    return 0;
}

static int end_closed(void **state)
{
    close(destination);
    wait_until(TAILQ_EMPTY(&env.sessions));
    pump_pool_save_memory(env.pumps, true); /* no pipe is kept */
    return end(state);
}

/* What the other end does not read. */
static void upload(int fd)
{
    static const uint8_t body[10000];
    for (int i = 0; i < 5; i++) {
        (void)!send(fd, body, sizeof(body), MSG_DONTWAIT | MSG_NOSIGNAL);
        turn();
    }
}

/* Has the proxy find at once: something from `reader` for `writer`, the answer of that, and behind it a reset, for it
 * has closed with bytes unread. */
static void answer_and_reset(int writer, int reader)
{
    say(reader, "more", 4);
    say(writer, answer, SIZE);
    close(writer);
}

/* Reads up to what ends it: 0, or a negative errno. */
static int read_all(int fd, size_t *len)
{
    *len = 0;
    for (int turns = 0; turns < PATIENCE_MS; turn(), turns++) {
        ssize_t n;
        while ((n = recv(fd, heard + *len, sizeof(heard) - *len, MSG_DONTWAIT)) > 0)
            *len += (size_t)n;
        if (n == 0 || errno != EAGAIN)
            return n == 0 ? 0 : -errno;
    }
    return -ETIMEDOUT;
}

static int expect_answer(int fd)
{
    size_t len;
    const int ending = read_all(fd, &len);
    assert_int_equal(len, SIZE);
    assert_memory_equal(heard, answer, SIZE);
    return ending;
}

#define expect_answer_then(fd, ending) assert_int_equal(expect_answer(fd), ending)

/* A server that refuses an upload (HTTP 413, 401) answers and closes: its kernel resets the connection right behind. */
static void row64_the_answer_before_a_reset_arrives(void **state)
{
    (void)state;
    upload(client);
    answer_and_reset(remote, client);
    expect_answer_then(client, -ECONNRESET);
    close(client);
}

/* The client reads only later, and goes on sending meanwhile. */
static void row64_a_client_that_reads_later_gets_the_answer(void **state)
{
    (void)state;
    upload(client);
    answer_and_reset(remote, client);
    upload(client);
    now_ms += 59000;
    sessions_sweep(&env);
    expect_answer(client); /* to send may have told it of the reset already */
    close(client);
}

/* The server has ended its answer before it was reset: then it is complete, and looks so. */
static void row64_a_complete_answer_looks_complete(void **state)
{
    (void)state;
    say(remote, answer, SIZE);
    close(remote); /* all was read: an end, and a reset only for what comes later */
    for (int i = 0; i < 20; i++)
        turn();
    send(client, "more", 4, MSG_NOSIGNAL);
    for (int i = 0; i < 20; i++)
        turn();
    expect_answer_then(client, 0);
    close(client);
}

/* The same from the client's side: what it sent before it left reaches the destination. */
static void row64_what_a_client_sent_before_its_reset_arrives(void **state)
{
    (void)state;
    upload(remote);
    answer_and_reset(client, remote);
    expect_answer_then(remote, -ECONNRESET);
    close(remote);
}

/* Who never reads holds a failed stream for a minute. */
static void row64_last_words_are_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++)
        (void)!send(remote, answer, SIZE, MSG_DONTWAIT | MSG_NOSIGNAL), turn();
    sock_abort(remote);
    say(client, "more", 4); /* which shows it */
    for (int i = 0; i < 100; i++)
        turn();
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 60000;
    sessions_sweep(&env);
    assert_true(TAILQ_EMPTY(&env.sessions));
    close(client);
}

/* A download that we cut is no complete one, and neither is an upload. */
static void row64_what_we_cut_is_reset(void **state)
{
    (void)state;
    say(remote, "half", 4);
    expect(client, "half", 4);
    sessions_end(&env, "server stops");
    expect_reset(client);
    expect_reset(remote);
    close(client);
    close(remote);
}

static void row64_what_we_cut_after_a_half_close_is_reset(void **state)
{
    (void)state;
    shutdown(client, SHUT_WR);
    expect_end(remote);
    say(remote, "half", 4);
    expect(client, "half", 4);
    sessions_end(&env, "server stops");
    expect_reset(client);
    wait_until(sock_is_lost(remote));
    close(client);
    close(remote);
}

static void an_idle_stream_ends_where_that_is_configured(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        now_ms += 3600 * 1000;
        sessions_sweep(&env);
    }
    assert_false(TAILQ_EMPTY(&env.sessions));
    config.timeouts.stream_idle_ms = 120000;
    now_ms += 120000;
    say(remote, "x", 1);
    expect(client, "x", 1);
    sessions_sweep(&env); /* which sees that something has come */
    now_ms += 119999;
    sessions_sweep(&env);
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 1;
    sessions_sweep(&env);
    expect_reset(client);
    expect_reset(remote);
    close(client);
    close(remote);
}

int main(void)
{
    static bool copy = false, splice = true;
#define TEST(name)                                                                                                     \
    cmocka_unit_test_prestate_setup_teardown(name, begin_connected, end_closed, &copy),                                \
        cmocka_unit_test_prestate_setup_teardown(name, begin_connected, end_closed, &splice)
    const struct CMUnitTest tests[] = {
        TEST(row64_the_answer_before_a_reset_arrives),
        TEST(row64_a_client_that_reads_later_gets_the_answer),
        TEST(row64_a_complete_answer_looks_complete),
        TEST(row64_what_a_client_sent_before_its_reset_arrives),
        TEST(row64_last_words_are_bounded),
        TEST(row64_what_we_cut_is_reset),
        TEST(row64_what_we_cut_after_a_half_close_is_reset),
        TEST(an_idle_stream_ends_where_that_is_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
