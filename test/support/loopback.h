/*
 * A worker without its thread, and the TCP connections around it, all on loopback and all in the test's own thread: to
 * wait for something is to turn the loop until it is there. The clock of the sessions is the test's; the sockets, the
 * loop and the kernel are real.
 */
#ifndef TEST_SUPPORT_LOOPBACK_H
#define TEST_SUPPORT_LOOPBACK_H

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "conesocks/socks5.h"
#include "net/dgram_io.h"
#include "net/inbox.h"
#include "net/pump.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "policy/quota.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "proxy/session/accept.h"
#include "proxy/session/sessions.h"

#define PATIENCE_MS 10000 /* only a failing test waits this long */

static struct env env;
static struct config config;
static uint64_t now_ms;
static int listener; /* the proxy's */
static size_t descriptors_before;

static inline uint64_t test_clock(void)
{
    return now_ms;
}

static uint32_t today = 20787; /* 2026-11-30 */

static inline uint32_t test_today(void)
{
    return today;
}

static inline void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    sessions_reap(&env);
}

static inline union netaddr at(const char *host, uint16_t port)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, port));
    return addr;
}

static inline int listen_at(const char *host, union netaddr *where)
{
    union netaddr address = at(host, 0);
    int fd = sock_listen(&address, false);
    assert_true(fd >= 0);
    *where = sock_local(fd);
    return fd;
}

static inline size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static inline int begin(void **state)
{
    (void)state;
    memset(&env, 0, sizeof(env));
    config = (struct config){
        .udp = {.enabled = true, .rebind_after_ms = 15000},
        .timeouts = {.handshake_ms = 10000, .connect_ms = 10000},
        .limits = {.lookups_per_client = 64, .lookups_per_association = 16},
    };
    now_ms = 1000000;
    TAILQ_INIT(&env.sessions);
    TAILQ_INIT(&env.waiting);
    TAILQ_INIT(&env.dials);
    TAILQ_INIT(&env.ended);
    env.host = host_new();
    assert_non_null(env.host);
    env.quota = env.host->quota;
    env.config = env.policy.config = &config;
    env.clock_ms = test_clock;
    env.today = test_today;
    env.system_ports = env.relay_ports = env.external_ports = port_range_of_system(env.host->ports);
    env.policy.own_ports = env.host->own_ports;
    env.base = event_base_new();
    event_assign(&env.reaper, env.base, -1, 0, on_reap, NULL);
    const union netaddr nowhere = at("127.0.0.1", 9);
    const struct resolver_options options = {.servers = &nowhere,
                                             .server_count = 1,
                                             .timeout_ms = 300,
                                             .release = lookup_release,
                                             .reserve = env.host->reserve};
    env.inbox = inbox_new(env.base);
    env.pumps = pump_pool_new(false, env.host->reserve); /* which keeps no pipes, so that descriptors can be counted */
    env.dgrams = dgram_io_new(false);
    env.resolver = resolver_new(env.base, &options);
    assert_true(env.inbox && env.pumps && env.dgrams && env.resolver);
    union netaddr where;
    listener = listen_at("127.0.0.1", &where);
    descriptors_before = count_descriptors();
    return 0;
}

static inline void turn(void)
{
    event_base_loop(env.base, EVLOOP_NONBLOCK);
    struct pollfd none;
    poll(&none, 0, 1); /* the kernel's turn */
}

/* Turns the loop until `condition` holds. */
#define wait_until(condition)                                                                                          \
    do {                                                                                                               \
        bool holds_ = (condition);                                                                                     \
        for (int turns_ = 0; !holds_ && turns_ < PATIENCE_MS; turns_++, holds_ = (condition))                          \
            turn();                                                                                                    \
        assert_true(holds_);                                                                                           \
    } while (0)

/* Every session has ended by itself and given back all that it held. */
static inline int end(void **state)
{
    (void)state;
    wait_until(TAILQ_EMPTY(&env.sessions) && TAILQ_EMPTY(&env.ended));
    wait_until(count_descriptors() <= descriptors_before);
    close(listener);
    inbox_free(env.inbox);
    resolver_free(env.resolver);
    event_base_free(env.base);
    dgram_io_free(env.dgrams);
    pump_pool_free(env.pumps);
    assert_int_equal(quota_size(env.quota), 0);
    host_free(env.host);
    return 0;
}

static inline int accept_from(int listening, union netaddr *peer)
{
    int fd = -1;
    wait_until((fd = sock_accept(listening, peer)) >= 0);
    return fd;
}

/* A client's connection to the proxy, which takes it as that listener. */
static inline int new_client_of(const struct config_listener *as)
{
    const union netaddr where = sock_local(listener);
    union netaddr peer;
    int fd = sock_connect(NULL, &where, NULL);
    assert_true(fd >= 0);
    accept_session(&env, accept_from(listener, &peer), &peer, as);
    return fd;
}

static inline int new_client(bool need_password)
{
    const struct config_listener as = {.need_password = need_password};
    return new_client_of(&as);
}

static inline void say(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static inline void expect(int fd, const void *bytes, size_t len)
{
    uint8_t heard[4096];
    size_t count = 0;
    assert_true(len <= sizeof(heard));
    for (int turns = 0; count < len && turns < PATIENCE_MS; turns++) {
        ssize_t n = recv(fd, heard + count, len - count, MSG_DONTWAIT);
        if (n < 0)
            assert_int_equal(errno, EAGAIN);
        if (n == 0)
            break;
        if (n > 0)
            count += (size_t)n;
        else
            turn();
    }
    assert_int_equal(count, len);
    assert_memory_equal(heard, bytes, len);
}

/* The next that a socket tells: 0 = the end, else a negative errno. */
static inline int what_ends(int fd)
{
    char byte;
    ssize_t n = -1;
    wait_until((n = recv(fd, &byte, 1, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    assert_int_not_equal(n, 1);
    return n < 0 ? -errno : 0;
}

#define expect_end(fd)   assert_int_equal(what_ends(fd), 0)
#define expect_reset(fd) assert_int_equal(what_ends(fd), -ECONNRESET)

/* A request for an address, after the greeting of a client without a login. Returns its length. */
static inline size_t make_request(uint8_t *out, uint8_t command, const union netaddr *to)
{
    static const uint8_t greeting[] = {5, 1, 0};
    size_t len;
    const uint8_t *host = netaddr_host(to, &len);
    const struct socks5_request request = {
        .command = command,
        .destination = {.atyp = len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6,
                        .host_len = (uint8_t)len,
                        .port = netaddr_port(to),
                        .host = host},
    };
    memcpy(out, greeting, sizeof(greeting));
    return sizeof(greeting) + socks5_request_encode(out + sizeof(greeting), SOCKS5_REQUEST_MAX, &request);
}

static inline void expect_reply(int fd, uint8_t code, const union netaddr *bound)
{
    size_t len;
    const struct socks5_reply_message reply = {
        .code = code,
        .bound = {.atyp = SOCKS5_ATYP_IPV4,
                  .host_len = 4,
                  .port = netaddr_port(bound),
                  .host = netaddr_host(bound, &len)},
    };
    uint8_t bytes[SOCKS5_REQUEST_MAX];
    expect(fd, bytes, socks5_reply_encode(bytes, sizeof(bytes), &reply));
}

/* A refused request: its code, no address, and then the end, without waiting for the client's. */
static inline void expect_refusal(int fd, uint8_t code)
{
    const union netaddr none = at("0.0.0.0", 0);
    expect_reply(fd, code, &none);
    expect_end(fd);
}

#endif
