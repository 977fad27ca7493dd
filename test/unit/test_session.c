#include "test.h"

#include <crypt.h>
#include <dlfcn.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "policy/auth.h"
#include "proxy/login.h"
#include "support/loopback.h"

static const uint8_t chosen_none[] = {5, 0}, chosen_password[] = {5, 2};
static const uint8_t accepted[] = {1, 0}, refused[] = {1, 1};

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
    const struct ports same = {.first = netaddr_port(&relay), .last = netaddr_port(&relay)};
    assert_int_equal(sock_udp(&local, &same, now_ms), -EADDRINUSE);
    close(client);
    wait_until(TAILQ_EMPTY(&env.sessions));
    int freed = sock_udp(&local, &same, now_ms);
    assert_true(freed >= 0);
    close(freed);
    ports_release(&same, &local, now_ms);
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
    assert_false(sessions_shed(&env, NULL));
    now_ms += 1;
    assert_true(sessions_shed(&env, NULL));
    expect_end(first);
    assert_false(sessions_shed(&env, NULL));
    now_ms += 1000;
    assert_true(sessions_shed(&env, NULL));
    expect_end(second);
    assert_false(sessions_shed(&env, NULL)); /* nor is a handshake an association */
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
    assert_false(sessions_shed_handshake(&env));
    now_ms += 1;
    assert_true(sessions_shed_handshake(&env));
    expect_end(first);
    assert_false(sessions_shed_handshake(&env));
    now_ms += 1000;
    assert_true(sessions_shed_handshake(&env));
    expect_end(second);
    now_ms += 1000000;
    assert_false(sessions_shed_handshake(&env));
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
    assert_int_equal(answer[3], SOCKS5_REPLY_SUCCEEDED);
    expect_end(idle);
    close(idle);
    close(client);
    close(late);
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

/* ---- logins ---- */

static struct auth *auth;
static struct config_user user = {.name = (char[]){"alice"}};

/* Stands before libcrypt's: lets a test hold a check up. */
static atomic_bool hold;
static sem_t held, released;

char *crypt_r(const char *phrase, const char *setting, struct crypt_data *data)
{
    static char *(*real)(const char *, const char *, struct crypt_data *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "crypt_r");
    if (atomic_load(&hold)) {
        sem_post(&held);
        sem_wait(&released);
    }
    return real(phrase, setting, data);
}

static struct snapshot snapshot; /* of this test's own, so never let go of for good */

static int begin_with_users(void **state)
{
    struct crypt_data data = {0};
    char *setting = crypt_gensalt_ra("$6$", 1000, "saltsaltsaltsalt", 16);
    user.password = strdup(crypt_r("wonderland", setting, &data));
    free(setting);
    begin(state);
    config.limits.failed_logins = 3;
    config.timeouts.login_cache_ms = 60000;
    snapshot = (struct snapshot){.config = &config, .holders = 1};
    assert_true(users_init(&snapshot.users, &user, 1));
    auth = auth_new();
    env.snapshot = &snapshot;
    env.logins = logins_new(auth, config.limits.failed_logins);
    assert_true(auth && env.logins);
    return 0;
}

static int end_with_users(void **state)
{
    auth_free(auth);
    auth = NULL;
    end(state);
    logins_free(env.logins);
    users_deinit(&snapshot.users);
    free(user.password);
    return 0;
}

static const char good_login[] = "\5\1\2\1\5alice\12wonderland", bad_login[] = "\5\1\2\1\5alice\12wonderlane";

static void a_login(void **state)
{
    (void)state;
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where);
    uint8_t bytes[300];
    size_t login = sizeof(good_login) - 1, len = make_request(bytes, SOCKS5_COMMAND_CONNECT, &where) - 3;
    for (size_t cut = 0; cut <= login; cut++) { /* the request right behind, or with a part of the login */
        int client = new_client(true);
        uint8_t all[400];
        memcpy(all, good_login, login);
        memcpy(all + login, bytes + 3, len);
        say(client, all, cut);
        for (int i = 0; i < 5; i++)
            turn();
        say(client, all + cut, login + len - cut);
        expect(client, chosen_password, 2);
        expect(client, accepted, 2);
        int remote = accept_from(destination, &peer);
        expect_reply(client, SOCKS5_REPLY_SUCCEEDED, &peer);
        close(client);
        close(remote);
    }
    close(destination);
}

static void a_wrong_login(void **state)
{
    (void)state;
    int client = new_client(true);
    say(client, bad_login, sizeof(bad_login) - 1);
    expect(client, chosen_password, 2);
    expect(client, refused, 2);
    expect_end(client);
    assert_int_equal(env.metrics.auth_failed_total, 1);
    close(client);
}

/* The check outlives its session: the client has left, or its time was up, or the server stops. */
static void a_session_ends_during_its_login(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int client = new_client(true);
        say(client, good_login, sizeof(good_login) - 1);
        expect(client, chosen_password, 2);
        if (i % 2)
            now_ms += 10000;
        sessions_sweep(&env);
        close(client);
    }
    int client = new_client(true);
    say(client, good_login, sizeof(good_login) - 1);
    expect(client, chosen_password, 2);
    sessions_end(&env, "the test says so");
    close(client);
    auth_free(auth);
    auth = NULL;
}

static int log_in(const char *bytes, size_t len)
{
    int client = new_client(true);
    say(client, bytes, len);
    expect(client, chosen_password, 2);
    return client;
}
#define LOG_IN(bytes) log_in(bytes, sizeof(bytes) - 1)

static void a_known_login_needs_no_helper(void **state)
{
    (void)state;
    int client = LOG_IN(good_login);
    expect(client, accepted, 2);
    assert_int_equal(env.metrics.auth_cached_total, 0);
    close(client);
    for (int i = 0; i < 2 * AUTH_QUEUE_MAX; i++) {
        client = LOG_IN(good_login);
        expect(client, accepted, 2);
        close(client);
    }
    assert_int_equal(env.metrics.auth_cached_total, 2 * AUTH_QUEUE_MAX);
    now_ms += 60000;
    client = LOG_IN(good_login);
    expect(client, accepted, 2);
    assert_int_equal(env.metrics.auth_cached_total, 2 * AUTH_QUEUE_MAX);
    close(client);
}

/* Row 49: no status, right or wrong, for a password that is not looked at. */
static void row_49_wrong_logins_are_throttled(void **state)
{
    (void)state;
    int client = LOG_IN(good_login);
    expect(client, accepted, 2);
    close(client);
    for (int i = 0; i < 3; i++) {
        client = LOG_IN(bad_login);
        expect(client, refused, 2);
        expect_end(client);
        close(client);
    }
    for (int i = 0; i < 3; i++) { /* the cache must not tell either: it would be the fastest way to guess */
        client = i % 2 ? LOG_IN(good_login) : LOG_IN(bad_login);
        expect_end(client);
        close(client);
    }
    assert_int_equal(env.metrics.auth_failed_total, 3);
    assert_int_equal(env.metrics.auth_throttled_total, 3);
    now_ms += 20000;
    client = LOG_IN(good_login);
    expect(client, accepted, 2);
    close(client);
}

/* Row 49: what one address still has in the queue at its last failure is not checked. */
static void row_49_a_flood_leaves_the_queue(void **state)
{
    (void)state;
    int clients[40];
    size_t answered = 0;
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    atomic_store(&hold, true);
    for (int i = 0; i < 40; i++)
        clients[i] = LOG_IN(bad_login);
    for (unsigned i = 0; i < 3; i++) {
        sem_wait(&held);
        sem_post(&released);
        wait_until(env.metrics.auth_failed_total > i);
    }
    atomic_store(&hold, false);
    sem_post(&released);
    wait_until(env.metrics.auth_failed_total + env.metrics.auth_throttled_total == 40);
    assert_in_range(env.metrics.auth_failed_total, 3, 4); /* one was in hand when the third was told */
    for (int i = 0; i < 40; i++) {
        uint8_t status[2];
        struct pollfd readable = {.fd = clients[i], .events = POLLIN};
        wait_until(poll(&readable, 1, 0) == 1);
        answered += read(clients[i], status, 2) == 2;
        close(clients[i]);
    }
    assert_int_equal(answered, env.metrics.auth_failed_total);
}

/* A client that leaves is noticed while others' passwords are checked, and its own is not; a half-close behind a whole
 * request is no leaving. */
static void leaving_takes_the_password_along(void **state)
{
    (void)state;
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where);
    uint8_t bytes[300];
    size_t len = make_request(bytes, SOCKS5_COMMAND_CONNECT, &where) - 3;
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    atomic_store(&hold, true);
    int first = LOG_IN(bad_login);
    sem_wait(&held);
    int leaves = LOG_IN(bad_login), stays = LOG_IN(good_login);
    say(stays, bytes + 3, len);
    shutdown(stays, SHUT_WR);
    close(leaves);
    wait_until(env.metrics.sessions_ended_total == 1);
    atomic_store(&hold, false);
    sem_post(&released);
    expect(first, refused, 2);
    expect(stays, accepted, 2);
    int remote = accept_from(destination, &peer);
    expect_reply(stays, SOCKS5_REPLY_SUCCEEDED, &peer);
    assert_int_equal(env.metrics.auth_failed_total, 1); /* the one who left was not checked */
    close(first);
    close(stays);
    close(remote);
    close(destination);
}

static void forget_job(struct auth_job *job)
{
    (void)job;
}

/* Whoever finds the queue full may be right, and hears nothing rather than "wrong". */
static void a_full_queue_says_nothing_of_the_password(void **state)
{
    (void)state;
    static struct auth_job jobs[AUTH_QUEUE_MAX + 1];
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    atomic_store(&hold, true);
    for (size_t i = 0; i <= AUTH_QUEUE_MAX; i++) {
        jobs[i].done = forget_job;
        atomic_store(&jobs[i].abandoned, i > 0);
        jobs[i].users = &snapshot.users;
        assert_true(auth_submit(auth, &jobs[i]));
        if (i == 0)
            sem_wait(&held); /* in the helper's hands, so that the queue is the others' */
    }
    int client = LOG_IN(good_login);
    expect_end(client);
    close(client);
    assert_int_equal(env.metrics.auth_busy_total, 1);
    assert_int_equal(env.metrics.auth_failed_total, 0);

    atomic_store(&hold, false);
    sem_post(&released);
    bool let_in = false;
    while (!let_in) { /* once the queue has room again */
        uint8_t status[2];
        client = LOG_IN(good_login);
        struct pollfd readable = {.fd = client, .events = POLLIN};
        wait_until(poll(&readable, 1, 0) == 1);
        let_in = read(client, status, 2) == 2;
        close(client);
    }
}

int main(void)
{
#define TEST(name)  cmocka_unit_test_setup_teardown(name, begin, end)
#define LOGIN(name) cmocka_unit_test_setup_teardown(name, begin_with_users, end_with_users)
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
        TEST(all_end_when_the_server_stops),
        LOGIN(a_login),
        LOGIN(a_wrong_login),
        LOGIN(a_session_ends_during_its_login),
        LOGIN(a_known_login_needs_no_helper),
        LOGIN(row_49_wrong_logins_are_throttled),
        LOGIN(row_49_a_flood_leaves_the_queue),
        LOGIN(leaving_takes_the_password_along),
        LOGIN(a_full_queue_says_nothing_of_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
