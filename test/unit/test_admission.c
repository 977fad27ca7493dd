#include "test.h"

#include "base/util.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/admission.h"
#include "proxy/session/session_user.h"
#include "support/log_capture.h"
#include "support/loopback.h"

static struct snapshot snapshot; /* of this test's own, so never let go of for good */

static int begin_with_snapshot(void **state)
{
    snapshot = (struct snapshot){.config = &config, .holders = 1};
    int failed = begin(state);
    env.snapshot = &snapshot;
    return failed;
}

/* Row 42 throughout: past a cap the answer is no, and others feel nothing. */

static struct charges admit(const char *host)
{
    const union netaddr client = at(host, 1);
    struct charges admission;
    if (!admit_connection(&admission, &env, &client))
        assert_int_equal(admission.taken, 0);
    return admission;
}

static bool is_in(const struct charges *admission)
{
    return admission->client != NULL;
}

/* Those of the sessions that ask, until the test ends. */
static struct session_user *asked[64];
static union netaddr asked_from[64];
static size_t asked_count;

static void forget_users(void)
{
    while (asked_count > 0) {
        asked_count--;
        session_user_free(asked[asked_count], &asked_from[asked_count]);
    }
}

static struct session_user *user_called(const char *name, const union netaddr *client)
{
    if (!name)
        return NULL;
    assert_true(asked_count < 64);
    asked_from[asked_count] = *client;
    return asked[asked_count++] = session_user_new((const uint8_t *)name, strlen(name));
}

static const char *ask(struct charges *admission, const char *host, const char *user)
{
    const union netaddr client = at(host, 1);
    return admit_request(admission, &env, &client, user_called(user, &client));
}

static const char *ask_udp(struct charges *admission, const char *host, const char *user)
{
    const union netaddr client = at(host, 1);
    const char *why = ask(admission, host, user);
    return why ? why : admit_association(admission, &env, &client, user);
}

static uint64_t count(const atomic_uint_fast64_t *counter)
{
    return atomic_load(counter);
}

static void connections_in_all(void **state)
{
    (void)state;
    config.limits.sessions = 2;
    struct charges a = admit("192.0.2.1"), b = admit("192.0.2.2"), c = admit("192.0.2.3");
    assert_true(is_in(&a) && is_in(&b));
    assert_false(is_in(&c));
    assert_int_equal(count(&env.metrics.limited_sessions_total), 1);
    assert_int_equal(quota_size(env.quota), 2); /* who was refused leaves no trace */
    admission_end(&a, &env);
    c = admit("192.0.2.3");
    assert_true(is_in(&c));
    admission_end(&b, &env);
    admission_end(&c, &env);
}

static void connections_of_one_client(void **state)
{
    (void)state;
    config.limits.sessions_per_client = 1;
    struct charges first = admit("2001:db8::1"), second = admit("2001:db8::2"), other = admit("2001:db8:0:1::1");
    assert_true(is_in(&first));
    assert_false(is_in(&second)); /* the same /64 */
    assert_true(is_in(&other));
    assert_int_equal(count(&env.metrics.limited_sessions_per_client_total), 1);
    assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_SESSIONS), 2); /* a refusal gives the others back */
    admission_end(&first, &env);
    admission_end(&other, &env);
}

static void handshakes_of_one_client(void **state)
{
    (void)state;
    config.limits.handshakes_per_client = 1;
    struct charges first = admit("192.0.2.1"), second = admit("192.0.2.1");
    assert_false(is_in(&second));
    assert_null(ask(&first, "192.0.2.1", NULL)); /* from here on it is no handshake */
    second = admit("192.0.2.1");
    assert_true(is_in(&second));
    admission_end(&second, &env); /* without a request */
    second = admit("192.0.2.1");
    assert_true(is_in(&second));
    assert_int_equal(count(&env.metrics.limited_handshakes_per_client_total), 1);
    admission_end(&first, &env);
    admission_end(&second, &env);
}

static void connections_of_one_user(void **state)
{
    (void)state;
    config.limits.sessions_per_user = 1;
    struct charges a = admit("192.0.2.1"), b = admit("192.0.2.2"), c = admit("192.0.2.3"), d = admit("192.0.2.4");
    assert_null(ask(&a, "192.0.2.1", "alice"));
    assert_non_null(ask(&b, "192.0.2.2", "alice"));
    assert_null(ask(&c, "192.0.2.3", "bob"));
    assert_null(ask(&d, "192.0.2.4", NULL)); /* nobody in particular */
    assert_int_equal(count(&env.metrics.limited_sessions_per_user_total), 1);
    admission_refused(&b, &env);
    admission_refused(&a, &env); /* as when its destination cannot be reached: the next may try at once */
    struct charges e = admit("192.0.2.1");
    assert_null(ask(&e, "192.0.2.1", "alice"));
    struct charges *all[] = {&a, &b, &c, &d, &e};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        admission_end(all[i], &env);
}

static void associations_of_everybody_client_and_user(void **state)
{
    (void)state;
    const struct {
        uint32_t *limit;
        const atomic_uint_fast64_t *counter;
        const char *other_host, *other_user; /* who is as short, and below who is not */
        const char *free_host, *free_user;
    } cases[] = {
        {&config.limits.associations, &env.metrics.limited_associations_total, "192.0.2.2", "bob", NULL, NULL},
        {&config.limits.associations_per_client, &env.metrics.limited_associations_per_client_total, "192.0.2.1", "bob",
         "192.0.2.2", "alice"},
        {&config.limits.associations_per_user, &env.metrics.limited_associations_per_user_total, "192.0.2.2", "alice",
         "192.0.2.1", "bob"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct charges first = admit("192.0.2.1"), second = admit(cases[i].other_host);
        *cases[i].limit = 1;
        assert_null(ask_udp(&first, "192.0.2.1", "alice"));
        assert_non_null(ask_udp(&second, cases[i].other_host, cases[i].other_user));
        assert_int_equal(count(cases[i].counter), 1);
        admission_refused(&second, &env);
        if (cases[i].free_host) {
            struct charges free_one = admit(cases[i].free_host);
            assert_null(ask_udp(&free_one, cases[i].free_host, cases[i].free_user));
            admission_end(&free_one, &env);
        }
        admission_end(&first, &env);
        assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_ASSOCIATIONS), 0);
        admission_end(&second, &env);
        *cases[i].limit = 0;
    }
}

static void a_user_may_have_more_or_less(void **state)
{
    (void)state;
    char alice[] = "alice", bob[] = "bob";
    struct config_user users[] = {{.name = alice, .sessions = 2, .associations = 1}, {.name = bob}};
    assert_true(users_init(&snapshot.users, users, ARRAY_LEN(users)));
    config.limits.sessions_per_user = 1;
    config.limits.associations_per_user = 5;
    struct charges a = admit("192.0.2.1"), b = admit("192.0.2.1"), c = admit("192.0.2.1"), d = admit("192.0.2.1");
    assert_null(ask_udp(&a, "192.0.2.1", "alice"));
    assert_non_null(ask_udp(&b, "192.0.2.1", "alice"));
    assert_int_equal(count(&env.metrics.limited_associations_per_user_total), 1);
    assert_null(ask(&c, "192.0.2.1", "bob"));
    assert_non_null(ask(&d, "192.0.2.1", "bob"));
    assert_int_equal(count(&env.metrics.limited_sessions_per_user_total), 1);
    struct charges *all[] = {&a, &b, &c, &d};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        admission_end(all[i], &env);
    users_deinit(&snapshot.users);
}

/* ---- making room ---- */

static int associate(void)
{
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t bytes[300], answer[12];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_UDP_ASSOCIATE, &any));
    wait_until(recv(client, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer));
    return client;
}

static void an_idle_association_makes_room(void **state)
{
    (void)state;
    config.limits.associations_per_client = 1; /* all of these come from 127.0.0.1 */
    int idle = associate();
    struct charges stranger = admit("192.0.2.1");
    assert_null(ask_udp(&stranger, "192.0.2.1", NULL));
    now_ms += 119 * 1000;
    struct charges early = admit("127.0.0.1");
    assert_non_null(ask_udp(&early, "127.0.0.1", NULL));
    admission_end(&early, &env);
    now_ms += 1000;
    struct charges other = admit("192.0.2.1");
    assert_non_null(ask_udp(&other, "192.0.2.1", NULL)); /* nobody of his own is idle */
    admission_end(&other, &env);
    struct log_capture log;
    log_capture_begin(&log);
    int next = associate();
    expect_end(idle);
    log_capture_expect(&log, "idle longest, ended to make room: limits.associations_per_client (1) is reached");
    assert_int_equal(count(&env.metrics.shed_associations_total), 1);
    close(idle);
    close(next);
    admission_end(&stranger, &env);
}

/* Row 41: those who came first and say nothing do not keep everybody else out. */
static void row_41_a_slow_handshake_makes_room(void **state)
{
    (void)state;
    config.limits.sessions = 1;
    int slow = new_client(false), early = new_client(false);
    expect_end(early);
    now_ms += 2000;
    struct log_capture log;
    log_capture_begin(&log);
    int next = new_client(false);
    expect_end(slow);
    log_capture_expect(&log, "longest without a request, ended to make room: limits.sessions (1) is reached");
    assert_int_equal(count(&env.metrics.shed_handshakes_total), 1);
    close(slow);
    close(early);
    close(next);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_with_snapshot, end_with_users)
static int end_with_users(void **state)
{
    forget_users();
    return end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(connections_in_all),
        TEST(connections_of_one_client),
        TEST(handshakes_of_one_client),
        TEST(connections_of_one_user),
        TEST(associations_of_everybody_client_and_user),
        TEST(a_user_may_have_more_or_less),
        TEST(an_idle_association_makes_room),
        TEST(row_41_a_slow_handshake_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
