/* One association in the world, its client and those who talk to it. */
#ifndef CONESOCKS_TEST_SIM_ASSOCIATION_H
#define CONESOCKS_TEST_SIM_ASSOCIATION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "net/dgram_io.h"
#include "proxy/assoc/assoc.h"
#include "proxy/client_terms.h"
#include "world.h"

static struct assoc *assoc;
static union netaddr control_peer, control_local, client, server, server2, server6, stranger;

static inline void open_with_hint(const char *host, uint16_t port)
{
    union netaddr hint = addr(host, port);
    size_t len;
    const uint8_t *bytes = netaddr_host(&hint, &len);
    struct socks5_addr wire = {
        .atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6, .host_len = (uint8_t)len, .host = bytes, .port = port};
    assert_int_equal(assoc_new(&assoc, &world_env, &(struct proxy_client){control_peer, control_local, 0, NULL},
                               &control_local, &wire),
                     0);
    assoc_start(assoc);
}

static inline void open_plain(void)
{
    open_with_hint("0.0.0.0", 0);
}

static inline int begin(void **state)
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

static inline int end(void **state)
{
    (void)state;
    assoc_free(assoc);
    world_run();
    assert_int_equal(world_open_sockets(), 0);
    assert_int_equal(world_pending_queries(), 0);
    world_end();
    return 0;
}

static inline const struct assoc_flow *flow(void)
{
    return assoc_flow(assoc);
}

/* A client's datagram: header for `to`, then the text. */
static inline size_t wrap(uint8_t *out, const union netaddr *to, const char *text)
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

static inline size_t wrap_name(uint8_t *out, const char *name, uint16_t port, const char *text)
{
    struct socks5_udp_header header = {
        .destination = {
            .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)strlen(name), .host = (const uint8_t *)name, .port = port}};
    size_t n = socks5_udp_header_encode(out, 300, &header);
    memcpy(out + n, text, strlen(text));
    return n + strlen(text);
}

static inline bool from_client_at(const union netaddr *from, const union netaddr *to, const char *text)
{
    uint8_t bytes[512];
    bool taken = world_arrive(from, &flow()->relay, bytes, wrap(bytes, to, text));
    world_run();
    return taken;
}

static inline void from_client(const union netaddr *to, const char *text)
{
    assert_true(from_client_at(&client, to, text));
}

static inline void from_client_by_name(const char *name, uint16_t port, const char *text)
{
    uint8_t bytes[512];
    assert_true(world_arrive(&client, &flow()->relay, bytes, wrap_name(bytes, name, port, text)));
    world_run();
}

static inline void from_internet(const union netaddr *from, const char *text)
{
    int slot = family_index(from->sa.sa_family);
    assert_true(world_arrive(from, &flow()->external[slot], text, strlen(text)));
    world_run();
}

static inline void expect_up(const union netaddr *to, const char *text)
{
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_true(netaddr_equal(&out->to, to));
    assert_true(netaddr_equal(&out->from, &flow()->external[family_index(to->sa.sa_family)]));
    assert_int_equal(out->len, strlen(text));
    assert_memory_equal(out->bytes, text, out->len);
}

static inline void expect_down(const union netaddr *to, const union netaddr *origin, const char *text)
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

static inline void expect_nothing(void)
{
    world_run();
    assert_null(world_next_sent());
}

static inline void pass(uint64_t ms)
{
    world_now_ms += ms;
}

static inline void expect_alive(void)
{
    from_client(&server, "ping");
    expect_up(&server, "ping");
    from_internet(&server, "pong");
    expect_down(&client, &server, "pong");
}

#endif
