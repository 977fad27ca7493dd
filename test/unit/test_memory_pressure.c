#include "test.h"

#include <stdlib.h>

#include "proxy/memory_pressure.h"
#include "support/log_capture.h"
#include "support/loopback.h"

static const struct memory_pressure_order is_ample = {.level = MEMORY_AMPLE}, is_short = {.level = MEMORY_SHORT};

static int ask(uint8_t command, const union netaddr *to)
{
    uint8_t bytes[300];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, command, to));
    expect(client, "\5\0", 2);
    return client;
}

static int associate(void)
{
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t reply[10];
    int client = ask(SOCKS5_COMMAND_UDP_ASSOCIATE, &any);
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
    assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
    return client;
}

/* Row 45: nobody new gets in, by whichever door; those inside stay; and it passes. */
static void row_45_newcomers_are_refused_while_memory_is_short(void **state)
{
    (void)state;
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t bytes[300];
    int inside = associate(), asking = new_client(false);
    memory_pressure_relieve(&env, &is_short);
    int outside = new_client(false);
    expect_end(outside);
    say(asking, bytes, make_request(bytes, SOCKS5_COMMAND_UDP_ASSOCIATE, &any));
    expect(asking, "\5\0", 2);
    expect_refusal(asking, SOCKS5_REPLY_NOT_ALLOWED);
    assert_int_equal(env.metrics.limited_memory_total, 2);
    now_ms += 119999;
    memory_pressure_relieve(&env, &is_short);
    memory_pressure_relieve(&env, &is_ample);
    close(associate());
    char byte;
    assert_int_equal(recv(inside, &byte, 1, MSG_DONTWAIT), -1);
    close(inside);
    close(asking);
    close(outside);
}

static void row_45_who_idles_goes_first(void **state)
{
    (void)state;
    int first = associate();
    now_ms += 1000;
    int second = associate();
    now_ms += 119500;
    struct log_capture log;
    log_capture_begin(&log);
    memory_pressure_relieve(&env, &is_short);
    expect_end(first);
    log_capture_expect(&log, "idle longest, ended to make room: memory is short: raise limits.memory");
    assert_int_equal(env.metrics.shed_associations_total, 1);
    now_ms += 500;
    memory_pressure_relieve(&env, &is_short);
    expect_end(second);
    close(first);
    close(second);
}

static void row_45_handshakes_have_to_hurry(void **state)
{
    (void)state;
    int slow = new_client(false);
    now_ms += 1999;
    memory_pressure_relieve(&env, &is_short);
    assert_false(TAILQ_EMPTY(&env.sessions));
    now_ms += 1;
    memory_pressure_relieve(&env, &is_short);
    expect_end(slow);
    close(slow);
}

/* A stream whose client does not read what comes from `remote`. */
static void stick(int destination, const union netaddr *where, int *client, int *remote)
{
    static uint8_t block[65536];
    union netaddr peer;
    uint8_t reply[10];
    *client = ask(SOCKS5_COMMAND_CONNECT, where);
    *remote = accept_from(destination, &peer);
    wait_until(recv(*client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
    for (int idle = 0; idle < 50; idle++) {
        if (send(*remote, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            idle = 0;
        turn();
    }
}

/* Row 44: what readers leave lying about is won back from the one that has been stuck longest, and no more than needed.
 */
static void row_44_the_stream_that_is_stuck_longest_goes_first(void **state)
{
    (void)state;
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where), clients[3], remotes[3];
    uint8_t reply[10];
    for (int i = 0; i < 2; i++) {
        stick(destination, &where, &clients[i], &remotes[i]);
        now_ms += 1000;
    }
    clients[2] = ask(SOCKS5_COMMAND_CONNECT, &where); /* this one reads: nothing is stuck */
    remotes[2] = accept_from(destination, &peer);
    wait_until(recv(clients[2], reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));

    struct memory_pressure_order order = {.level = MEMORY_CRITICAL, .excess = 1, .measure = true};
    const struct memory_pressure_order measure = {.level = MEMORY_AMPLE, .measure = true};
    size_t before = memory_pressure_relieve(&env, &measure);
    assert_true(before > 2 * 16 * 1024);
    size_t after = memory_pressure_relieve(&env, &order);
    assert_in_range(after, before / 4, before - before / 4);
    wait_until(sock_is_lost(remotes[0]));
    assert_false(sock_is_lost(remotes[1]));
    order.excess = SIZE_MAX;
    assert_in_range(memory_pressure_relieve(&env, &order), 1, after);
    wait_until(sock_is_lost(remotes[1]));
    assert_int_equal(env.metrics.shed_streams_total, 2);
    say(clients[2], "ping", 4);
    expect(remotes[2], "ping", 4);
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
        close(remotes[i]);
    }
    close(destination);
}

static int room(int fd)
{
    int bytes = 0;
    socklen_t len = sizeof(bytes);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len), 0);
    return bytes;
}

/* The association's sockets, the only ones for datagrams that have a large buffer. */
static size_t count_roomy(void)
{
    size_t count = 0;
    for (int fd = 3; fd < 200; fd++) {
        int type = 0;
        socklen_t len = sizeof(type);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM && room(fd) > 2 * 64 * 1024)
            count++;
    }
    return count;
}

static void row_45_datagrams_get_less_room(void **state)
{
    (void)state;
    size_t before = count_roomy();
    int client = associate();
    size_t with = count_roomy();
    if (with == before) {
        close(client);
        SKIP_TEST("net.core.rmem_max grants no large buffers here");
    }
    assert_int_equal(with, before + 2);
    memory_pressure_relieve(&env, &is_short);
    assert_true(count_roomy() <= before);
    memory_pressure_relieve(&env, &is_ample);
    assert_int_equal(count_roomy(), with);
    close(client);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(row_45_newcomers_are_refused_while_memory_is_short),
        TEST(row_45_who_idles_goes_first),
        TEST(row_45_handshakes_have_to_hurry),
        TEST(row_44_the_stream_that_is_stuck_longest_goes_first),
        TEST(row_45_datagrams_get_less_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
