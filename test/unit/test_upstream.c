/* Streams that leave by an upstream, which is played by the test. */
#include "test.h"

#include <stdlib.h>

#include "base/util.h"
#include "support/bytes.h"
#include "support/dns_server.h"
#include "support/loopback.h"

static union netaddr where; /* the upstream */
static int upstream;
static int client, remote;
static struct config_upstream far;

static int begin_with_upstream(void **state)
{
    begin(state);
    upstream = listen_at("127.0.0.1", &where);
    far = (struct config_upstream){.name = (char *)(uintptr_t) "far", .port = netaddr_port(&where)};
    far.host.address = at("127.0.0.1", 0);
    config.upstreams = &far;
    config.upstream_count = 1;
    config.outbound.upstream = far.name;
    return 0;
}

static int end_with_upstream(void **state)
{
    close(upstream);
    return end(state);
}

static void say_text(int fd, const char *text)
{
    uint8_t bytes[600];
    say(fd, bytes, bytes_from_text(text, bytes, sizeof(bytes)));
}

static void expect_text(int fd, const char *text)
{
    uint8_t bytes[600];
    expect(fd, bytes, bytes_from_text(text, bytes, sizeof(bytes)));
}

/* A client that asks for CONNECT to the rest of a request, from ATYP on. */
static void ask(const char *destination)
{
    client = new_client(false);
    say_text(client, "05 01 00");
    expect_text(client, "05 00");
    say_text(client, "05 01 00");
    say_text(client, destination);
}

static void meet(void)
{
    union netaddr peer;
    remote = accept_from(upstream, &peer);
    expect_text(remote, "05 01 00");
}

static void hang_up(void)
{
    close(client);
    close(remote);
}

/* The upstream resolves names, and what it has bound is what the client is told; both ways, with early data. */
static void a_name_is_sent_on_as_it_is(void **state)
{
    (void)state;
    ask("03 04 'Host' 0050");
    say_text(client, "'early'");
    meet();
    say_text(remote, "05 00");
    expect_text(remote, "05 01 00 03 04 'host' 0050");
    say_text(remote, "05 00 00 01 c0000209 0bb8 'banner'");
    expect_text(client, "05 00 00 01 c0000209 0bb8 'banner'");
    expect_text(remote, "'early'");
    assert_int_equal(env.metrics.upstream_requests_total, 1);
    assert_int_equal(env.metrics.lookups_total, 0);
    shutdown(client, SHUT_WR);
    expect_end(remote);
    hang_up();
}

static void an_address_is_judged_and_sent_on(void **state)
{
    (void)state;
    ask("01 7f000001 0050");
    meet();
    say_text(remote, "05 00");
    expect_text(remote, "05 01 00 01 7f000001 0050");
    say_text(remote, "05 00 00 03 04 'node' 0bb8");
    expect_text(client, "05 00 00 01 00000000 0bb8");
    hang_up();

    config.active_reach = CONFIG_REACH_PUBLIC;
    ask("01 7f000001 0050");
    expect_refusal(client, SOCKS5_REPLY_NOT_ALLOWED);
    close(client);
}

static void log_in(const char *status)
{
    union netaddr peer;
    far.user = (char *)(uintptr_t) "me";
    far.password = (char *)(uintptr_t) "secret";
    ask("03 01 'x' 0050");
    remote = accept_from(upstream, &peer);
    expect_text(remote, "05 02 00 02");
    say_text(remote, "05 02");
    expect_text(remote, "01 02 'me' 06 'secret'");
    say_text(remote, status);
    expect_text(remote, "05 01 00 03 01 'x' 0050");
    say_text(remote, "05 00 00 01 c0000209 0bb8");
    expect_text(client, "05 00 00 01 c0000209 0bb8");
    hang_up();
}

static void it_is_logged_in_there(void **state)
{
    (void)state;
    log_in("01 00");
}

static void row_69_a_status_with_the_version_of_socks(void **state)
{
    (void)state;
    log_in("05 00");
}

/* Its word on the destination is the client's; whatever else goes wrong is a general failure. */
static void answers_and_what_the_client_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *choice, *reply;
        uint8_t code;
        uint64_t failed;
    } rows[] = {
        {"05 00", "05 02 00 01 00000000 0000", 2, 0},
        {"05 00", "05 05 00 01 00000000 0000", 5, 0},
        {"05 00", "05 08 00 01 00000000 0000", 8, 0},
        {"05 00", "05 5b 00 01 00000000 0000", 1, 0},
        {"05 00", "04 00 00 01 00000000 0000", 1, 1},
        {"05 00", "'HTTP/1.1 400'", 1, 1},
        {"05 02", NULL, 1, 1},
        {"05 ff", NULL, 1, 1},
        {"'HTTP/1.1 400'", NULL, 1, 1},
        {"", NULL, 1, 1}, /* and then nothing */
        {"05", NULL, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t before = env.metrics.upstream_failed_total;
        ask("03 01 'x' 0050");
        meet();
        say_text(remote, rows[i].choice);
        if (rows[i].reply) {
            expect_text(remote, "05 01 00 03 01 'x' 0050");
            say_text(remote, rows[i].reply);
        }
        if (strlen(rows[i].choice) < 4)
            shutdown(remote, SHUT_WR);
        expect_refusal(client, rows[i].code);
        assert_int_equal(env.metrics.upstream_failed_total - before, rows[i].failed);
        hang_up();
    }
}

static void byte_by_byte(void **state)
{
    (void)state;
    static const uint8_t reply[] = {5, 0, 0, 1, 192, 0, 2, 9, 11, 184};
    ask("03 01 'x' 0050");
    meet();
    say(remote, "\5", 1);
    for (int i = 0; i < 5; i++)
        turn();
    say(remote, "\0", 1);
    expect_text(remote, "05 01 00 03 01 'x' 0050");
    for (size_t i = 0; i < sizeof(reply); i++) {
        say(remote, reply + i, 1);
        turn();
    }
    expect_text(client, "05 00 00 01 c0000209 0bb8");
    hang_up();
}

static void one_that_is_silent_is_given_up(void **state)
{
    (void)state;
    config.timeouts.connect_ms = 100;
    ask("03 01 'x' 0050");
    meet();
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    expect_end(remote);
    hang_up();
    assert_int_equal(env.metrics.upstream_failed_total, 1);
}

static void row_69_one_that_waits_for_a_silent_destination_is_not_blamed(void **state)
{
    (void)state;
    config.timeouts.connect_ms = 300;
    ask("03 01 'x' 0050");
    meet();
    say_text(remote, "05 00");
    expect_text(remote, "05 01 00 03 01 'x' 0050");
    expect_refusal(client, SOCKS5_REPLY_TTL_EXPIRED);
    expect_end(remote);
    hang_up();
    assert_int_equal(env.metrics.upstream_failed_total, 0);
}

static void one_that_is_down(void **state)
{
    (void)state;
    close(upstream);
    ask("03 01 'x' 0050");
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    close(client);
    assert_int_equal(env.metrics.upstream_failed_total, 1);
    upstream = listen_at("127.0.0.1", &where);
}

static void a_reset_in_the_midst(void **state)
{
    (void)state;
    ask("03 01 'x' 0050");
    meet();
    sock_abort(remote);
    expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
    close(client);
}

static void a_client_that_leaves_meanwhile(void **state)
{
    (void)state;
    ask("03 01 'x' 0050");
    meet();
    say_text(remote, "05 00");
    sock_abort(client);
    expect_text(remote, "05 01 00 03 01 'x' 0050");
    say_text(remote, "05 00 00 01 c0000209 0bb8");
    wait_until(sock_is_lost(remote));
    close(remote);
}

static void one_with_a_name(void **state)
{
    (void)state;
    far.host = (struct config_host){.name = (char *)(uintptr_t) "localhost"};
    ask("03 01 'x' 0050");
    meet();
    say_text(remote, "05 00");
    expect_text(remote, "05 01 00 03 01 'x' 0050");
    hang_up();
}

/* The first address is connected to while the name server still owes the addresses of the other family. */
static void one_that_is_reached_before_its_aaaa_is_known(void **state)
{
    (void)state;
    static const char *const others[] = {"::1", NULL};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const struct dns_name names[] = {
            {.name = "far.test", .a = "127.0.0.1", .aaaa = others[i], .fault = DNS_LATE_AAAA}, {0}};
        struct dns_server server;
        assert_true(dns_server_open(&server, env.base, names, "127.0.0.1", 0));
        const struct resolver_options options = {
            .servers = &server.address, .server_count = 1, .timeout_ms = 5000, .release = lookup_release};
        assert_true(resolver_change(env.resolver, &options));
        far.host = (struct config_host){.name = (char *)(uintptr_t) "far.test"};
        ask("03 01 'x' 0050");
        meet();
        assert_false(LIST_EMPTY(&server.late));
        wait_until(LIST_EMPTY(&server.late));
        for (int turns = 0; turns < 20; turns++)
            turn();
        say_text(remote, "05 00");
        expect_text(remote, "05 01 00 03 01 'x' 0050");
        hang_up();
        dns_server_close(&server);
    }
}

/* Row 24. */
static void row_24_an_upstream_that_is_ourselves(void **state)
{
    (void)state;
    struct config_listener listening = {.address = at("0.0.0.0", netaddr_port(&where))};
    struct config_endpoint endpoint = {.address = listening.address};
    config.listen = &listening;
    config.endpoints = &endpoint;
    config.listen_count = config.endpoint_count = 1;
    const struct config_host hosts[] = {{.address = at("127.0.0.1", 0)}, {.name = (char *)(uintptr_t) "localhost"}};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        far.host = hosts[i];
        ask("03 01 'x' 0050");
        expect_refusal(client, SOCKS5_REPLY_GENERAL_FAILURE);
        close(client);
    }
    union netaddr peer;
    assert_int_equal(sock_accept(upstream, &peer), -EAGAIN); /* nobody has come */
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin_with_upstream, end_with_upstream)
    const struct CMUnitTest tests[] = {
        T(a_name_is_sent_on_as_it_is),
        T(an_address_is_judged_and_sent_on),
        T(it_is_logged_in_there),
        T(row_69_a_status_with_the_version_of_socks),
        T(answers_and_what_the_client_is_told),
        T(byte_by_byte),
        T(one_that_is_silent_is_given_up),
        T(row_69_one_that_waits_for_a_silent_destination_is_not_blamed),
        T(one_that_is_down),
        T(a_reset_in_the_midst),
        T(a_client_that_leaves_meanwhile),
        T(one_with_a_name),
        T(one_that_is_reached_before_its_aaaa_is_known),
        T(row_24_an_upstream_that_is_ourselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
