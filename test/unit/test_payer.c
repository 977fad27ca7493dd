#include "test.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "net/reserve.h"
#include "proxy/memory_pressure.h"
#include "proxy/session/payer.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"
#include "support/log_capture.h"
#include "support/loopback.h"
#include "support/own_addresses.h"

#define LIMIT 160

static struct rlimit before;

static int begin_short(void **state)
{
    begin(state);
    config.bind.enabled = true;
    config.bind.timeout_ms = 3600 * 1000;
    if (getrlimit(RLIMIT_NOFILE, &before) != 0)
        return -1;
    const struct rlimit small = {.rlim_cur = LIMIT, .rlim_max = before.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &small) != 0)
        return -1;
    reserve_set(env.host->reserve, 0);
    descriptors_before = count_descriptors();
    return 0;
}

static int end_short(void **state)
{
    if (setrlimit(RLIMIT_NOFILE, &before) != 0)
        return -1;
    reserve_set(env.host->reserve, 0);
    return end(state);
}

/* A connection from that address to a listener, or -1: there was no room for it. Both ends are in this process. */
static int client_at(int door, const char *host)
{
    static const struct config_listener as;
    const union netaddr where = sock_local(door);
    const struct sock_way way = {.from = at(host, 0)};
    union netaddr peer;
    int fd = sock_connect(env.host->reserve, &where, &way);
    assert_true(fd >= 0);
    const uint64_t before_it = env.metrics.sessions_total;
    accept_session(&env, accept_from(door, &peer), &peer, &as);
    if (env.metrics.sessions_total > before_it)
        return fd;
    close(fd);
    return -1;
}

static int client_from(const char *host)
{
    return client_at(listener, host);
}

static uint8_t answer_to(int client, uint8_t command, const char *host)
{
    const union netaddr to = at(host, 0);
    uint8_t bytes[300], answer[12];
    say(client, bytes, make_request(bytes, command, &to));
    wait_until(recv(client, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer));
    return answer[3];
}

static int ask(int client, uint8_t command, const char *host)
{
    assert_int_equal(answer_to(client, command, host), SOCKS5_REPLY_SUCCEEDED);
    return client;
}

static int associate(const char *host)
{
    return ask(client_from(host), SOCKS5_COMMAND_UDP_ASSOCIATE, "0.0.0.0");
}

static bool lives(int client)
{
    char byte;
    turn();
    return recv(client, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Row 61: requests whose peer has not come, of the client that holds most, go before associations of others, however
 * long these are quiet; the one that waits longest is first. */
static void row_61_requests_of_the_heaviest_go_first(void **state)
{
    (void)state;
    int quiet = associate("127.0.0.2"), waiting[LIMIT], count = 0;
    struct log_capture log;
    log_capture_begin(&log);
    now_ms += 3600 * 1000;
    while (count < 20 || env.metrics.shed_dials_total == 0) {
        assert_true(count < LIMIT / 3);
        waiting[count] = client_from("127.0.0.9");
        assert_true(waiting[count] >= 0);
        (void)ask(waiting[count], SOCKS5_COMMAND_BIND, "127.0.0.1");
        count++;
    }
    assert_false(lives(waiting[0]));
    assert_true(lives(waiting[count - 1]));
    int other = associate("127.0.0.3");
    assert_false(lives(waiting[1]));
    log_capture_expect(&log, "not connected yet, ended to make room: descriptors ran out: raise LimitNOFILE=");
    assert_true(lives(quiet) && lives(other) && lives(waiting[count - 1]));
    assert_int_equal(env.metrics.shed_associations_total, 0);
    while (count)
        close(waiting[--count]);
    sessions_end(&env, "the test says so");
    close(quiet);
    close(other);
}

/* Row 61: of what is there, the latest of the heaviest ends, and only for somebody who has much less. */
static void row_61_the_latest_ends_for_others_alone(void **state)
{
    (void)state;
    struct log_capture log;
    log_capture_begin(&log);
    int quiet = associate("127.0.0.2"), held[LIMIT], count = 0;
    for (int fd; (fd = client_from("127.0.0.9")) >= 0;)
        held[count++] = ask(fd, SOCKS5_COMMAND_UDP_ASSOCIATE, "0.0.0.0");
    assert_true(count > 20);
    assert_int_equal(env.metrics.limited_descriptors_total, 1);
    assert_int_equal(env.metrics.shed_latest_total, 0);
    int other = associate("127.0.0.3");
    log_capture_expect(&log,
                       "newest session of the client or user that holds most, ended to make room: descriptors ran out");
    assert_true(env.metrics.shed_latest_total > 0);
    assert_true(lives(other) && lives(quiet) && lives(held[0]));
    assert_false(lives(held[count - 1]));
    while (count)
        close(held[--count]);
    sessions_end(&env, "the test says so");
    close(quiet);
    close(other);
}

/* Row 61: for two clients that have used up the descriptors, each as many, no association of a third one ends. */
static void row_61_no_quiet_association_of_others_ends(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.8", "127.0.0.9"};
    int quiet = associate("127.0.0.2"), held[LIMIT], count = 0;
    now_ms += 3600 * 1000;
    for (int refused = 0, turns = 0; refused < 4; turns++) {
        int fd = client_from(hosts[turns % 2]);
        if (fd < 0)
            refused++;
        else
            held[count++] = ask(fd, SOCKS5_COMMAND_UDP_ASSOCIATE, "0.0.0.0");
    }
    assert_true(count > 20);
    assert_true(lives(quiet));
    assert_int_equal(env.metrics.shed_associations_total, 0);
    sessions_end(&env, "the test says so");
    while (count)
        close(held[--count]);
    close(quiet);
}

/* Row 61: when it is the whole host's table that is full, nobody here has filled it for sure: what is in use stays. */
static void row_61_nothing_in_use_ends_for_a_full_host(void **state)
{
    (void)state;
    static const struct shortage of_host = {.kind = SHORTAGE_FILES}, of_process = {.kind = SHORTAGE_DESCRIPTORS};
    const union netaddr newcomer = at("127.0.0.3", 1);
    struct quota_account *account = quota_of_client(env.quota, &newcomer);
    int held[10];
    for (int i = 0; i < 10; i++)
        held[i] = associate("127.0.0.9");
    assert_false(shed_session(&env, account, &of_host));
    assert_true(shed_session(&env, account, &of_process));
    now_ms += 120 * 1000;
    assert_true(shed_session(&env, account, &of_host));
    assert_int_equal(env.metrics.shed_latest_total, 1);
    assert_int_equal(env.metrics.shed_associations_total, 1);
    quota_close(account);
    sessions_end(&env, "the test says so");
    for (int i = 0; i < 10; i++)
        close(held[i]);
}

/* Row 60: the same while memory is short, whatever descriptors there are. */
static void row_60_memory_is_paid_for_by_the_heaviest(void **state)
{
    (void)state;
    const struct memory_pressure_order is_short = {.level = MEMORY_SHORT}, is_ample = {.level = MEMORY_AMPLE},
                                       recedes = {.level = MEMORY_SHORT, .recedes = true};
    int quiet = associate("127.0.0.2"), waiting[10];
    now_ms += 3600 * 1000;
    for (int i = 0; i < 10; i++)
        waiting[i] = ask(client_from("127.0.0.9"), SOCKS5_COMMAND_BIND, "127.0.0.1");
    memory_pressure_relieve(&env, &is_short);
    assert_in_range(env.metrics.shed_dials_total, 6, 10);
    now_ms += 1999; /* what they held may suffice */
    memory_pressure_relieve(&env, &is_short);
    assert_true(lives(quiet));
    now_ms += 1;
    memory_pressure_relieve(&env, &recedes);
    assert_true(lives(quiet));
    memory_pressure_relieve(&env, &is_short);
    assert_false(lives(quiet));
    memory_pressure_relieve(&env, &is_ample);
    sessions_end(&env, "the test says so");
    for (int i = 0; i < 10; i++)
        close(waiting[i]);
    close(quiet);
}

/* The socket that the client sends from: `count` datagrams, each for a name of its own under `domain`. */
static int send_to_names(const char *host, int client, const char *domain, int count, size_t len)
{
    static uint8_t bytes[9000];
    const union netaddr to = at("0.0.0.0", 0), from = at(host, 0);
    uint8_t answer[10];
    say(client, bytes, make_request(bytes, SOCKS5_COMMAND_UDP_ASSOCIATE, &to));
    wait_until(recv(client, answer, 2, MSG_DONTWAIT | MSG_PEEK) == 2);
    wait_until(recv(client, answer, 2, MSG_DONTWAIT) == 2);
    wait_until(recv(client, answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer));
    const union netaddr relay = netaddr_from_bytes(answer + 4, 4, (uint16_t)(answer[8] << 8 | answer[9]));
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(fd >= 0 && bind(fd, &from.sa, netaddr_len(&from)) == 0);
    for (int i = 0; i < count; i++) {
        memset(bytes, 0, sizeof(bytes));
        bytes[3] = SOCKS5_ATYP_NAME;
        int name = snprintf((char *)bytes + 5, 100, "n%d.%s", i, domain);
        bytes[4] = (uint8_t)name;
        bytes[5 + name + 1] = 9;
        assert_true(sendto(fd, bytes, 5 + (size_t)name + 2 + len, 0, &relay.sa, netaddr_len(&relay)) > 0);
        turn();
    }
    return fd;
}

/* What one client holds for names comes back, also when another's queues, which hold more, cannot. */
static void row_60_names_are_called_back_behind_a_larger_loan(void **state)
{
    (void)state;
    int silent = socket(AF_INET, SOCK_DGRAM, 0);
    union netaddr nobody = at("127.0.0.1", 0);
    assert_int_equal(bind(silent, &nobody.sa, netaddr_len(&nobody)), 0);
    nobody = sock_local(silent);
    const struct resolver_options options = {
        .servers = &nobody, .server_count = 1, .timeout_ms = 3600 * 1000, .release = lookup_release};
    assert_true(resolver_change(env.resolver, &options));
    int waiting = client_from("127.0.0.2"), named = client_from("127.0.0.3");
    int first = send_to_names("127.0.0.2", waiting, "test", 8, 8000);
    const size_t queues = env.loans.lent;
    assert_true(queues >= 8 * (size_t)8000);
    int second = send_to_names("127.0.0.3", named, "localhost", 40, 1);
    for (int i = 0; i < 20; i++)
        turn();
    assert_in_range(env.loans.lent, queues + 1000, 2 * queues - 1);
    payers_call_loans(&env, 0);
    assert_int_equal(env.loans.lent, queues);
    sessions_end(&env, "the test says so");
    assert_int_equal(env.loans.lent, 0);
    close(waiting);
    close(named);
    close(first);
    close(second);
    close(silent);
    const union netaddr nowhere = at("127.0.0.1", 9);
    const struct resolver_options other = {
        .servers = &nowhere, .server_count = 1, .timeout_ms = 300, .release = lookup_release};
    assert_true(resolver_change(env.resolver, &other)); /* whose questions end */
}

/* Ports are of an address: associations at another one have none to give, however long they are quiet. */
static void row_63_no_port_is_won_at_another_address(void **state)
{
    (void)state;
    enum { PORTS = 4 };
    union netaddr where;
    const int elsewhere = listen_at("127.0.0.51", &where);
    static const char *const others[] = {"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"};
    static const char *const hosts[] = {"127.0.0.6", "127.0.0.7", "127.0.0.8", "127.0.0.9"};
    int there[PORTS], here[PORTS]; /* nobody stands out */
    env.relay_ports.first = 24100;
    env.relay_ports.last = 24100 + PORTS - 1;
    env.relay_ports.random = false;
    for (int i = 0; i < PORTS; i++)
        there[i] = ask(client_at(elsewhere, others[i]), SOCKS5_COMMAND_UDP_ASSOCIATE, "0.0.0.0");
    now_ms += 3600 * 1000;
    for (int i = 0; i < PORTS; i++)
        here[i] = associate(hosts[i]);
    int refused = client_from("127.0.0.10");
    assert_int_equal(answer_to(refused, SOCKS5_COMMAND_UDP_ASSOCIATE, "0.0.0.0"), SOCKS5_REPLY_GENERAL_FAILURE);
    assert_int_equal(env.metrics.shed_associations_total, 0);
    now_ms += 120 * 1000;
    int served = associate("127.0.0.10");
    assert_int_equal(env.metrics.shed_associations_total, 1);
    for (int i = 0; i < PORTS; i++)
        assert_true(lives(there[i]));
    sessions_end(&env, "the test says so");
    for (int i = 0; i < PORTS; i++) {
        close(there[i]);
        close(here[i]);
    }
    close(refused);
    close(served);
    close(elsewhere);
}

/* Who holds most descriptors, in streams, says nothing about associations: those of others make room for each other. */
static void row_63_associations_make_room_whoever_has_streams(void **state)
{
    (void)state;
    struct snapshot snapshot = {.config = &config, .holders = 1};
    env.snapshot = &snapshot;
    int streams[10], quiet[3];
    for (int i = 0; i < 10; i++)
        streams[i] = ask(client_from("127.0.0.9"), SOCKS5_COMMAND_BIND, "127.0.0.1");
    quiet[0] = associate("127.0.0.2");
    quiet[1] = associate("127.0.0.3");
    config.limits.associations = 2;
    now_ms += 121 * 1000;
    int served = associate("127.0.0.4");
    assert_int_equal(env.metrics.shed_associations_total, 1);
    env.relay_ports.first = env.relay_ports.last = 24100;
    config.limits.associations = 0;
    quiet[2] = associate("127.0.0.5");
    now_ms += 121 * 1000;
    int served_too = associate("127.0.0.6");
    assert_false(lives(quiet[2]));
    assert_int_equal(env.metrics.shed_associations_total, 2);
    sessions_end(&env, "the test says so");
    for (int i = 0; i < 10; i++)
        close(streams[i]);
    for (int i = 0; i < 3; i++)
        close(quiet[i]);
    close(served);
    close(served_too);
    env.snapshot = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_short, end_short)
    const struct CMUnitTest tests[] = {
        TEST(row_61_requests_of_the_heaviest_go_first),   TEST(row_61_the_latest_ends_for_others_alone),
        TEST(row_61_nothing_in_use_ends_for_a_full_host), TEST(row_60_names_are_called_back_behind_a_larger_loan),
        TEST(row_63_no_port_is_won_at_another_address),   TEST(row_63_associations_make_room_whoever_has_streams),
        TEST(row_60_memory_is_paid_for_by_the_heaviest),  TEST(row_61_no_quiet_association_of_others_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
