/* An association that leaves by an upstream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "association.h"
#include "proxy/assoc/sketch.h"

static struct config_upstream far = {.port = 1080};
static union netaddr relay;
static int control[2]; /* ours, the upstream's */
static int answers, ends;
static enum socks5_reply answered;

static void on_answered(void *arg, enum socks5_reply code)
{
    (void)arg;
    answers++;
    answered = code;
}

static void on_ended(void *arg, const char *why)
{
    (void)arg, (void)why;
    ends++;
}

static int begin_by_upstream(void **state)
{
    begin(state);
    far.name = (char *)(uintptr_t) "far";
    far.host.address = addr("198.51.100.9", 0);
    world_config.upstreams = &far;
    world_config.upstream_count = 1;
    world_config.outbound.upstream = far.name;
    world_upstream = addr("198.51.100.9", 1080);
    world_upstream_local = addr("198.51.100.1", 5555);
    relay = addr("198.51.100.9", 4000);
    answers = ends = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control), 0);
    const struct assoc_upstream_hooks hooks = {on_answered, on_ended, NULL};
    open_plain();
    assert_true(assoc_expect_upstream(assoc, &hooks));
    return 0;
}

static int end_by_upstream(void **state)
{
    close(control[1]);
    return end(state);
}

static void grant(const char *host, uint16_t port)
{
    const union netaddr bound = addr(host, port);
    assert_true(world_upstream_answers(SOCKS5_REPLY_SUCCEEDED, control[0], &bound));
}

/* What arrives at the upstream's relay: the header of `to`, then the text. */
static void expect_at_relay(const uint8_t *bytes, size_t len)
{
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, &relay));
    assert_true(netaddr_equal_host(&out->from, &world_upstream_local));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, bytes, len);
}

static void expect_up_to(const union netaddr *to, const char *text)
{
    uint8_t bytes[512];
    expect_at_relay(bytes, wrap(bytes, to, text));
}

static bool from_relay_at(const union netaddr *from, const void *bytes, size_t len)
{
    bool taken = world_arrive(from, &flow()->external[FAMILY_V4], bytes, len);
    world_run();
    return taken;
}

static void from_relay(const union netaddr *origin, const char *text)
{
    uint8_t bytes[512];
    assert_true(from_relay_at(&relay, bytes, wrap(bytes, origin, text)));
}

/* As endpoint-independent as the upstream is: the client gets every sender that the upstream names. */
static void both_ways_for_all_destinations(void **state)
{
    (void)state;
    grant("198.51.100.9", 4000);
    assert_int_equal(answers, 1);
    assert_int_equal(answered, SOCKS5_REPLY_SUCCEEDED);
    from_client(&server, "one");
    expect_up_to(&server, "one");
    from_client(&server6, "six"); /* by the same socket */
    expect_up_to(&server6, "six");
    from_relay(&server2, "anybody");
    expect_down(&client, &server2, "anybody");
    from_relay(&server6, "six");
    expect_down(&client, &server6, "six");
    assert_int_equal(flow()->up_datagrams, 2);
    assert_int_equal(flow()->up_bytes, 6);
    assert_int_equal(flow()->down_bytes, 10);
    assert_string_equal(assoc_upstream(assoc), "far");
}

static void a_relay_without_an_address_is_where_the_upstream_is(void **state)
{
    (void)state;
    grant("0.0.0.0", 4000);
    from_client(&server, "x");
    expect_up_to(&server, "x");
}

static void names_are_sent_on(void **state)
{
    (void)state;
    static const char name[] = "a-name-that-is-longer-than-an-address-is.example";
    uint8_t bytes[512];
    grant("198.51.100.9", 4000);
    from_client_by_name(name, 53, "text");
    expect_at_relay(bytes, wrap_name(bytes, name, 53, "text"));
    assert_int_equal(world_pending_queries(), 0);
    assert_int_equal(flow()->up_bytes, 4);
    assert_int_equal(sketch_estimate(flow()->destinations), 1);
    from_client_by_name(name, 0, "text");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 1);
}

/* Row 26. */
static void what_is_denied_is_not_sent(void **state)
{
    (void)state;
    grant("198.51.100.9", 4000);
    const union netaddr multicast = addr("224.0.0.1", 53);
    from_client(&multicast, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
}

static void what_is_no_answer_of_the_relay_is_dropped(void **state)
{
    (void)state;
    uint8_t bytes[512];
    grant("198.51.100.9", 4000);
    from_client(&server, "x");
    expect_up_to(&server, "x");
    size_t len = wrap(bytes, &server, "");
    for (size_t cut = 0; cut < len; cut++)
        from_relay_at(&relay, bytes, cut);
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], len);
    from_relay_at(&relay, bytes, wrap_name(bytes, "no name", 53, "x"));
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], len + 1);
    len = wrap(bytes, &server, "x");
    bytes[2] = 1;
    from_relay_at(&relay, bytes, len);
    assert_int_equal(flow()->dropped[DROP_FRAGMENT], 1);
    bytes[2] = 0;
    assert_false(from_relay_at(&server, bytes, len)); /* the socket is connected */
    expect_nothing();
    from_relay(&server, "y");
    expect_down(&client, &server, "y");
}

static void runs_are_cut_where_the_origin_changes(void **state)
{
    (void)state;
    uint8_t bytes[512];
    grant("198.51.100.9", 4000);
    from_client(&server, "x");
    expect_up_to(&server, "x");
    size_t len = wrap(bytes, &server, "one");
    wrap(bytes + len, &server, "two");
    wrap(bytes + 2 * len, &server2, "or");
    assert_true(world_arrive_run(&relay, &flow()->external[FAMILY_V4], bytes, 3 * len - 1, len));
    world_run();
    expect_down(&client, &server, "one");
    expect_down(&client, &server, "two");
    expect_down(&client, &server2, "or");
    expect_nothing();
}

static void before_the_answer_nothing_leaves(void **state)
{
    (void)state;
    from_client(&server, "x");
    from_client_by_name("server.example", 53, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 2);
    close(control[0]);
}

static void a_refusal_is_passed_on(void **state)
{
    (void)state;
    const union netaddr none = addr("0.0.0.0", 0);
    assert_true(world_upstream_answers(SOCKS5_REPLY_COMMAND_NOT_SUPPORTED, -1, &none));
    assert_int_equal(answered, SOCKS5_REPLY_COMMAND_NOT_SUPPORTED);
    close(control[0]);
}

/* Row 69: addresses that the upstream knows its relay by, but that are not there as seen from here; and nobody's. */
static void row_69_a_relay_that_cannot_be_there_is_where_the_upstream_is(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1",         "10.1.2.3",       "192.168.1.2",
                                        "fd00::1",   "169.254.1.1", "fe80::1",        "0.0.0.0",
                                        "::",        "224.0.0.1",   "255.255.255.255"};
    end_by_upstream(state);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        begin_by_upstream(state);
        grant(hosts[i], 4000);
        assert_int_equal(answered, SOCKS5_REPLY_SUCCEEDED);
        from_client(&server, "x");
        expect_up_to(&server, "x");
        end_by_upstream(state);
    }
    begin_by_upstream(state);
    close(control[0]);
}

static void row_69_a_private_relay_of_a_private_upstream_is_believed(void **state)
{
    static const char *const upstreams[] = {"10.1.1.1", "127.0.0.1"};
    end_by_upstream(state);
    for (size_t i = 0; i < sizeof(upstreams) / sizeof(upstreams[0]); i++) {
        begin_by_upstream(state);
        world_upstream = addr(upstreams[i], 1080);
        relay = addr("10.1.2.3", 4000);
        grant("10.1.2.3", 4000);
        from_client(&server, "x");
        expect_up_to(&server, "x");
        end_by_upstream(state);
    }
    begin_by_upstream(state);
    close(control[0]);
}

static void a_relay_without_a_port(void **state)
{
    (void)state;
    grant("198.51.100.9", 0);
    assert_int_equal(answered, SOCKS5_REPLY_GENERAL_FAILURE);
}

static void expect_down_by_name(const char *name, const char *text)
{
    uint8_t bytes[512];
    const size_t len = wrap_name(bytes, name, 53, text);
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, &client));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, bytes, len);
}

/* v2ray and its like answer under the name that was asked for. */
static void row_69_an_origin_that_is_a_name_is_passed_on(void **state)
{
    (void)state;
    static const char name[] = "A-name.that-is-longer-than-an-address-is.example";
    uint8_t bytes[512];
    grant("198.51.100.9", 4000);
    from_client_by_name("other.example", 53, "x");
    (void)world_next_sent();
    pass(1000);
    from_relay_at(&relay, bytes, wrap_name(bytes, name, 53, "text"));
    expect_down_by_name(name, "text");
    size_t len = wrap_name(bytes, name, 53, "one");
    wrap_name(bytes + len, name, 53, "two");
    wrap_name(bytes + 2 * len, "b.example", 53, "or");
    assert_true(world_arrive_run(&relay, &flow()->external[FAMILY_V4], bytes, 2 * len + 3 + 1 + 1 + 9 + 2 + 2, len));
    world_run();
    expect_down_by_name(name, "one");
    expect_down_by_name(name, "two");
    expect_down_by_name("b.example", "or");
    expect_nothing();
    assert_int_equal(flow()->down_datagrams, 4);
    assert_int_equal(flow()->down_bytes, 12);
    assert_int_equal(assoc_idle_ms(assoc, world_now_ms), 0);
}

/* Its mapping is gone with it. */
static void it_ends_with_the_control_connection_there(void **state)
{
    (void)state;
    grant("198.51.100.9", 4000);
    world_run();
    assert_int_equal(ends, 0);
    assert_int_equal(write(control[1], "?", 1), 1); /* of no meaning */
    world_run();
    assert_int_equal(ends, 0);
    shutdown(control[1], SHUT_RDWR);
    world_run();
    assert_int_equal(ends, 1);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin_by_upstream, end_by_upstream)
    const struct CMUnitTest tests[] = {
        T(both_ways_for_all_destinations),
        T(a_relay_without_an_address_is_where_the_upstream_is),
        T(names_are_sent_on),
        T(what_is_denied_is_not_sent),
        T(what_is_no_answer_of_the_relay_is_dropped),
        T(runs_are_cut_where_the_origin_changes),
        T(before_the_answer_nothing_leaves),
        T(a_refusal_is_passed_on),
        T(row_69_a_relay_that_cannot_be_there_is_where_the_upstream_is),
        T(row_69_a_private_relay_of_a_private_upstream_is_believed),
        T(a_relay_without_a_port),
        T(row_69_an_origin_that_is_a_name_is_passed_on),
        T(it_ends_with_the_control_connection_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
