#include "test.h"

#include <crypt.h>
#include <dlfcn.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "policy/auth.h"
#include "proxy/session/login.h"
#include "support/loopback.h"

static const uint8_t chosen_password[] = {5, 2};
static const uint8_t accepted[] = {1, 0}, refused[] = {1, 1};

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
    assert_int_equal(env.metrics.auth_failed_total, 3);
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
#define LOGIN(name) cmocka_unit_test_setup_teardown(name, begin_with_users, end_with_users)
    const struct CMUnitTest tests[] = {
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
