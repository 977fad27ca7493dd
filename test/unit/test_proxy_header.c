#include "test.h"

#include "base/util.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/negotiation.h"
#include "proxy/session/proxy_header.h"
#include "proxy/session/session_impl.h"
#include "support/loopback.h"
#include "support/own_addresses.h"

#define ALICE      "192.0.2.7"
#define V1_ALICE   "PROXY TCP4 " ALICE " 198.51.100.9 12345 1080\r\n"
#define V1_ALICE_6 "PROXY TCP6 2001:db8::7 2001:db8::9 12345 1080\r\n"
#define V1_HERE    "PROXY TCP4 127.0.0.1 198.51.100.9 12345 1080\r\n"
#define V1_HERE_6  "PROXY TCP6 ::1 2001:db8::9 12345 1080\r\n"
#define V1_UNKNOWN "PROXY UNKNOWN\r\n"
#define V2         "\r\n\r\n\0\r\nQUIT\n"
#define V2_ALICE   V2 "\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\x09\x30\x39\4\x38"
#define V2_MAPPED                                                                                                      \
    V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7\x30\x39\4\x38"
#define V2_LOCAL V2 "\x20\0\0\0"

static const uint8_t chosen_none[] = {5, 0};

static int new_balanced(const char *from)
{
    struct config_network network = {.address = at(from, 0), .bits = 32};
    const struct config_listener as = {
        .proxy_protocol = CONFIG_PROXY_PROTOCOL_REQUIRED, .proxy_from = &network, .proxy_from_count = 1};
    return new_client_of(&as);
}

static uint64_t refused(void)
{
    return atomic_load(&env.metrics.proxy_protocol_refused_total);
}

static struct session *only_session(void)
{
    struct session *session = TAILQ_FIRST(&env.sessions);
    assert_non_null(session);
    assert_null(TAILQ_NEXT(session, link));
    return session;
}

static void assert_peer(const char *host, uint16_t port)
{
    char expected[NETADDR_TEXT_MAX], is[NETADDR_TEXT_MAX];
    const union netaddr peer = at(host, port);
    netaddr_format(&peer, expected);
    assert_string_equal(netaddr_format(&only_session()->peer, is), expected);
}

/* ---- row 53: what is refused ---- */

static void row_53_an_untrusted_source(void **state)
{
    (void)state;
    int client = new_balanced("127.0.0.2");
    assert_true(TAILQ_EMPTY(&env.sessions));
    expect_end(client);
    assert_int_equal(refused(), 1);
    close(client);
}

static void row_53_no_header_or_a_bad_one(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\5\1\0", 3},                         /* absent */
        {"GET / HTTP/1.1\r\n\r\n", 18},        /* likewise */
        {"PROXY TCP4 192.0.2.7\r\n", 22},      /* malformed */
        {V2 "\x21\x11\0\4\1\2\3\4", 20},       /* likewise */
        {V2 "\x21\x11\xff\xff\xc0\0\2\7", 20}, /* oversized */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int client = new_balanced("127.0.0.1");
        say(client, bad[i].bytes, bad[i].len);
        wait_until(TAILQ_EMPTY(&env.sessions));
        assert_int_equal(refused(), i + 1);
        close(client);
    }
}

/* The deadline counts from accept, header included. */
static void row_53_a_slow_header(void **state)
{
    (void)state;
    int silent = new_balanced("127.0.0.1"), slow = new_balanced("127.0.0.1"), done = new_balanced("127.0.0.1");
    for (size_t i = 0; i < 9; i++) {
        say(slow, &V1_ALICE[i], 1);
        if (i == 5)
            say(done, V1_ALICE, sizeof(V1_ALICE) - 1);
        turn();
        now_ms += 1000;
        sessions_sweep(&env);
        assert_false(TAILQ_EMPTY(&env.sessions));
    }
    now_ms += 1000;
    sessions_sweep(&env);
    assert_true(TAILQ_EMPTY(&env.sessions));
    assert_int_equal(refused(), 2); /* `done` has sent its header: it is an ordinary slow handshake */
    close(silent);
    close(slow);
    close(done);
}

/* ---- what is heard ---- */

/* Row 17: cut at every byte, and whole, with the handshake and early data behind. */
static void row_17_no_byte_is_lost(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } headers[] = {{V1_HERE, sizeof(V1_HERE) - 1}, {V2_LOCAL, sizeof(V2_LOCAL) - 1}};
    static const char early[] = "early data";
    union netaddr where, peer;
    int destination = listen_at("127.0.0.1", &where);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        uint8_t bytes[500];
        size_t len = headers[i].len;
        memcpy(bytes, headers[i].bytes, len);
        len += make_request(bytes + len, SOCKS5_COMMAND_CONNECT, &where);
        memcpy(bytes + len, early, sizeof(early));
        len += sizeof(early);
        for (size_t cut = 0; cut <= len; cut++) {
            int client = new_balanced("127.0.0.1");
            say(client, bytes, cut);
            for (int turns = 0; turns < 5; turns++)
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
    }
    close(destination);
    assert_int_equal(refused(), 0);
}

static void the_longest_header_is_taken(void **state)
{
    (void)state;
    uint8_t header[1024] = V2 "\x21\x11\x03\xf0\xc0\0\2\7\xc6\x33\x64\x09\x30\x39\4\x38";
    int client = new_balanced("127.0.0.1");
    say(client, header, 1000);
    for (int turns = 0; turns < 5; turns++)
        turn();
    say(client, header + 1000, 24);
    say(client, "\5\1\0", 3);
    expect(client, chosen_none, 2);
    assert_peer(ALICE, 12345);
    close(client);
}

static void the_client_is_who_is_announced(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *client; /* NULL: the balancer itself */
    } headers[] = {
        {V1_ALICE, sizeof(V1_ALICE) - 1, ALICE},    {V1_ALICE_6, sizeof(V1_ALICE_6) - 1, "2001:db8::7"},
        {V2_ALICE, sizeof(V2_ALICE) - 1, ALICE},    {V2_MAPPED, sizeof(V2_MAPPED) - 1, ALICE},
        {V1_UNKNOWN, sizeof(V1_UNKNOWN) - 1, NULL}, {V2_LOCAL, sizeof(V2_LOCAL) - 1, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        int client = new_balanced("127.0.0.1");
        const union netaddr own = sock_local(client);
        say(client, headers[i].bytes, headers[i].len);
        say(client, "\5\1\0", 3);
        expect(client, chosen_none, 2);
        assert_peer(headers[i].client ? headers[i].client : "127.0.0.1",
                    headers[i].client ? 12345 : netaddr_port(&own));
        close(client);
        wait_until(TAILQ_EMPTY(&env.sessions));
    }
}

static void who_announces_itself_is_itself(void **state)
{
    (void)state;
    char header[128];
    int client = new_balanced("127.0.0.1");
    const union netaddr own = sock_local(client);
    int len = snprintf(header, sizeof(header), "PROXY TCP4 127.0.0.1 127.0.0.1 %u 1080\r\n", netaddr_port(&own));
    say(client, header, (size_t)len);
    wait_until(only_session()->state == SESSION_NEGOTIATING);
    assert_int_equal(only_session()->negotiation->origin, ORIGIN_BALANCER);
    close(client);
}

/* ---- limits ---- */

/* Before its header a connection is nobody's yet; after it, its client's. */
static void limits_are_the_clients_own(void **state)
{
    (void)state;
    config.limits.handshakes_per_client = 1;
    int a = new_balanced("127.0.0.1"), b = new_balanced("127.0.0.1"), c = new_balanced("127.0.0.1");
    assert_int_equal(quota_size(env.quota), 0);
    assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_SESSIONS), 3);
    say(a, V1_ALICE "\5\1\0", sizeof(V1_ALICE) + 2);
    say(b, V1_HERE "\5\1\0", sizeof(V1_HERE) + 2);
    expect(a, chosen_none, 2);
    expect(b, chosen_none, 2);
    assert_int_equal(quota_size(env.quota), 2);
    say(c, V1_ALICE, sizeof(V1_ALICE) - 1);
    expect_end(c);
    assert_int_equal(atomic_load(&env.metrics.limited_handshakes_per_client_total), 1);
    assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_SESSIONS), 2);
    assert_int_equal(refused(), 0);
    close(a);
    close(b);
    close(c);
}

static void all_together_have_a_limit_before_their_headers(void **state)
{
    (void)state;
    config.limits.sessions = 1;
    int a = new_balanced("127.0.0.1"), b = new_balanced("127.0.0.1");
    expect_end(b);
    assert_int_equal(atomic_load(&env.metrics.limited_sessions_total), 1);
    close(a);
    close(b);
}

/* It is counted among all from accept on: its header takes no place, and gives none away. */
static void a_connection_keeps_its_place_among_all(void **state)
{
    (void)state;
    config.limits.sessions = 2;
    int a = new_balanced("127.0.0.1"), b = new_balanced("127.0.0.1");
    now_ms += 3000; /* either could be ended to make room */
    config.limits.sessions = 1;
    say(a, V1_ALICE "\5\1\0", sizeof(V1_ALICE) + 2);
    say(b, V1_HERE "\5\1\0", sizeof(V1_HERE) + 2);
    expect(a, chosen_none, 2);
    expect(b, chosen_none, 2);
    assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_SESSIONS), 2);
    close(a);
    close(b);
    wait_until(TAILQ_EMPTY(&env.sessions));
    assert_int_equal(quota_held(quota_of_all(env.quota), QUOTA_SESSIONS), 0);
}

/* ---- datagrams ---- */

static struct assoc *associate(int client, const void *header, size_t len)
{
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t request[300], reply[22];
    say(client, header, len);
    say(client, request, make_request(request, SOCKS5_COMMAND_UDP_ASSOCIATE, &any));
    expect(client, chosen_none, 2);
    wait_until(recv(client, reply, sizeof(reply), MSG_DONTWAIT) >= 10);
    assert_int_equal(reply[1], SOCKS5_REPLY_SUCCEEDED);
    return only_session()->assoc;
}

/* The relay's address is of the client's family, whatever the balancer's is; and what may send there is the client. */
static void a_relay_is_of_the_clients_family(void **state)
{
    (void)state;
    const union netaddr v6 = at("::1", 0);
    if (!sock_has_route(&v6, NULL))
        SKIP_TEST("no IPv6 here");
    int client = new_balanced("127.0.0.1");
    const struct assoc_flow *flow = assoc_flow(associate(client, V1_HERE_6, sizeof(V1_HERE_6) - 1));
    assert_true(netaddr_equal_host(&only_session()->peer, &v6));
    assert_true(netaddr_equal_host(&flow->relay, &v6));
    close(client);
}

static void a_relay_is_where_the_advertised_address_is(void **state)
{
    (void)state;
    const union netaddr client = at("127.0.0.1", 12345), outside = at("198.51.100.7", 0), source = at("127.0.0.1", 0);
    env.policy.advertised[FAMILY_V4] = outside; /* a router's, which hands on to us */
    union netaddr relay = proxy_header_relay(&env, &client);
    assert_true(netaddr_equal(&relay, &source));
    env.policy.own_hosts = hosts_of(&outside, 1); /* ours: an answer must come from there */
    relay = proxy_header_relay(&env, &client);
    assert_true(netaddr_equal(&relay, &outside));
    own_hosts_release(env.policy.own_hosts);
    env.policy.own_hosts = NULL;
}

static void a_client_that_no_route_leads_to(void **state)
{
    (void)state;
    static const char header[] = "PROXY TCP6 fe80::7 2001:db8::9 12345 1080\r\n"; /* on which link? */
    const union netaddr any = at("0.0.0.0", 0);
    uint8_t request[300];
    int client = new_balanced("127.0.0.1");
    say(client, header, sizeof(header) - 1);
    say(client, request, make_request(request, SOCKS5_COMMAND_UDP_ASSOCIATE, &any));
    expect(client, chosen_none, 2);
    expect_refusal(client, SOCKS5_REPLY_NETWORK_UNREACHABLE);
    close(client);
}

/* ---- leaving ---- */

static void a_balancer_may_leave_at_any_byte(void **state)
{
    (void)state;
    static const char bytes[] = V2_ALICE "\5\1\0";
    for (size_t cut = 0; cut < sizeof(bytes); cut++) {
        for (int reset = 0; reset <= 1; reset++) {
            int client = new_balanced("127.0.0.1");
            say(client, bytes, cut);
            if (cut % 2)
                turn();
            if (reset)
                sock_abort(client);
            else
                close(client);
        }
    }
    wait_until(TAILQ_EMPTY(&env.sessions));
    assert_int_equal(refused(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(row_53_an_untrusted_source),
        TEST(row_53_no_header_or_a_bad_one),
        TEST(row_53_a_slow_header),
        TEST(row_17_no_byte_is_lost),
        TEST(the_longest_header_is_taken),
        TEST(the_client_is_who_is_announced),
        TEST(who_announces_itself_is_itself),
        TEST(limits_are_the_clients_own),
        TEST(all_together_have_a_limit_before_their_headers),
        TEST(a_connection_keeps_its_place_among_all),
        TEST(a_relay_is_of_the_clients_family),
        TEST(a_relay_is_where_the_advertised_address_is),
        TEST(a_client_that_no_route_leads_to),
        TEST(a_balancer_may_leave_at_any_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
