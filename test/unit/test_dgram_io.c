#include "test.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dgram_io.h"
#include "net/ports.h"
#include "net/sock.h"

static struct dgram_io *io;
static struct ports ports;
static struct dgram_batch batch;
static struct dgram_run runs[DGRAM_BATCH_MAX];
static uint8_t payload[DGRAM_PAYLOAD_MAX + 100], received[70000];

static int open_at(const char *host, union netaddr *where)
{
    assert_true(netaddr_parse(where, host, 0));
    int fd = sock_udp(where, &ports);
    assert_true(fd >= 0);
    return fd;
}

static void add(const union netaddr *to, size_t len, size_t seg, const char *header)
{
    struct dgram_run *run = &batch.runs[batch.count++];
    *run = (struct dgram_run){.data = payload, .len = (uint32_t)len, .seg = (uint32_t)seg};
    if (to)
        run->peer = *to;
    run->header_len = (uint8_t)strlen(header);
    memcpy(run->header, header, run->header_len);
}

static void expect(int fd, const char *header, size_t offset, size_t len)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    ssize_t n = recv(fd, received, sizeof(received), 0);
    assert_int_equal(n, strlen(header) + len);
    assert_memory_equal(received, header, strlen(header));
    assert_memory_equal(received + strlen(header), payload + offset, len);
}

static void sizes_arrive_exactly(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1472, 8192, 65000, DGRAM_PAYLOAD_MAX};
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    for (size_t h = 0; h < 2; h++) {
        union netaddr a, b;
        int from = open_at(hosts[h], &a), to = open_at(hosts[h], &b);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct dgram_tally tally = {0};
            add(&b, sizes[i], sizes[i], "");
            dgram_io_send(io, from, &batch, &tally);
            assert_int_equal(tally.datagrams, 1);
            assert_int_equal(tally.bytes, sizes[i]);
            assert_int_equal(batch.count, 0);
            assert_int_equal(dgram_io_recv(io, to, runs, DGRAM_BATCH_MAX), 1);
            assert_int_equal(runs[0].len, sizes[i]);
            assert_int_equal(runs[0].seg, sizes[i]);
            assert_int_equal(dgram_run_count(&runs[0]), 1);
            assert_true(netaddr_equal(&runs[0].peer, &a));
            assert_memory_equal(runs[0].data, payload, sizes[i]);
        }
        assert_int_equal(dgram_io_recv(io, to, runs, DGRAM_BATCH_MAX), 0);
        close(from);
        close(to);
    }
}

static void headers_go_in_front_of_each_segment(void **state)
{
    (void)state;
    union netaddr a, b, c;
    int from = open_at("127.0.0.1", &a), to_b = open_at("127.0.0.1", &b), to_c = open_at("127.0.0.1", &c);
    struct dgram_tally tally = {0};
    add(&b, 250, 100, "head");
    add(&c, 10, 10, "");
    add(&b, 7, 7, "other");
    dgram_io_send(io, from, &batch, &tally);
    assert_int_equal(tally.datagrams, 5);
    assert_int_equal(tally.bytes, 267);
    expect(to_b, "head", 0, 100);
    expect(to_b, "head", 100, 100);
    expect(to_b, "head", 200, 50);
    expect(to_b, "other", 0, 7);
    expect(to_c, "", 0, 10);
    close(from);
    close(to_b);
    close(to_c);
}

static void many_are_received_in_order(void **state)
{
    (void)state;
    union netaddr a, b;
    int from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    struct dgram_tally tally = {0};
    for (size_t i = 1; i <= DGRAM_BATCH_MAX; i++)
        add(&b, i, i, "");
    dgram_io_send(io, from, &batch, &tally);
    size_t total = 0, n;
    while ((n = dgram_io_recv(io, to, runs, 5))) {
        assert_true(n <= 5);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(runs[i].len, ++total);
    }
    assert_int_equal(total, DGRAM_BATCH_MAX);
    close(from);
    close(to);
}

static void a_connected_socket_needs_no_address(void **state)
{
    (void)state;
    union netaddr a, b;
    int from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_int_equal(sock_udp_connect(from, &b), 0);
    struct dgram_tally tally = {0};
    add(NULL, 3, 3, "h");
    dgram_io_send(io, from, &batch, &tally);
    expect(to, "h", 0, 3);
    close(from);
    close(to);
}

/* One bad datagram in a batch costs itself, and says why. */
static void each_loss_has_its_reason_and_the_rest_is_sent(void **state)
{
    (void)state;
    union netaddr a, b, nowhere, broadcast;
    int from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_true(netaddr_parse(&broadcast, "255.255.255.255", 9));
    assert_true(netaddr_parse(&nowhere, "::1", 9));
    struct dgram_tally tally = {0};
    add(&b, 1, 1, "");
    add(&b, DGRAM_PAYLOAD_MAX + 1, DGRAM_PAYLOAD_MAX + 1, "");
    add(&broadcast, 1, 1, "");
    add(&nowhere, 1, 1, ""); /* IPv6 through an IPv4 socket */
    add(&b, 2, 2, "");
    dgram_io_send(io, from, &batch, &tally);
    assert_int_equal(tally.datagrams, 2);
    assert_int_equal(tally.lost[DGRAM_LOST_OVERSIZE], 1);
    assert_int_equal(tally.lost[DGRAM_LOST_DENIED] + tally.lost[DGRAM_LOST_UNREACHABLE], 2);
    expect(to, "", 0, 1);
    expect(to, "", 0, 2);
    close(from);
    close(to);
}

/* Row 31: the ICMP error of one datagram neither hides what waits nor costs the next one. */
static void icmp_errors_cost_nothing(void **state)
{
    (void)state;
    union netaddr a, b;
    int from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_int_equal(sock_udp_connect(from, &b), 0);
    struct dgram_tally tally = {0};
    close(to);
    add(NULL, 1, 1, "");
    dgram_io_send(io, from, &batch, &tally); /* answered with "port unreachable" */
    to = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(to, &b.sa, netaddr_len(&b)), 0);
    assert_int_equal(sendto(to, "back", 4, 0, &a.sa, netaddr_len(&a)), 4);
    assert_int_equal(dgram_io_recv(io, from, runs, DGRAM_BATCH_MAX), 1);

    close(to);
    add(NULL, 1, 1, "");
    dgram_io_send(io, from, &batch, &tally);
    to = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(to, &b.sa, netaddr_len(&b)), 0);
    tally = (struct dgram_tally){0};
    add(NULL, 5, 5, "");
    add(NULL, 6, 6, "");
    dgram_io_send(io, from, &batch, &tally);
    assert_int_equal(tally.datagrams, 2);
    expect(to, "", 0, 5);
    expect(to, "", 0, 6);
    close(from);
    close(to);
}

int main(void)
{
    ports_init_system(&ports);
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    io = dgram_io_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_arrive_exactly),
        cmocka_unit_test(headers_go_in_front_of_each_segment),
        cmocka_unit_test(many_are_received_in_order),
        cmocka_unit_test(a_connected_socket_needs_no_address),
        cmocka_unit_test(each_loss_has_its_reason_and_the_rest_is_sent),
        cmocka_unit_test(icmp_errors_cost_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dgram_io_free(io);
    return failed;
}
