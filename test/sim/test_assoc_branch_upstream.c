/* Branches that leave by an upstream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "association.h"
#include "proxy/assoc/dgram_queue.h"

static struct config_upstream far = {.port = 1080};
static union netaddr client2, relay;
static int control[4][2];    /* ours, the upstream's */
static size_t control_count; /* that are in use */

static void on_answered(void *arg, enum socks5_reply code)
{
    (void)arg;
    assert_int_equal(code, SOCKS5_REPLY_SUCCEEDED);
}

static void on_ended(void *arg, const char *why)
{
    (void)arg, (void)why;
    fail();
}

/* A branch's relay at the upstream has a port of its own: 4000, 4001 ... */
static void grant(void)
{
    relay = addr("198.51.100.9", (uint16_t)(4000 + control_count));
    assert_true(world_upstream_answers(SOCKS5_REPLY_SUCCEEDED, control[control_count][0], &relay));
    control_count++;
    world_run();
}

static void refuse(void)
{
    const union netaddr none = addr("0.0.0.0", 0);
    assert_true(world_upstream_answers(SOCKS5_REPLY_GENERAL_FAILURE, -1, &none));
}

static int begin_by_upstream(void **state)
{
    static const struct assoc_upstream_hooks hooks = {on_answered, on_ended, NULL};
    begin(state);
    client2 = addr("10.0.0.2", 7002);
    far.name = (char *)(uintptr_t) "far";
    far.host.address = addr("198.51.100.9", 0);
    world_config.upstreams = &far;
    world_config.upstream_count = 1;
    world_config.outbound.upstream = far.name;
    world_config.udp.client_ports = 2;
    world_upstream = addr("198.51.100.9", 1080);
    world_upstream_local = addr("198.51.100.1", 5555);
    control_count = 0;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, control[i]), 0);
    open_plain();
    assert_true(assoc_expect_upstream(assoc, &hooks));
    grant();
    return 0;
}

static int end_by_upstream(void **state)
{
    const int result = end(state);
    for (size_t i = 0; i < 4; i++) {
        if (i >= control_count)
            close(control[i][0]);
        close(control[i][1]);
    }
    return result;
}

static void expect_at(uint16_t port, const union netaddr *to, const char *text)
{
    const union netaddr there = addr("198.51.100.9", port);
    uint8_t bytes[512];
    const size_t len = wrap(bytes, to, text);
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, &there));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, bytes, len);
}

static void from_relay(const union netaddr *to, uint16_t port, const union netaddr *origin, const char *text)
{
    const union netaddr there = addr("198.51.100.9", port);
    struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
    uint8_t bytes[512];
    union netaddr external = world_upstream_local;
    for (size_t i = assoc_mappings(assoc, mappings); i-- > 0;)
        if (mappings[i].client_port == netaddr_port(to))
            netaddr_set_port(&external, mappings[i].external_port[FAMILY_V4]);
    assert_true(world_arrive(&there, &external, bytes, wrap(bytes, origin, text)));
    world_run();
}

static void another_port_has_another_association_there(void **state)
{
    (void)state;
    from_client(&server, "first");
    expect_at(4000, &server, "first");
    from_client_at(&client2, &server, "waits");
    from_client_at(&client2, &server6, "too");
    expect_nothing();
    assert_string_equal(world_upstream_asked(), "far");
    grant();
    expect_at(4001, &server, "waits");
    expect_at(4001, &server6, "too");
    from_client_at(&client2, &server2, "goes");
    expect_at(4001, &server2, "goes");
    from_relay(&client2, 4001, &server, "back");
    expect_down(&client2, &server, "back");
    from_relay(&client, 4000, &server, "first back");
    expect_down(&client, &server, "first back");
    assert_int_equal(flow()->up_datagrams, 4);
    assert_int_equal(flow()->up_bytes, 5 + 5 + 3 + 4);
    assert_int_equal(assoc_descriptors(assoc), 5);
}

static void names_wait_as_they_are(void **state)
{
    (void)state;
    uint8_t bytes[512], expected[512];
    from_client(&server, "x");
    expect_at(4000, &server, "x");
    const size_t len = wrap_name(expected, "game.example", 53, "text");
    assert_true(world_arrive(&client2, &flow()->relay, bytes, wrap_name(bytes, "game.example", 53, "text")));
    world_run();
    expect_nothing();
    grant();
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, expected, len);
    assert_int_equal(flow()->up_bytes, 1 + 4);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    from_client(&server, "x");
    expect_at(4000, &server, "x");
    for (int i = 0; i < DGRAM_QUEUE_COUNT + 3; i++)
        from_client_at(&client2, &server, "waits");
    assert_int_equal(flow()->dropped[DROP_QUEUE_FULL], 3);
    grant();
    for (int i = 0; i < DGRAM_QUEUE_COUNT; i++)
        expect_at(4001, &server, "waits");
    expect_nothing();
}

static void a_refusal_is_counted_and_asked_again_later(void **state)
{
    (void)state;
    from_client(&server, "x");
    expect_at(4000, &server, "x");
    from_client_at(&client2, &server, "waits");
    refuse();
    assert_int_equal(flow()->dropped[DROP_NO_UPSTREAM], 1);
    pass(999);
    from_client_at(&client2, &server, "too early");
    assert_null(world_upstream_asked());
    assert_int_equal(flow()->dropped[DROP_NO_UPSTREAM], 2);
    pass(1);
    from_client_at(&client2, &server, "waits");
    refuse();
    pass(1999);
    from_client_at(&client2, &server, "too early");
    assert_null(world_upstream_asked());
    pass(1);
    from_client_at(&client2, &server, "waits");
    grant();
    expect_at(4001, &server, "waits");
    from_client(&server, "the first continues");
    expect_at(4000, &server, "the first continues");
}

static void its_end_there_is_not_the_association_s(void **state)
{
    (void)state;
    from_client(&server, "x");
    expect_at(4000, &server, "x");
    from_client_at(&client2, &server, "y");
    grant();
    expect_at(4001, &server, "y");
    shutdown(control[1][1], SHUT_RDWR);
    world_run();
    assert_int_equal(assoc_descriptors(assoc), 3 + 1);
    pass(1000);
    from_client_at(&client2, &server, "again");
    grant();
    expect_at(4002, &server, "again");
    from_relay(&client2, 4002, &server, "back");
    expect_down(&client2, &server, "back");
}

static void it_ends_while_it_waits(void **state)
{
    (void)state;
    from_client(&server, "x");
    expect_at(4000, &server, "x");
    from_client_at(&client2, &server, "waits");
    assoc_free(assoc);
    assoc = NULL;
    assert_null(world_upstream_asked());
    assert_int_equal(world_env.loans.lent, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_by_upstream, end_by_upstream)
    const struct CMUnitTest tests[] = {
        TEST(another_port_has_another_association_there),
        TEST(names_wait_as_they_are),
        TEST(the_queue_is_bounded),
        TEST(a_refusal_is_counted_and_asked_again_later),
        TEST(its_end_there_is_not_the_association_s),
        TEST(it_ends_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
