/* What is counted for a user, and what ends its sessions: days, volumes, addresses. */
#include "test.h"

#include <crypt.h>
#include <stdlib.h>

#include "policy/auth.h"
#include "policy/usage.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/session/login.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "support/log_capture.h"
#include "support/loopback.h"

#define LAST_DAY_OF_MONTH 20787 /* 2026-11-30 */

static struct auth *auth;
static struct config_user user = {.name = (char[]){"alice"}};
static struct snapshot snapshot; /* of this test's own, so never let go of for good */
static const uint8_t chosen_password[] = {5, 2}, accepted[] = {1, 0}, refused[] = {1, 1};

static int begin_with_user(void **state)
{
    struct crypt_data data = {0};
    char *setting = crypt_gensalt_ra("$6$", 1000, "saltsaltsaltsalt", 16);
    user = (struct config_user){.name = user.name, .password = strdup(crypt_r("wonderland", setting, &data))};
    free(setting);
    begin(state);
    today = LAST_DAY_OF_MONTH;
    config.timeouts.login_cache_ms = 60000;
    config.limits.volume_per_user = CONFIG_UNLIMITED;
    snapshot = (struct snapshot){.config = &config, .holders = 1};
    assert_true(users_init(&snapshot.users, &user, 1));
    auth = auth_new();
    env.snapshot = &snapshot;
    env.logins = logins_new(auth, 0);
    assert_true(auth && env.logins);
    return 0;
}

static int end_with_user(void **state)
{
    auth_free(auth);
    end(state);
    logins_free(env.logins);
    users_deinit(&snapshot.users);
    free(user.password);
    return 0;
}

/* A client at that address of loopback that has said its login. */
static int log_in_from(const char *host)
{
    static const char login[] = "\5\1\2\1\5alice\12wonderland";
    static const struct config_listener as = {.need_password = true};
    const union netaddr where = sock_local(listener);
    const struct sock_way way = {.from = at(host, 0)};
    union netaddr peer;
    int fd = sock_connect(env.host->reserve, &where, &way);
    assert_true(fd >= 0);
    accept_session(&env, accept_from(listener, &peer), &peer, &as);
    say(fd, login, sizeof(login) - 1);
    expect(fd, chosen_password, 2);
    return fd;
}

static void ask(int client, uint8_t command, const union netaddr *to)
{
    uint8_t bytes[300];
    size_t len = make_request(bytes, command, to);
    expect(client, accepted, 2);
    say(client, bytes + 3, len - 3);
}

static int connect_from(const char *host, int destination, const union netaddr *where, int *remote)
{
    union netaddr peer;
    int client = log_in_from(host);
    ask(client, SOCKS5_COMMAND_CONNECT, where);
    *remote = accept_from(destination, &peer);
    expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &peer);
    return client;
}

static void sweep(void)
{
    now_ms += 1000;
    sessions_sweep(&env);
}

static struct usage_row only_row(void)
{
    struct usage_row row;
    size_t total;
    assert_int_equal(usage_list(env.host->usage, &row, 1, &total), 1);
    assert_int_equal(total, 1);
    assert_string_equal(row.user, "alice");
    return row;
}

static void streams_are_counted_once_a_second(void **state)
{
    (void)state;
    union netaddr where;
    int remote, destination = listen_at("127.0.0.1", &where),
                client = connect_from("127.0.0.1", destination, &where, &remote);
    sweep();
    say(client, "12345", 5);
    expect(remote, "12345", 5);
    say(remote, "1234567", 7);
    expect(client, "1234567", 7);
    assert_int_equal(only_row().volume, 0);
    sweep();
    struct usage_row row = only_row();
    assert_int_equal(row.volume, 12);
    assert_int_equal(row.bytes.up, 5);
    assert_int_equal(row.rate.up, 5);
    assert_int_equal(row.rate.down, 7);
    assert_int_equal(row.addresses, 1);
    sweep();
    assert_int_equal(only_row().rate.down, 0);
    say(client, "123", 3);
    expect(remote, "123", 3);
    close(client); /* what came since the last sweep counts, too */
    close(remote);
    wait_until(TAILQ_EMPTY(&env.sessions));
    assert_int_equal(only_row().volume, 15);
    assert_int_equal(only_row().rate.up, 0);
    close(destination);
}

static void a_used_up_volume_ends_sessions_until_the_month_ends(void **state)
{
    (void)state;
    union netaddr where;
    int remote, destination = listen_at("127.0.0.1", &where),
                client = connect_from("127.0.0.1", destination, &where, &remote);
    struct log_capture log;
    user.volume = 10;
    say(client, "123456789", 9);
    expect(remote, "123456789", 9);
    sweep();
    assert_int_equal(env.metrics.limited_volume_per_user_total, 0);
    say(remote, "0", 1);
    expect(client, "0", 1);
    log_capture_begin(&log);
    sweep();
    expect_reset(client);
    close(client);
    close(remote);
    log_capture_expect(&log, "ending the sessions of user alice: the user's volume of this month is used up "
                             "(users[].volume)");
    assert_int_equal(env.metrics.limited_volume_per_user_total, 1);
    client = log_in_from("127.0.0.1");
    log_capture_begin(&log);
    ask(client, SOCKS5_COMMAND_CONNECT, &where);
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    log_capture_expect(&log,
                       "the user's volume of this month is used up (users[].volume): client=127.0.0.1 user=alice");
    assert_int_equal(env.metrics.limited_volume_per_user_total, 2);
    close(client);
    today++;
    client = connect_from("127.0.0.1", destination, &where, &remote);
    close(client);
    close(remote);
    close(destination);
}

/* A session that waits for its peer gets an answer. */
static void a_pending_session_is_refused(void **state)
{
    (void)state;
    const union netaddr any = at("0.0.0.0", 0);
    config.bind.enabled = true;
    config.bind.timeout_ms = 60000;
    uint8_t reply[10];
    int client = log_in_from("127.0.0.1");
    ask(client, SOCKS5_COMMAND_BIND, &any);
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
    user.expires = LAST_DAY_OF_MONTH;
    sweep();
    today++;
    sweep();
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    sweep(); /* it lingers */
    assert_int_equal(env.metrics.auth_expired_total, 1);
    close(client);
}

static void associations_count(void **state)
{
    (void)state;
    static const uint8_t commands[] = {SOCKS5_COMMAND_UDP_ASSOCIATE, SOCKS5_COMMAND_UDP_IN_TCP};
    const union netaddr any = at("0.0.0.0", 0);
    config.udp.over_tcp = true;
    user.volume = 1000;
    for (size_t i = 0; i < 2; i++) {
        uint8_t reply[10];
        int client = log_in_from("127.0.0.1");
        ask(client, commands[i], &any);
        wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply));
        assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
        struct assoc_flow *flow = &TAILQ_LAST(&env.sessions, session_queue)->assoc->flow;
        flow->up_bytes += 300;
        flow->down_bytes += 100;
        sweep();
        assert_int_equal(only_row().volume, 400);
        flow->down_bytes += 600;
        sweep();
        assert_int_equal(what_ends(client), i == 0 ? 0 : -ECONNRESET);
        assert_int_equal(env.metrics.limited_volume_per_user_total, i + 1);
        close(client);
        today += 31;
    }
}

static void after_its_last_day_a_user_cannot_log_in(void **state)
{
    (void)state;
    union netaddr where;
    int remote, destination = listen_at("127.0.0.1", &where);
    struct log_capture log;
    user.expires = LAST_DAY_OF_MONTH;
    int client = connect_from("127.0.0.1", destination, &where, &remote);
    sweep();
    today++;
    sweep();
    expect_reset(client);
    close(client);
    close(remote);
    assert_int_equal(env.metrics.auth_expired_total, 1);
    log_capture_begin(&log);
    client = log_in_from("127.0.0.1");
    expect(client, refused, 2);
    expect_end(client);
    log_capture_expect(&log, "the password is right, but the user's access has expired (users[].expires)");
    assert_int_equal(env.metrics.auth_expired_total, 2);
    assert_int_equal(env.metrics.auth_failed_total, 0);
    close(client);
    user.expires = 0; /* it may expire between login and request */
    client = log_in_from("127.0.0.1");
    expect(client, accepted, 2);
    user.expires = LAST_DAY_OF_MONTH;
    uint8_t bytes[300];
    say(client, bytes + 3, make_request(bytes, SOCKS5_COMMAND_CONNECT, &where) - 3);
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    close(client);
    close(destination);
}

static void addresses_at_once_are_limited(void **state)
{
    (void)state;
    union netaddr where;
    int remotes[4], destination = listen_at("127.0.0.1", &where);
    struct log_capture log;
    config.limits.addresses_per_user = 1;
    int first = connect_from("127.0.0.1", destination, &where, &remotes[0]);
    int second = connect_from("127.0.0.1", destination, &where, &remotes[1]);
    int other = log_in_from("127.0.0.2");
    log_capture_begin(&log);
    ask(other, SOCKS5_COMMAND_CONNECT, &where);
    expect_refusal(other, SOCKS5_REPLY_NOT_ALLOWED);
    log_capture_expect(&log, "too many client addresses of this user at once: limits.addresses_per_user (1): "
                             "client=127.0.0.2 user=alice");
    assert_int_equal(env.metrics.limited_addresses_per_user_total, 1);
    close(other);
    close(first);
    close(second);
    close(remotes[0]);
    close(remotes[1]);
    wait_until(TAILQ_EMPTY(&env.sessions) && TAILQ_EMPTY(&env.ended));
    other = connect_from("127.0.0.2", destination, &where, &remotes[2]);
    user.addresses = 2; /* its own entry decides */
    first = connect_from("127.0.0.1", destination, &where, &remotes[3]);
    close(other);
    close(first);
    close(remotes[2]);
    close(remotes[3]);
    close(destination);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_user, end_with_user)
    const struct CMUnitTest tests[] = {
        TEST(streams_are_counted_once_a_second),
        TEST(a_used_up_volume_ends_sessions_until_the_month_ends),
        TEST(a_pending_session_is_refused),
        TEST(associations_count),
        TEST(after_its_last_day_a_user_cannot_log_in),
        TEST(addresses_at_once_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
