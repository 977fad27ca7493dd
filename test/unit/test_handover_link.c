#include "base/clock.h"
#include "test.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sock.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/assoc/shared_socket.h"
#include "proxy/env.h"

/* This process is both: what it passes on as the new one, it receives as the previous one. */
struct family {
    struct env env;
    struct handover_link *link;
    int ends[2]; /* the new process's, the previous one's */
};

static struct family *setup(void)
{
    struct family *family = calloc(1, sizeof(*family));
    assert_non_null(family);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, family->ends), 0);
    family->env.base = event_base_new();
    family->env.clock_ms = clock_coarse_ms;
    family->env.dgrams = dgram_io_new(false);
    family->env.host = host_new();
    assert_non_null(family->env.host);
    SLIST_INIT(&family->env.shared_sockets);
    family->link = handover_link_new(&family->env, family->ends[1]);
    assert_non_null(family->link);
    return family;
}

static void teardown(struct family *family)
{
    handover_link_set_previous(family->env.host, -1);
    handover_link_set_next(family->env.host, -1);
    shared_sockets_close(&family->env);
    handover_link_free(family->link);
    close(family->ends[0]);
    dgram_io_free(family->env.dgrams);
    host_free(family->env.host);
    event_base_free(family->env.base);
    free(family);
}

static void turn(struct family *family)
{
    event_base_loop(family->env.base, EVLOOP_NONBLOCK);
}

static union netaddr at(const char *text, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, text, port));
    return address;
}

static uint64_t strangers(const struct family *family)
{
    return atomic_load(&family->env.metrics.udp_dropped_total[DROP_STRANGER]);
}

static void without_a_previous_process_nothing_is_passed(void **state)
{
    (void)state;
    const union netaddr relay = at("192.0.2.1", 1080);
    const struct dgram_run run = {.peer = at("192.0.2.2", 5000), .data = (const uint8_t *)"x", .count = 1, .last = 1};
    struct family *family = setup();
    assert_false(handover_link_has_previous(family->env.host));
    assert_false(handover_link_pass_run(family->env.host, &relay, &run));
    assert_false(handover_link_give_socket(family->env.host, STDIN_FILENO));
    teardown(family);
}

/* It is nobody's there either, so it is counted there: all three datagrams. */
static void a_run_arrives_whole(void **state)
{
    (void)state;
    struct family *family = setup();
    const union netaddr relay = at("192.0.2.1", 1080);
    const struct dgram_run run = {
        .peer = at("192.0.2.2", 5000),
        .data = (const uint8_t *)"aaaabbbbcc",
        .count = 3,
        .seg = 4,
        .last = 2,
        .stride = 4,
    };
    handover_link_set_previous(family->env.host, family->ends[0]);
    assert_true(handover_link_has_previous(family->env.host));
    assert_true(handover_link_pass_run(family->env.host, &relay, &run));
    handover_link_set_previous(family->env.host, -1); /* else it would go round for ever */
    turn(family);
    assert_int_equal(strangers(family), 3);
    teardown(family);
}

static void nonsense_is_ignored(void **state)
{
    (void)state;
    static char nonsense[4096];
    struct family *family = setup();
    for (size_t len = 1; len < sizeof(nonsense); len = len * 2 + 1) {
        memset(nonsense, 0xff, len);
        assert_int_equal(send(family->ends[0], nonsense, len, 0), len);
        memset(nonsense, 0, len);
        assert_int_equal(send(family->ends[0], nonsense, len, 0), len);
        turn(family);
    }
    assert_int_equal(strangers(family), 0);
    teardown(family);
}

static void who_does_not_keep_up_is_not_waited_for(void **state)
{
    (void)state;
    static uint8_t bytes[30000];
    struct family *family = setup();
    const union netaddr relay = at("192.0.2.1", 1080);
    const struct dgram_run run = {.peer = at("192.0.2.2", 5000),
                                  .data = bytes,
                                  .count = 1,
                                  .last = sizeof(bytes),
                                  .seg = sizeof(bytes),
                                  .stride = sizeof(bytes)};
    size_t passed = 0;
    handover_link_set_previous(family->env.host, family->ends[0]);
    while (handover_link_pass_run(family->env.host, &relay, &run) && passed < 10000)
        passed++;
    assert_in_range(passed, 1, 9999);
    handover_link_set_previous(family->env.host, -1);
    teardown(family);
}

static void a_socket_is_given_and_listened_at(void **state)
{
    (void)state;
    struct family *family = setup();
    union netaddr relay = at("127.0.0.1", 0);
    int fd = sock_udp_open(NULL, AF_INET, true), *copies;
    size_t count;
    assert_int_equal(sock_udp_bind(fd, &relay), 0);
    relay = sock_local(fd);
    handover_link_set_next(family->env.host, family->ends[0]);
    assert_true(handover_link_give_socket(family->env.host, fd));
    close(fd);
    handover_link_set_next(family->env.host, -1);
    turn(family);
    int client = sock_udp_open(NULL, AF_INET, false);
    assert_int_equal(sendto(client, "x", 1, 0, &relay.sa, netaddr_len(&relay)), 1);
    turn(family);
    assert_int_equal(strangers(family), 1);
    assert_int_equal(shared_sockets_copy(&family->env, &copies, &count), 0); /* for the next one */
    assert_int_equal(count, 1);
    close(copies[0]);
    free(copies);
    shared_sockets_give_up(&family->env);
    assert_int_equal(shared_sockets_copy(&family->env, &copies, &count), 0);
    assert_int_equal(count, 0);
    free(copies);
    close(client);
    teardown(family);
}

static void its_end_is_noticed(void **state)
{
    (void)state;
    struct family *family = setup();
    handover_link_set_previous(family->env.host, family->ends[1]);
    shutdown(family->ends[0], SHUT_RDWR);
    turn(family);
    assert_false(handover_link_has_previous(family->env.host));
    teardown(family);
}

/* Without memory to hear it by. Its number stays taken: another thread may be about to send by it. */
static void one_that_is_given_up_has_ended(void **state)
{
    (void)state;
    struct family *family = setup();
    char byte;
    handover_link_set_previous(family->env.host, family->ends[1]);
    handover_link_set_next(family->env.host, family->ends[1]);
    handover_link_give_up(family->env.host, family->ends[1]);
    assert_false(handover_link_has_previous(family->env.host));
    assert_false(handover_link_give_socket(family->env.host, family->ends[0]));
    assert_int_equal(recv(family->ends[0], &byte, 1, MSG_DONTWAIT), 0);
    int other = sock_udp_open(NULL, AF_INET, false);
    assert_int_not_equal(other, family->ends[1]);
    close(other);
    teardown(family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_previous_process_nothing_is_passed),
        cmocka_unit_test(a_run_arrives_whole),
        cmocka_unit_test(nonsense_is_ignored),
        cmocka_unit_test(who_does_not_keep_up_is_not_waited_for),
        cmocka_unit_test(a_socket_is_given_and_listened_at),
        cmocka_unit_test(its_end_is_noticed),
        cmocka_unit_test(one_that_is_given_up_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
