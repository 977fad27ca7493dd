/*
 * A resolver in an event loop with a name server of the test's own, its files, and clients that wish for addresses.
 */
#ifndef TEST_SUPPORT_LOOKUPS_H
#define TEST_SUPPORT_LOOKUPS_H

#include "net/reserve.h"
#include "net/resolver.h"
#include "support/dns_server.h"

static const struct dns_name names[] = {
    {"one.test", "192.0.2.1", "2001:db8::1", 0, NULL, DNS_PLAIN},
    {"two.test", "192.0.2.2", "2001:db8::2", 0, NULL, DNS_PLAIN},
    {"v4.test", "192.0.2.4", NULL, 0, NULL, DNS_PLAIN},
    {"private.test", "10.1.2.3", "fd00::1", 0, NULL, DNS_PLAIN},
    {"many.test", "198.51.100.1", NULL, 100, NULL, DNS_PLAIN},
    {"chain1.test", NULL, NULL, 0, "chain2.test", DNS_PLAIN},
    {"chain2.test", NULL, NULL, 0, "chain3.test", DNS_PLAIN},
    {"chain3.test", NULL, NULL, 0, "one.test", DNS_PLAIN},
    {"brief-chain.test", NULL, NULL, 0, "chain3.test", DNS_PLAIN},
    {"brief-cut.test", NULL, NULL, 0, "cut.test", DNS_PLAIN},
    {"to-brief.test", NULL, NULL, 0, "brief-chain.test", DNS_PLAIN},
    {"loop1.test", NULL, NULL, 0, "loop2.test", DNS_PLAIN},
    {"loop2.test", NULL, NULL, 0, "loop1.test", DNS_PLAIN},
    {"broken.test", "192.0.2.5", NULL, 0, NULL, DNS_SERVFAIL},
    {"silent.test", "192.0.2.6", NULL, 0, NULL, DNS_SILENT},
    {"silent2.test", "192.0.2.6", NULL, 0, NULL, DNS_SILENT},
    {"late-500.test", "192.0.2.50", NULL, 0, NULL, DNS_PLAIN},
    {"late-1200.test", "192.0.2.51", NULL, 0, NULL, DNS_PLAIN},
    {"late-2200.test", "192.0.2.52", NULL, 0, NULL, DNS_PLAIN},
    {"late-1500-broken.test", "192.0.2.53", NULL, 0, NULL, DNS_SERVFAIL},
    {"cut.test", "192.0.2.200", NULL, 20, NULL, DNS_TRUNCATED},
    {"wrong-id.test", "192.0.2.7", NULL, 0, NULL, DNS_WRONG_ID},
    {"wrong-host.test", "192.0.2.11", NULL, 0, NULL, DNS_WRONG_HOST},
    {"wrong-port.test", "192.0.2.8", NULL, 0, NULL, DNS_WRONG_PORT},
    {"forged.test", "192.0.2.9", NULL, 0, NULL, DNS_FORGED_FIRST},
    {"wrong-case.test", "192.0.2.10", NULL, 0, NULL, DNS_WRONG_CASE},
    {"nas.second.test", "192.0.2.11", "2001:db8::11", 0, NULL, DNS_PLAIN},
    {"a.b", "192.0.2.12", NULL, 0, NULL, DNS_PLAIN},
    {"bare", "192.0.2.13", NULL, 0, NULL, DNS_PLAIN},
    {NULL, NULL, NULL, 0, NULL, DNS_PLAIN},
};

static struct descriptor_reserve *reserve;
static struct event_base *base;
static struct dns_server server;
static struct resolver *resolver;
static char hosts_path[] = "/tmp/conesocks-hosts-XXXXXX", resolv_conf_path[] = "/tmp/conesocks-resolv-XXXXXX";

/* A client's wish and what became of it. */
struct wish {
    struct resolver_query *query;
    int answers;
    enum resolver_status status;
    size_t count;
    union netaddr addresses[RESOLVER_ADDRESSES_MAX];
    struct wish *cancels; /* when answered, cancels this other one */
    bool frees_resolver;
};

static inline void on_done(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    struct wish *wish = arg;
    wish->query = NULL;
    wish->answers++;
    wish->status = status;
    wish->count = count;
    if (count > 0)
        memcpy(wish->addresses, addresses, count * sizeof(*addresses));
    if (wish->cancels) {
        resolver_cancel(wish->cancels->query);
        wish->cancels->query = NULL;
    }
    if (wish->frees_resolver) {
        resolver_free(resolver);
        resolver = NULL;
    }
}

static inline union netaddr address_of(const char *text)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, text, 1000));
    return address;
}

static inline bool start_as(const char *client, struct wish *wish, const char *name, int family)
{
    const union netaddr from = address_of(client);
    *wish = (struct wish){0};
    wish->query = resolver_lookup(resolver, &from, name, family, on_done, wish);
    assert_int_equal(wish->answers, 0); /* never before it returns, also from the cache */
    return wish->query != NULL;
}

static inline void start(struct wish *wish, const char *name, int family)
{
    assert_true(start_as("198.51.100.7", wish, name, family));
}

static inline void wait_for(const struct wish *wish)
{
    while (wish->answers == 0)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_int_equal(wish->answers, 1);
}

static inline struct wish look_up(const char *name, int family)
{
    static struct wish wish;
    start(&wish, name, family);
    wait_for(&wish);
    return wish;
}

static inline void expect_status(const char *name, int family, enum resolver_status status)
{
    struct wish wish = look_up(name, family);
    assert_int_equal(wish.status, status);
    assert_int_equal(wish.count, 0);
}

static inline void expect_address(const char *name, const char *text)
{
    union netaddr address = address_of(text);
    netaddr_set_port(&address, 0);
    struct wish wish = look_up(name, address.sa.sa_family);
    assert_int_equal(wish.status, RESOLVER_FOUND);
    assert_int_equal(wish.count, 1);
    char found[NETADDR_TEXT_MAX];
    if (!netaddr_equal(&wish.addresses[0], &address))
        fail_msg("%s is %s, not %s", name, netaddr_format(&wish.addresses[0], found), text);
}

/* Lets all that can happen without waiting happen. */
static inline void settle_down(void)
{
    for (int i = 0; i < 20; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void open_resolver(uint64_t timeout_ms, uint32_t per_client)
{
    const struct resolver_options options = {
        .servers = &server.address,
        .server_count = 1,
        .timeout_ms = timeout_ms,
        .per_client = per_client,
        .reserve = reserve,
        .hosts_file = hosts_path,
        .resolv_conf = resolv_conf_path,
    };
    resolver = resolver_new(base, &options);
    assert_non_null(resolver);
}

static inline int set_up(void **state)
{
    (void)state;
    base = event_base_new();
    reserve = reserve_new();
    write_file(hosts_path, "");
    write_file(resolv_conf_path, "");
    if (!dns_server_open(&server, base, names, "127.0.0.1", 0))
        dns_fail("bind");
    open_resolver(5000, 0);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    resolver_free(resolver);
    resolver = NULL;
    dns_server_close(&server);
    event_base_free(base);
    reserve_free(reserve);
    return 0;
}

static inline void reopen(uint64_t timeout_ms, uint32_t per_client)
{
    resolver_free(resolver);
    open_resolver(timeout_ms, per_client);
}

/* A test with all of this new. */
#define LOOKUP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline int make_files(void **state)
{
    (void)state;
    close(mkstemp(hosts_path));
    close(mkstemp(resolv_conf_path));
    return 0;
}

static inline int remove_files(void **state)
{
    (void)state;
    unlink(hosts_path);
    unlink(resolv_conf_path);
    return 0;
}

#endif
