#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "proxy/assoc/assoc.h"
#include "proxy/session/session_impl.h"
#include "support/loopback.h"
#include "support/own_addresses.h"

static int destination; /* accepts nothing by itself; the kernel does */
static union netaddr where;

static int begin_with_destination(void **state)
{
    begin(state);
    config.bind.enabled = true;
    config.bind.timeout_ms = 3600 * 1000;
    config.udp.over_tcp = true;
    destination = listen_at("127.0.0.1", &where);
    descriptors_before = count_descriptors();
    return 0;
}

static int end_with_destination(void **state)
{
    int outcome = end(state);
    close(destination);
    return outcome;
}

static struct session *only_session(void)
{
    struct session *session = TAILQ_FIRST(&env.sessions);
    assert_non_null(session);
    assert_null(TAILQ_NEXT(session, link));
    return session;
}

static int ask(uint8_t command, const union netaddr *to)
{
    uint8_t bytes[300];
    int client = new_client(false);
    say(client, bytes, make_request(bytes, command, to));
    return client;
}

/* ---- one client in each state ---- */

static int at_header(void)
{
    struct config_network network = {.address = at("127.0.0.1", 0), .bits = 32};
    const struct config_listener as = {
        .proxy_protocol = CONFIG_PROXY_PROTOCOL_REQUIRED, .proxy_from = &network, .proxy_from_count = 1};
    return new_client_of(&as);
}

static int negotiating(void)
{
    return new_client(false);
}

static int reaching(void)
{
    return ask(SOCKS5_COMMAND_CONNECT, &where);
}

static int awaiting(void)
{
    const union netaddr anybody = at("0.0.0.0", 0);
    return ask(SOCKS5_COMMAND_BIND, &anybody);
}

static int associated(void)
{
    const union netaddr any = at("0.0.0.0", 0);
    return ask(SOCKS5_COMMAND_UDP_ASSOCIATE, &any);
}

static int framed(void)
{
    const union netaddr any = at("0.0.0.0", 0);
    return ask(SOCKS5_COMMAND_UDP_IN_TCP, &any);
}

static int lingering(void)
{
    return ask(9, &where); /* no such command */
}

static const struct {
    enum session_state state;
    int (*begin)(void);
    bool is_watched;
} each[] = {
    {SESSION_AT_HEADER, at_header, true}, {SESSION_NEGOTIATING, negotiating, true},
    {SESSION_REACHING, reaching, true},   {SESSION_AWAITING, awaiting, true},
    {SESSION_STREAMING, reaching, false}, {SESSION_ASSOCIATED, associated, true},
    {SESSION_FRAMED, framed, false},      {SESSION_LINGERING, lingering, true},
};

/* With the loop turned no further than that state. */
static int begin_in(size_t i)
{
    int client = each[i].begin();
    for (int turns = 0; only_session()->state != each[i].state; turns++) {
        assert_true(turns < PATIENCE_MS);
        event_base_loop(env.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    return client;
}

/* ---- tests ---- */

/* Whether the control connection is watched is the state's to say. */
static void watches_what_the_state_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        int client = begin_in(i);
        assert_int_equal(event_pending(&only_session()->readable, EV_READ, NULL) != 0, each[i].is_watched);
        sessions_end(&env, "the test says so");
        close(client);
    }
}

/* Early data is the stream's, and must not wake the session again and again until then. */
static void stops_watching_once_early_data_has_come(void **state)
{
    (void)state;
    int client = begin_in(2);
    struct session *session = only_session();
    assert_int_equal(session->state, SESSION_REACHING);
    say(client, "early", 5);
    session_on_readable(session->fd, EV_READ, session);
    assert_int_equal(session->state, SESSION_REACHING);
    assert_false(event_pending(&session->readable, EV_READ, NULL));
    int remote = accept_from(destination, &(union netaddr){0});
    expect(remote, "early", 5);
    close(client);
    close(remote);
    wait_until(TAILQ_EMPTY(&env.sessions) && TAILQ_EMPTY(&env.ended));
}

/* What it owned is gone at once, before the session itself is freed; the rest of the test looks for descriptors,
 * accounts and ports that were kept. */
static void ends_in_any_state_with_nothing_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        int client = begin_in(i);
        struct session *session = only_session();
        session_end(session, "the test says so", false);
        session_end(session, "twice", false);
        assert_int_equal(session->state, SESSION_ENDED);
        assert_true(!session->negotiation && !session->stream && !session->assoc && !session->payer);
        assert_int_equal(session->charges.taken, 0);
        assert_int_equal(session->descriptors, 0);
        assert_true(TAILQ_EMPTY(&env.sessions) && TAILQ_EMPTY(&env.waiting) && TAILQ_EMPTY(&env.dials));
        assert_int_equal(env.open.sessions + env.open.streams + env.open.associations, 0);
        close(client);
        wait_until(TAILQ_EMPTY(&env.ended));
    }
}

/* In a child, which writes no core and says nothing. */
static bool aborts_when_entering(struct session *session, enum session_state state)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        session_enter(session, state);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Neither a state that may not follow, nor one whose stream or association is missing. */
static void enters_no_other_state(void **state)
{
    (void)state;
    int client = negotiating();
    struct session *session = only_session();
    const enum session_state wrong[] = {SESSION_NEW,       SESSION_AT_HEADER, SESSION_NEGOTIATING, SESSION_REACHING,
                                        SESSION_AWAITING,  SESSION_STREAMING, SESSION_ASSOCIATED,  SESSION_FRAMED,
                                        SESSION_LINGERING, SESSION_ENDED};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_true(aborts_when_entering(session, wrong[i]));
    assert_false(aborts_when_entering(session, SESSION_CHECKING));
    sessions_end(&env, "the test says so");
    close(client);
}

int main(void)
{

    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(watches_what_the_state_needs, begin_with_destination, end_with_destination),
        cmocka_unit_test_setup_teardown(stops_watching_once_early_data_has_come, begin_with_destination,
                                        end_with_destination),
        cmocka_unit_test_setup_teardown(ends_in_any_state_with_nothing_left, begin_with_destination,
                                        end_with_destination),
        cmocka_unit_test_setup_teardown(enters_no_other_state, begin_with_destination, end_with_destination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
