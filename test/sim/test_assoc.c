/*
 * The association in a world of the test's own: fake sockets, fake resolver, fake clock. Rows are those of the list of
 * attacks and faults that the integration tests name, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/dgram_io.h"
#include "proxy/assoc.h"
#include "world.h"

static struct assoc *assoc;
static union netaddr control_peer, control_local, client, server, server2, server6, stranger;
static const uint8_t no_hint[4];

static void open_with_hint(const char *host, uint16_t port)
{
    union netaddr hint = addr(host, port);
    size_t len;
    const uint8_t *bytes = netaddr_host(&hint, &len);
    struct socks5_addr wire = {
        .atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6, .host_len = (uint8_t)len, .host = bytes, .port = port};
    assert_int_equal(assoc_new(&assoc, &world_env, &control_peer, NULL, &control_local, &wire), 0);
}

static void open_plain(void)
{
    open_with_hint("0.0.0.0", 0);
}

static int begin(void **state)
{
    (void)state;
    world_begin();
    assoc = NULL;
    control_peer = addr("10.0.0.2", 5555);
    control_local = addr("10.0.0.1", 1080);
    client = addr("10.0.0.2", 7000);
    server = addr("192.0.2.10", 53);
    server2 = addr("192.0.2.11", 54);
    server6 = addr("2001:db8::10", 53);
    stranger = addr("10.0.0.66", 7000);
    return 0;
}

static int end(void **state)
{
    (void)state;
    assoc_free(assoc);
    world_run();
    assert_int_equal(world_open_sockets(), 0);
    assert_int_equal(world_pending_queries(), 0);
    world_end();
    return 0;
}

static const struct assoc_flow *flow(void)
{
    return assoc_flow(assoc);
}

/* A client's datagram: header for `to`, then the text. */
static size_t wrap(uint8_t *out, const union netaddr *to, const char *text)
{
    size_t len;
    const uint8_t *host = netaddr_host(to, &len);
    struct socks5_udp_header header = {.destination = {.atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6,
                                                       .host_len = (uint8_t)len,
                                                       .host = host,
                                                       .port = netaddr_port(to)}};
    size_t n = socks5_udp_header_encode(out, 64, &header);
    memcpy(out + n, text, strlen(text));
    return n + strlen(text);
}

static size_t wrap_name(uint8_t *out, const char *name, uint16_t port, const char *text)
{
    struct socks5_udp_header header = {
        .destination = {
            .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)strlen(name), .host = (const uint8_t *)name, .port = port}};
    size_t n = socks5_udp_header_encode(out, 300, &header);
    memcpy(out + n, text, strlen(text));
    return n + strlen(text);
}

static bool from_client_at(const union netaddr *from, const union netaddr *to, const char *text)
{
    uint8_t bytes[512];
    bool taken = world_arrive(from, &flow()->relay, bytes, wrap(bytes, to, text));
    world_run();
    return taken;
}

static void from_client(const union netaddr *to, const char *text)
{
    assert_true(from_client_at(&client, to, text));
}

static void from_client_by_name(const char *name, uint16_t port, const char *text)
{
    uint8_t bytes[512];
    assert_true(world_arrive(&client, &flow()->relay, bytes, wrap_name(bytes, name, port, text)));
    world_run();
}

static void from_internet(const union netaddr *from, const char *text)
{
    int slot = family_index(from->sa.sa_family);
    assert_true(world_arrive(from, &flow()->external[slot], text, strlen(text)));
    world_run();
}

static void expect_up(const union netaddr *to, const char *text)
{
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, to));
    assert_true(netaddr_equal(&out->from, &flow()->external[family_index(to->sa.sa_family)]));
    assert_int_equal(out->len, strlen(text));
    assert_memory_equal(out->bytes, text, out->len);
}

static void expect_down(const union netaddr *to, const union netaddr *origin, const char *text)
{
    uint8_t expected[512];
    size_t len = wrap(expected, origin, text);
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, to));
    assert_true(netaddr_equal(&out->from, &flow()->relay));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->bytes, expected, len);
}

static void expect_nothing(void)
{
    world_run();
    assert_null(world_next_sent());
}

static void pass(uint64_t ms)
{
    world_now_ms += ms;
}

static void expect_alive(void)
{
    from_client(&server, "ping");
    expect_up(&server, "ping");
    from_internet(&server, "pong");
    expect_down(&client, &server, "pong");
}

/* ---- mapping and filtering ---- */

static void one_external_socket_serves_every_destination(void **state)
{
    (void)state;
    open_plain();
    union netaddr mapping = flow()->external[FAMILY_V4];
    from_client(&server, "a");
    from_client(&server2, "b");
    expect_up(&server, "a");
    expect_up(&server2, "b");
    assert_true(netaddr_equal(&mapping, &flow()->external[FAMILY_V4]));
    assert_int_equal(world_open_sockets(), 2);
}

static void the_other_family_opens_at_first_use_and_stays(void **state)
{
    (void)state;
    open_plain();
    assert_int_equal(netaddr_port(&flow()->external[FAMILY_V6]), 0);
    from_client(&server6, "six");
    expect_up(&server6, "six");
    union netaddr mapping = flow()->external[FAMILY_V6];
    from_client(&server6, "seven");
    expect_up(&server6, "seven");
    assert_true(netaddr_equal(&mapping, &flow()->external[FAMILY_V6]));
    from_internet(&server6, "back");
    expect_down(&client, &server6, "back");
    expect_alive();
}

static void a_family_that_cannot_be_opened_costs_only_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    world_open_fails_family = AF_INET6;
    world_open_error = EMFILE;
    from_client(&server6, "six");
    from_client(&server6, "six");
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 2);
    expect_alive();
    world_open_fails_family = AF_UNSPEC;
    pass(2000);
    from_client(&server6, "now");
    expect_up(&server6, "now");
}

static void an_unknown_source_is_relayed_with_its_address(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    from_internet(&server2, "you never asked me");
    expect_down(&client, &server2, "you never asked me");
}

static void address_dependent_filtering(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    union netaddr other_port = addr("192.0.2.10", 9999);
    from_internet(&other_port, "same host");
    expect_down(&client, &other_port, "same host");
    from_internet(&server2, "other host");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
}

static void address_and_port_dependent_filtering(void **state)
{
    (void)state;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    open_plain();
    from_client(&server, "hello");
    expect_up(&server, "hello");
    union netaddr other_port = addr("192.0.2.10", 9999);
    from_internet(&other_port, "same host, other port");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    from_internet(&server, "exactly");
    expect_down(&client, &server, "exactly");
}

/* ---- the client's side ---- */

static void row_1_a_stranger_first(void **state)
{
    (void)state;
    open_plain();
    from_client_at(&stranger, &server, "let me in");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_STRANGER], 1);
    expect_alive();
}

static void row_3_the_hinted_port_wins(void **state)
{
    (void)state;
    open_with_hint("10.0.0.2", 7000);
    union netaddr neighbour = addr("10.0.0.2", 6000);
    from_client_at(&neighbour, &server, "neighbour");
    expect_up(&server, "neighbour");
    expect_alive();
    assert_false(from_client_at(&neighbour, &server, "again")); /* held: the kernel refuses it */
    expect_nothing();
    expect_alive();
}

static void a_wrong_hint_harms_nobody(void **state)
{
    (void)state;
    open_with_hint("0.0.0.0", 4321);
    expect_alive();
    pass(20000);
    expect_alive(); /* nobody came from the hinted port: the learned one is held now */
    union netaddr late = addr("10.0.0.2", 4321);
    assert_false(from_client_at(&late, &server, "too late"));
    expect_nothing();
    expect_alive();
}

static void rows_4_and_5_a_hint_at_somebody_else(void **state)
{
    (void)state;
    open_with_hint("192.0.2.10", 53);
    from_internet(&server, "before");
    expect_nothing(); /* row 6, too: dropped, not queued */
    assert_int_equal(flow()->dropped[DROP_NO_CLIENT], 1);
    union netaddr third_party = addr("192.0.2.10", 53);
    from_client_at(&third_party, &server2, "spoof");
    assert_int_equal(flow()->dropped[DROP_STRANGER], 1);
    expect_nothing();
    expect_alive();
}

/* Nor does such a hint let its port take over from the client's. */
static void a_hint_that_is_not_the_clients_counts_for_nothing(void **state)
{
    (void)state;
    union netaddr other_port = addr("10.0.0.2", 8888);
    open_with_hint("192.0.2.10", 8888);
    expect_alive();
    assert_false(from_client_at(&other_port, &server, "x")); /* the socket is connected to the client */
    assoc_free(assoc);
    static const uint8_t name[] = {10, 0, 0, 2}; /* four letters that look like the client's address */
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_NAME, .host_len = 4, .host = name, .port = 8888};
    assert_int_equal(assoc_new(&assoc, &world_env, &control_peer, NULL, &control_local, &hint), 0);
    expect_alive();
    assert_false(from_client_at(&other_port, &server, "x"));
    expect_nothing();
}

static void it_sends_from_the_configured_address(void **state)
{
    (void)state;
    world_config.outbound.address_v4 = addr("10.9.8.7", 0);
    world_config.outbound.address_v6 = addr("fd00::77", 0);
    open_plain();
    assert_true(netaddr_equal_host(&flow()->external[FAMILY_V4], &world_config.outbound.address_v4));
    from_client(&server6, "x");
    expect_up(&server6, "x");
    assert_true(netaddr_equal_host(&flow()->external[FAMILY_V6], &world_config.outbound.address_v6));
}

/* Row 29: whatever the destination is, one rule says how an association leaves, also its second family, later. */
static void a_rule_says_how_it_leaves_and_who_may_answer(void **state)
{
    (void)state;
    struct config_target somewhere = {.kind = CONFIG_TARGET_NETWORK, .network = {addr("192.0.2.0", 0), 24}};
    struct config_rule rules[] = {
        {.action = CONFIG_ACTION_ALLOW, .to = &somewhere, .to_count = 1},
        {.action = CONFIG_ACTION_ALLOW,
         .terms = {CONFIG_FILTERING_ADDRESS_DEPENDENT, addr("10.9.8.6", 0), addr("fd00::66", 0), 7}},
    };
    world_config.rules = rules;
    world_config.rule_count = 2;
    world_config.outbound.address_v4 = addr("10.9.8.7", 0);
    struct rules *compiled = rules_compile(rules, 2);
    world_env.rules = compiled;
    open_plain();
    from_client(&server, "x"); /* which the first rule lets through */
    expect_up(&server, "x");
    from_client(&server6, "y");
    expect_up(&server6, "y");
    for (int slot = 0; slot < FAMILY_COUNT; slot++) {
        const union netaddr *wanted = slot == FAMILY_V4 ? &rules[1].terms.address_v4 : &rules[1].terms.address_v6;
        assert_true(netaddr_equal_host(&flow()->external[slot], wanted));
        assert_int_equal(world_mark_of(&flow()->external[slot]), 7);
        assert_true(own_port_is(OWN_PORT_EXTERNAL, &flow()->external[slot]));
    }
    assert_int_equal(world_mark_of(&flow()->relay), 0);
    from_internet(&server2, "other host");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FILTERED], 1);
    const union netaddr gone = flow()->external[FAMILY_V4];
    assoc_free(assoc);
    assoc = NULL;
    assert_false(own_port_is(OWN_PORT_EXTERNAL, &gone));
    rules_free(compiled);
    world_env.rules = NULL;
}

static void a_mark_that_cannot_be_set_is_no_association(void **state)
{
    (void)state;
    world_config.outbound.mark = 7;
    world_mark_error = EPERM;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_NAME};
    assert_int_equal(assoc_new(&assoc, &world_env, &control_peer, NULL, &control_local, &hint), -EPERM);
    assert_int_equal(world_open_sockets(), 0);
    world_mark_error = 0;
    open_plain();
    world_mark_error = EPERM;
    from_client(&server6, "x"); /* the second family's socket */
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_NO_SOCKET], 1);
    expect_alive();
}

static void rows_7_and_8_a_stranger_in_the_same_batch(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "x");
    assert_true(world_arrive(&stranger, &flow()->relay, bytes, len));
    assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    assert_true(world_arrive(&stranger, &flow()->relay, bytes, len)); /* queued before the socket was connected */
    world_run();
    expect_up(&server, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_STRANGER], 2);
    assert_false(world_arrive(&stranger, &flow()->relay, bytes, len));
    expect_alive();
}

static void row_9_another_port_waits_for_silence(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    union netaddr rebound = addr("10.0.0.2", 7001);
    size_t len = wrap(bytes, &server, "x");
    assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    assert_true(world_arrive(&rebound, &flow()->relay, bytes, len)); /* queued before the connect */
    world_run();
    expect_up(&server, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OTHER_PORT], 1);

    pass(14999);
    assoc_sweep(assoc, world_now_ms);
    assert_false(from_client_at(&rebound, &server, "too early"));
    pass(1);
    assoc_sweep(assoc, world_now_ms);
    from_internet(&server, "still to the old port");
    expect_down(&client, &server, "still to the old port");
    assert_true(from_client_at(&rebound, &server, "rebound"));
    expect_up(&server, "rebound");
    from_internet(&server, "to the new port");
    expect_down(&rebound, &server, "to the new port");
    assert_false(from_client_at(&client, &server, "the old port is nobody now"));
    expect_nothing();
}

static void a_client_that_comes_back_is_held_again(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(60000);
    assoc_sweep(assoc, world_now_ms);
    expect_alive();
    union netaddr rebound = addr("10.0.0.2", 7001);
    assert_false(from_client_at(&rebound, &server, "x"));
}

static void bad_datagrams_do_not_name_the_client(void **state)
{
    (void)state;
    open_plain();
    union netaddr neighbour = addr("10.0.0.2", 6000);
    assert_true(world_arrive(&neighbour, &flow()->relay, "junk", 4));
    world_run();
    assert_int_equal(flow()->client.sa.sa_family, AF_UNSPEC);
    expect_alive();
}

/* ---- bad datagrams ---- */

static void rows_13_and_14_bad_then_good(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "");
    for (size_t cut = 0; cut < len; cut++) {
        world_arrive(&client, &flow()->relay, bytes, cut);
        world_run();
    }
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], len);
    for (unsigned fragment = 1; fragment <= 255; fragment++) {
        bytes[2] = (uint8_t)fragment;
        world_arrive(&client, &flow()->relay, bytes, len);
        world_run();
    }
    assert_int_equal(flow()->dropped[DROP_FRAGMENT], 255);
    expect_nothing();
    expect_alive();
    from_client(&server, ""); /* an empty payload is a datagram like any other */
    expect_up(&server, "");
    from_internet(&server, "");
    expect_down(&client, &server, "");
}

static void row_28_port_0_and_refused_destinations(void **state)
{
    (void)state;
    open_plain();
    union netaddr port_0 = addr("192.0.2.10", 0), multicast = addr("224.0.0.1", 53),
                  everybody = addr("255.255.255.255", 53);
    from_client(&port_0, "x");
    from_client(&multicast, "x");
    from_client(&everybody, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 1);
    assert_int_equal(flow()->dropped[DROP_REFUSED], 2);
    expect_alive();
}

static void what_is_refused_later_is_refused(void **state)
{
    (void)state;
    open_plain();
    union netaddr private = addr("10.0.0.9", 53);
    from_client(&private, "x");
    expect_up(&private, "x");
    world_config.reach_in_force = CONFIG_REACH_PUBLIC; /* row 26: judged per datagram */
    from_client(&private, "x");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
}

/* Row 27. */
static void other_rules_hold_from_the_next_datagram_on(void **state)
{
    (void)state;
    static const char text[] = "rules: [{action: deny, to: [192.0.2.10], user: [alice]}]",
                      all[] = "rules: [{action: deny}]";
    char *errors, *warnings;
    struct config *denying = config_parse("", text, strlen(text), &errors, &warnings),
                  *closed = config_parse("", all, strlen(all), &errors, &warnings);
    struct rules *rules = rules_compile(denying->rules, denying->rule_count),
                 *none = rules_compile(closed->rules, closed->rule_count);
    open_plain();
    union netaddr external = flow()->external[FAMILY_V4];
    from_client(&server, "x");
    expect_up(&server, "x");
    denying->reach_in_force = closed->reach_in_force = CONFIG_REACH_ALL;
    world_env.config = world_env.policy.config = denying;
    world_env.rules = rules;
    assert_true(assoc_review(assoc, "bob")); /* of somebody else the rule says nothing */
    from_client(&server, "x");
    expect_up(&server, "x");
    assert_true(assoc_review(assoc, "alice"));
    from_client(&server, "x");
    expect_nothing();
    from_client(&server2, "y");
    expect_up(&server2, "y");
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
    assert_true(netaddr_equal(&external, &flow()->external[FAMILY_V4]));
    world_env.config = world_env.policy.config = closed;
    world_env.rules = none;
    rules_free(rules); /* nothing of the old ones is looked at any more */
    config_free(denying);
    assert_false(assoc_review(assoc, "alice"));
    world_env.config = world_env.policy.config = &world_config;
    world_env.rules = NULL;
    rules_free(none);
    config_free(closed);
    assert_true(assoc_review(assoc, NULL));
    expect_alive();
}

static void too_large_with_its_header(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    static uint8_t huge[DGRAM_PAYLOAD_MAX];
    world_arrive(&server, &flow()->external[FAMILY_V4], huge, sizeof(huge));
    world_run();
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_OVERSIZE], 1);
    world_arrive(&server, &flow()->external[FAMILY_V4], huge, sizeof(huge) - SOCKS5_UDP_HEADER_V4);
    world_run();
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_int_equal(out->len, DGRAM_PAYLOAD_MAX);
    expect_alive();
}

static void a_full_send_buffer_loses_and_counts(void **state)
{
    (void)state;
    open_plain();
    from_client(&server, "x");
    expect_up(&server, "x");
    world_send_loss = DGRAM_LOST_FULL;
    from_client(&server, "x");
    from_internet(&server, "y");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_SEND_FULL], 2);
    world_send_loss = DGRAM_LOST_UNREACHABLE;
    from_client(&server, "x");
    assert_int_equal(flow()->dropped[DROP_UNREACHABLE], 1);
    assert_int_equal(flow()->up_datagrams, 1);
    world_send_loss = -1;
    expect_alive();
}

static void a_joined_run_is_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    /* Two equal segments and a shorter last one, to two destinations. */
    uint8_t bytes[512];
    size_t seg = wrap(bytes, &server, "12345");
    size_t len = seg + wrap(bytes + seg, &server2, "67890");
    len += wrap(bytes + len, &server, "ab");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, len, seg));
    world_run();
    expect_up(&server, "12345");
    expect_up(&server2, "67890");
    expect_up(&server, "ab");
    assert_true(world_arrive_run(&server, &flow()->external[FAMILY_V4], "aaabbbc", 7, 3));
    world_run();
    expect_down(&client, &server, "aaa");
    expect_down(&client, &server, "bbb");
    expect_down(&client, &server, "c");
    expect_nothing();
}

/* Row 14 within a run: the bad ones are cut out, the good ones go. */
static void a_joined_run_with_bad_ones_in_it(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    uint8_t bytes[512];
    size_t seg = wrap(bytes, &server, "1");
    for (int i = 1; i < 5; i++)
        wrap(bytes + (size_t)i * seg, &server, "1");
    bytes[seg + 2] = 1;       /* the second is a fragment, */
    bytes[2 * seg + 3] = 9;   /* the third has no address type, */
    size_t len = 4 * seg + 5; /* and the last is cut within its header */
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, len, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "1");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_FRAGMENT], 1);
    assert_int_equal(flow()->dropped[DROP_BAD_HEADER], 2);
    /* A last one that is only a header is an empty datagram. */
    assert_true(world_arrive_run(&client, &flow()->relay, bytes + 3 * seg, seg + SOCKS5_UDP_HEADER_V4, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "");
    expect_nothing();
}

static void a_joined_run_by_name(void **state)
{
    (void)state;
    open_plain();
    uint8_t bytes[512];
    size_t seg = wrap_name(bytes, "game.example", 53, "1");
    wrap_name(bytes + seg, "game.example", 53, "2");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, 2 * seg, seg));
    world_run();
    world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    world_answer("game.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&server, "1");
    expect_up(&server, "2");
    assert_true(world_arrive_run(&client, &flow()->relay, bytes, 2 * seg, seg));
    world_run();
    expect_up(&server, "1");
    expect_up(&server, "2");
}

static void more_than_a_batch_is_all_relayed(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    uint8_t bytes[512];
    size_t len = wrap(bytes, &server, "x");
    for (int i = 0; i < 60; i++)
        assert_true(world_arrive(&client, &flow()->relay, bytes, len));
    world_run();
    for (int i = 0; i < 60; i++)
        expect_up(&server, "x");
    expect_nothing();
}

/* ---- names ---- */

static void a_name_is_resolved_once_and_kept(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("Game.Example", 53, "one");
    from_client_by_name("game.example.", 54, "two");
    expect_nothing();
    assert_int_equal(world_pending_queries(), 2); /* one for each family */
    assert_true(world_answer("game.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
    expect_nothing();
    assert_true(world_answer("game.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10"));
    expect_up(&server, "one"); /* the client's own family */
    union netaddr second = addr("192.0.2.10", 54);
    expect_up(&second, "two");
    for (int i = 0; i < 10; i++) {
        pass(200 * 1000);
        from_client_by_name("game.example", 53, "more");
        expect_up(&server, "more");
    }
    assert_int_equal(world_pending_queries(), 0);
    from_internet(&server, "answer");
    expect_down(&client, &server, "answer");
    pass(301 * 1000);
    from_client_by_name("game.example", 53, "after a long pause");
    assert_int_equal(world_pending_queries(), 2);
}

static void the_family_with_a_route_is_taken(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("six.example", 53, "x");
    world_answer("six.example", AF_INET, RESOLVER_NOT_FOUND, NULL);
    world_answer("six.example", AF_INET6, RESOLVER_FOUND, "2001:db8::10");
    expect_up(&server6, "x");
    world_config.outbound.prefer = CONFIG_PREFER_IPV4_ONLY;
    from_client_by_name("four.example", 53, "x");
    assert_int_equal(world_pending_queries(), 1);
    world_answer("four.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    expect_up(&server, "x");
}

static void row_38_a_failed_name_costs_only_its_datagrams(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("gone.example", 53, "x");
    expect_alive(); /* others do not wait for it */
    for (int i = 0; i < 20; i++)
        from_client_by_name("gone.example", 53, "x");
    assert_int_equal(flow()->dropped[DROP_QUEUE_FULL], 5); /* 16 wait */
    world_answer("gone.example", AF_INET, RESOLVER_TIMED_OUT, NULL);
    world_answer("gone.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    assert_int_equal(flow()->dropped[DROP_UNRESOLVED], 16);
    from_client_by_name("gone.example", 53, "x");
    assert_int_equal(flow()->dropped[DROP_UNRESOLVED], 17);
    assert_int_equal(world_pending_queries(), 0);
    pass(2000);
    from_client_by_name("gone.example", 53, "better now");
    world_answer("gone.example", AF_INET, RESOLVER_FOUND, "192.0.2.10");
    world_answer("gone.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_up(&server, "better now");
    expect_alive();
}

static void row_36_lookups_are_bounded(void **state)
{
    (void)state;
    open_plain();
    char name[] = "nXX.example";
    for (int i = 0; i < 100; i++) {
        name[1] = (char)('a' + i / 10);
        name[2] = (char)('a' + i % 10);
        from_client_by_name(name, 53, "x");
    }
    assert_int_equal(world_pending_queries(), 16 * 2);
    assert_int_equal(flow()->dropped[DROP_QUEUE_FULL], 84);
    expect_alive();
}

static void remembered_names_are_bounded(void **state)
{
    (void)state;
    open_plain();
    char name[] = "nXX.example";
    for (int i = 0; i < 100; i++) {
        name[1] = (char)('a' + i / 10);
        name[2] = (char)('a' + i % 10);
        pass(1);
        from_client_by_name(name, 53, "x");
        world_answer(name, AF_INET, RESOLVER_FOUND, "192.0.2.10");
        world_answer(name, AF_INET6, RESOLVER_NOT_FOUND, NULL);
        expect_up(&server, "x");
    }
    from_client_by_name("naa.example", 53, "x"); /* the longest unused was forgotten */
    assert_int_equal(world_pending_queries(), 2);
    from_client_by_name("njj.example", 53, "x");
    expect_up(&server, "x");
}

static void a_literal_as_a_name_is_an_address(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("192.0.2.10", 53, "x");
    expect_up(&server, "x");
    from_client_by_name("2001:db8::10", 53, "x");
    expect_up(&server6, "x");
    from_client_by_name("[2001:db8::10]", 53, "x");
    expect_up(&server6, "x");
    assert_int_equal(world_pending_queries(), 0);
    from_client_by_name("bad name", 53, "x");
    from_client_by_name("[192.0.2.10]", 53, "x");
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 2);
}

static void it_ends_while_a_name_is_being_resolved(void **state)
{
    (void)state;
    open_plain();
    from_client_by_name("slow.example", 53, "x");
    assoc_free(assoc);
    assoc = NULL;
    assert_false(world_answer("slow.example", AF_INET, RESOLVER_FOUND, "192.0.2.10"));
}

static void row_25_a_name_is_judged_by_its_address(void **state)
{
    (void)state;
    world_config.reach_in_force = CONFIG_REACH_PUBLIC;
    open_plain();
    from_client_by_name("inside.example", 53, "x");
    world_answer("inside.example", AF_INET, RESOLVER_FOUND, "10.0.0.9");
    world_answer("inside.example", AF_INET6, RESOLVER_NOT_FOUND, NULL);
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
}

/* ---- life ---- */

static void row_33_the_idle_limit(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 300 * 1000;
    open_plain();
    expect_alive();
    pass(299 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    from_internet(&server, "inbound only"); /* resets it */
    pass(299 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    from_client(&server, "outbound only"); /* does, too */
    pass(299999);
    assert_false(assoc_sweep(assoc, world_now_ms));
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

static void what_is_dropped_does_not_keep_it(void **state)
{
    (void)state;
    world_config.udp.idle_ms = 300 * 1000;
    world_config.udp.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    open_plain();
    from_client(&server, "x");
    expect_up(&server, "x");
    pass(299999);
    from_internet(&server2, "filtered");
    from_client_at(&stranger, &server, "not the client");
    pass(1);
    assert_true(assoc_sweep(assoc, world_now_ms));
}

static void row_33_without_a_limit_it_stays(void **state)
{
    (void)state;
    open_plain();
    expect_alive();
    pass(30ULL * 24 * 3600 * 1000);
    assert_false(assoc_sweep(assoc, world_now_ms));
    expect_alive();
}

static void no_socket_no_association(void **state)
{
    (void)state;
    world_open_fails_family = AF_INET;
    world_open_error = EMFILE;
    const struct socks5_addr hint = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .host = no_hint};
    assert_int_equal(assoc_new(&assoc, &world_env, &control_peer, NULL, &control_local, &hint), -EMFILE);
}

static void over_ipv6(void **state)
{
    (void)state;
    control_peer = addr("fd00::2", 5555);
    control_local = addr("fd00::1", 1080);
    client = addr("fd00::2", 7000);
    open_plain(); /* with an IPv4 hint, as hev sends it */
    assert_int_equal(flow()->external[FAMILY_V6].sa.sa_family, AF_INET6);
    from_client(&server6, "x");
    expect_up(&server6, "x");
    expect_alive();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(one_external_socket_serves_every_destination),
        TEST(the_other_family_opens_at_first_use_and_stays),
        TEST(a_family_that_cannot_be_opened_costs_only_its_datagrams),
        TEST(an_unknown_source_is_relayed_with_its_address),
        TEST(address_dependent_filtering),
        TEST(address_and_port_dependent_filtering),
        TEST(row_1_a_stranger_first),
        TEST(row_3_the_hinted_port_wins),
        TEST(a_wrong_hint_harms_nobody),
        TEST(rows_4_and_5_a_hint_at_somebody_else),
        TEST(a_hint_that_is_not_the_clients_counts_for_nothing),
        TEST(it_sends_from_the_configured_address),
        TEST(a_rule_says_how_it_leaves_and_who_may_answer),
        TEST(a_mark_that_cannot_be_set_is_no_association),
        TEST(rows_7_and_8_a_stranger_in_the_same_batch),
        TEST(row_9_another_port_waits_for_silence),
        TEST(a_client_that_comes_back_is_held_again),
        TEST(bad_datagrams_do_not_name_the_client),
        TEST(rows_13_and_14_bad_then_good),
        TEST(row_28_port_0_and_refused_destinations),
        TEST(what_is_refused_later_is_refused),
        TEST(other_rules_hold_from_the_next_datagram_on),
        TEST(too_large_with_its_header),
        TEST(a_full_send_buffer_loses_and_counts),
        TEST(a_joined_run_is_its_datagrams),
        TEST(a_joined_run_with_bad_ones_in_it),
        TEST(a_joined_run_by_name),
        TEST(more_than_a_batch_is_all_relayed),
        TEST(a_name_is_resolved_once_and_kept),
        TEST(the_family_with_a_route_is_taken),
        TEST(row_38_a_failed_name_costs_only_its_datagrams),
        TEST(row_36_lookups_are_bounded),
        TEST(remembered_names_are_bounded),
        TEST(a_literal_as_a_name_is_an_address),
        TEST(it_ends_while_a_name_is_being_resolved),
        TEST(row_25_a_name_is_judged_by_its_address),
        TEST(row_33_the_idle_limit),
        TEST(what_is_dropped_does_not_keep_it),
        TEST(row_33_without_a_limit_it_stays),
        TEST(no_socket_no_association),
        TEST(over_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
