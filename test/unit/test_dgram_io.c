#include "test.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dgram_io.h"
#include "net/ports.h"
#include "net/sock.h"

static struct dgram_io *io; /* each test runs with the plain and with the fast one */
static struct port_range range;
static struct port_lease lease;
static struct dgram_batch batch;
static struct dgram_run runs[DGRAM_BATCH_MAX];
static uint8_t payload[DGRAM_PAYLOAD_MAX + 100], received[70000];

static struct dgram_socket open_at(const char *host, union netaddr *where)
{
    assert_true(netaddr_parse(where, host, 0));
    int fd = sock_udp(NULL, where, &range, 0, &lease);
    assert_true(fd >= 0);
    return dgram_io_adopt(io, fd, where->sa.sa_family);
}

/* A receiver that takes datagrams one by one. */
static struct dgram_socket open_receiver(const char *host, union netaddr *where)
{
    assert_true(netaddr_parse(where, host, 0));
    return (struct dgram_socket){.fd = sock_udp(NULL, where, &range, 0, &lease)};
}

static void add(const union netaddr *to, size_t len, size_t seg, const char *header)
{
    struct dgram_run *run = &batch.runs[batch.count++];
    size_t count = seg ? (len + seg - 1) / seg : 1;
    *run = (struct dgram_run){.data = payload,
                              .count = (uint16_t)count,
                              .seg = (uint16_t)seg,
                              .last = (uint16_t)(len - (count - 1) * seg),
                              .stride = (uint16_t)seg};
    if (to)
        run->peer = *to;
    run->header_len = (uint8_t)strlen(header);
    memcpy(run->header, header, run->header_len);
}

static void expect(const struct dgram_socket *socket, const char *header, size_t offset, size_t len)
{
    struct pollfd poll_fd = {.fd = socket->fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    ssize_t n = recv(socket->fd, received, sizeof(received), 0);
    assert_int_equal(n, strlen(header) + len);
    assert_memory_equal(received, header, strlen(header));
    assert_memory_equal(received + strlen(header), payload + offset, len);
}

static void sizes_arrive_exactly(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1472, 8192, 65000, DGRAM_PAYLOAD_MAX - 20, DGRAM_PAYLOAD_MAX};
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    for (size_t h = 0; h < 2; h++) {
        union netaddr a, b;
        struct dgram_socket from = open_at(hosts[h], &a), to = open_at(hosts[h], &b);
        const size_t count = sizeof(sizes) / sizeof(sizes[0]) - (a.sa.sa_family == AF_INET);
        for (size_t i = 0; i < count; i++) {
            struct dgram_tally tally = {0};
            add(&b, sizes[i], sizes[i], "");
            dgram_io_send(io, &from, &batch, &tally);
            assert_int_equal(tally.datagrams, 1);
            assert_int_equal(tally.bytes, sizes[i]);
            assert_int_equal(batch.count, 0);
            assert_int_equal(dgram_io_recv(io, &to, runs, DGRAM_BATCH_MAX), 1);
            assert_int_equal(runs[0].last, sizes[i]);
            assert_int_equal(runs[0].count, 1);
            assert_true(netaddr_equal(&runs[0].peer, &a));
            assert_memory_equal(runs[0].data, payload, sizes[i]);
        }
        assert_int_equal(dgram_io_recv(io, &to, runs, DGRAM_BATCH_MAX), 0);
        close(from.fd);
        close(to.fd);
    }
}

static void headers_go_in_front_of_each_segment(void **state)
{
    (void)state;
    union netaddr a, b, c;
    struct dgram_socket from = open_at("127.0.0.1", &a), to_b = open_receiver("127.0.0.1", &b),
                        to_c = open_receiver("127.0.0.1", &c);
    struct dgram_tally tally = {0};
    add(&b, 250, 100, "head");
    add(&c, 10, 10, "");
    add(&b, 7, 7, "other");
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(tally.datagrams, 5);
    assert_int_equal(tally.bytes, 267);
    expect(&to_b, "head", 0, 100);
    expect(&to_b, "head", 100, 100);
    expect(&to_b, "head", 200, 50);
    expect(&to_b, "other", 0, 7);
    expect(&to_c, "", 0, 10);
    close(from.fd);
    close(to_b.fd);
    close(to_c.fd);
}

static void many_are_received_in_order(void **state)
{
    (void)state;
    union netaddr a, b;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    struct dgram_tally tally = {0};
    for (size_t i = 1; i <= DGRAM_BATCH_MAX; i++)
        add(&b, i, i, "");
    dgram_io_send(io, &from, &batch, &tally);
    size_t total = 0, n;
    while ((n = dgram_io_recv(io, &to, runs, 5))) {
        assert_true(n <= 5);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(runs[i].last, ++total);
    }
    assert_int_equal(total, DGRAM_BATCH_MAX);
    close(from.fd);
    close(to.fd);
}

static void a_connected_socket_needs_no_address(void **state)
{
    (void)state;
    union netaddr a, b;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_int_equal(sock_udp_connect(from.fd, &b), 0);
    struct dgram_tally tally = {0};
    add(NULL, 3, 3, "h");
    dgram_io_send(io, &from, &batch, &tally);
    expect(&to, "h", 0, 3);
    close(from.fd);
    close(to.fd);
}

/* One bad datagram in a batch costs itself, and says why. */
static void each_loss_has_its_reason_and_the_rest_is_sent(void **state)
{
    (void)state;
    union netaddr a, b, nowhere, broadcast;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_true(netaddr_parse(&broadcast, "255.255.255.255", 9));
    assert_true(netaddr_parse(&nowhere, "::1", 9));
    struct dgram_tally tally = {0};
    add(&b, 1, 1, "");
    add(&b, DGRAM_PAYLOAD_MAX - 19, DGRAM_PAYLOAD_MAX - 19, "");
    add(&broadcast, 1, 1, "");
    add(&nowhere, 1, 1, ""); /* IPv6 through an IPv4 socket */
    add(&b, 2, 2, "");
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(tally.datagrams, 2);
    assert_int_equal(tally.lost[DGRAM_LOST_OVERSIZE], 1);
    assert_int_equal(tally.lost[DGRAM_LOST_DENIED] + tally.lost[DGRAM_LOST_UNREACHABLE], 2);
    expect(&to, "", 0, 1);
    expect(&to, "", 0, 2);
    close(from.fd);
    close(to.fd);
}

/* Row 31: the ICMP error of one datagram neither hides what waits nor costs the next one. */
static void icmp_errors_cost_nothing(void **state)
{
    (void)state;
    union netaddr a, b;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    assert_int_equal(sock_udp_connect(from.fd, &b), 0);
    struct dgram_tally tally = {0};
    close(to.fd);
    add(NULL, 1, 1, "");
    dgram_io_send(io, &from, &batch, &tally); /* answered with "port unreachable" */
    to.fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(to.fd, &b.sa, netaddr_len(&b)), 0);
    assert_int_equal(sendto(to.fd, "back", 4, 0, &a.sa, netaddr_len(&a)), 4);
    assert_int_equal(dgram_io_recv(io, &from, runs, DGRAM_BATCH_MAX), 1);

    close(to.fd);
    add(NULL, 1, 1, "");
    dgram_io_send(io, &from, &batch, &tally);
    to.fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(to.fd, &b.sa, netaddr_len(&b)), 0);
    tally = (struct dgram_tally){0};
    add(NULL, 5, 5, "");
    add(NULL, 6, 6, "");
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(tally.datagrams, 2);
    expect(&to, "", 0, 5);
    expect(&to, "", 0, 6);
    close(from.fd);
    close(to.fd);
}

/* Whatever is joined on the way, each peer gets its datagrams, whole and in order. */
static void any_mixture_arrives_in_order(void **state)
{
    (void)state;
    enum { PEERS = 12, ROUNDS = 200 };
    union netaddr a, at[PEERS];
    struct dgram_socket from = open_at("127.0.0.1", &a), to[PEERS];
    for (size_t p = 0; p < PEERS; p++)
        to[p] = open_receiver("127.0.0.1", &at[p]);
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        struct dgram_tally tally = {0};
        struct {
            size_t peer, len, seg;
        } sent[DGRAM_BATCH_MAX];
        size_t runs_sent = 1 + (size_t)rand() % DGRAM_BATCH_MAX, datagrams = 0;
        for (size_t i = 0; i < runs_sent; i++) {
            static const size_t segs[] = {1, 100, 100, 100, 100, 1200, 0};
            size_t seg = segs[(size_t)rand() % 7], count = rand() % 3 ? 1 : 1 + (size_t)rand() % 8;
            sent[i].peer = (size_t)rand() % (round % 2 ? PEERS : 2);
            sent[i].seg = seg;
            sent[i].len = seg ? seg * (count - 1) + 1 + (size_t)rand() % seg : 0;
            add(&at[sent[i].peer], sent[i].len, seg, i % 5 ? "" : "header");
            datagrams += batch.runs[i].count;
        }
        dgram_io_send(io, &from, &batch, &tally);
        assert_int_equal(tally.datagrams, datagrams);
        for (size_t i = 0; i < runs_sent; i++)
            for (size_t offset = 0; offset == 0 || offset < sent[i].len; offset += sent[i].seg) {
                size_t left = sent[i].len - offset;
                expect(&to[sent[i].peer], i % 5 ? "" : "header", offset, left < sent[i].seg ? left : sent[i].seg);
                if (sent[i].seg == 0)
                    break;
            }
    }
    for (size_t p = 0; p < PEERS; p++)
        close(to[p].fd);
    close(from.fd);
}

/* Payloads that stand apart, with what is left out between them. */
static void a_stride_skips_what_lies_between(void **state)
{
    (void)state;
    union netaddr a, b;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_receiver("127.0.0.1", &b);
    struct dgram_tally tally = {0};
    add(&b, 0, 0, "");
    batch.runs[0].count = 3;
    batch.runs[0].seg = 20;
    batch.runs[0].last = 0;
    batch.runs[0].stride = 30;
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(tally.datagrams, 3);
    assert_int_equal(tally.bytes, 40);
    expect(&to, "", 0, 20);
    expect(&to, "", 30, 20);
    expect(&to, "", 60, 0);
    close(from.fd);
    close(to.fd);
}

/* More than one message may hold: neither 64 segments nor 64 KiB stop it. */
static void long_runs_are_cut_into_messages(void **state)
{
    (void)state;
    static const size_t segs[] = {10, 1200, 9000};
    for (size_t s = 0; s < 3; s++) {
        union netaddr a, b;
        struct dgram_socket from = open_at("127.0.0.1", &a), to = open_receiver("127.0.0.1", &b);
        struct dgram_tally tally = {0};
        size_t seg = segs[s], count = sizeof(payload) / seg < 200 ? sizeof(payload) / seg : 200;
        for (int twice = 0; twice < 2; twice++)
            add(&b, seg * count, seg, "header");
        dgram_io_send(io, &from, &batch, &tally);
        assert_int_equal(tally.datagrams, 2 * count);
        for (size_t i = 0; i < 2 * count; i++)
            expect(&to, "header", i % count * seg, seg);
        close(from.fd);
        close(to.fd);
    }
}

/* ---- the TOS byte ---- */

static uint8_t read_tos(const struct dgram_socket *socket, size_t expected_len)
{
    struct pollfd poll_fd = {.fd = socket->fd, .events = POLLIN};
    _Alignas(struct cmsghdr) char controls[128];
    struct iovec part = {received, sizeof(received)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = controls, .msg_controllen = sizeof(controls)};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    assert_int_equal(recvmsg(socket->fd, &message, 0), expected_len);
    for (struct cmsghdr *control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control))
        if (control->cmsg_type == (control->cmsg_level == IPPROTO_IP ? IP_TOS : IPV6_TCLASS))
            return *CMSG_DATA(control);
    fail_msg("no TOS byte was told");
    return 0;
}

static void hear_tos(const struct dgram_socket *socket)
{
    int on = 1;
    (void)setsockopt(socket->fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
    (void)setsockopt(socket->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
}

static void add_with_tos(const union netaddr *to, size_t len, size_t seg, uint8_t tos)
{
    add(to, len, seg, "");
    batch.runs[batch.count - 1].tos = tos;
}

/* Neighbours that could be one message but for their TOS bytes; to a peer, and to the connected one. */
static void each_run_leaves_with_its_tos(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    static const uint8_t sent[] = {0, 1, 1, 3, 2, 0}, dscp = 46 << 2;
    dgram_io_carry(io, DGRAM_ECN);
    for (int round = 0; round < 4; round++) {
        union netaddr a, b;
        struct dgram_tally tally = {0};
        struct dgram_socket from = open_at(hosts[round % 2], &a), to = open_receiver(hosts[round % 2], &b);
        hear_tos(&to);
        const bool connected = round >= 2;
        if (connected) {
            from.tos = dscp;
            int tos = dscp;
            (void)setsockopt(from.fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
            (void)setsockopt(from.fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
            assert_int_equal(sock_udp_connect(from.fd, &b), 0);
        }
        for (size_t i = 0; i < sizeof(sent); i++)
            add_with_tos(connected ? NULL : &b, 200, 100, sent[i]);
        dgram_io_send(io, &from, &batch, &tally);
        assert_int_equal(tally.datagrams, 2 * sizeof(sent));
        for (size_t i = 0; i < 2 * sizeof(sent); i++)
            assert_int_equal(read_tos(&to, 100), sent[i / 2] | (connected ? dscp : 0));
        close(from.fd);
        close(to.fd);
    }
}

static void a_run_brings_the_bits_that_are_carried(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    static const uint8_t carried[] = {DGRAM_TOS, DGRAM_ECN, 0};
    static const uint8_t sent[] = {46 << 2 | 3, 0, 10 << 2 | 1};
    for (size_t h = 0; h < 2; h++) {
        union netaddr a, b;
        dgram_io_carry(io, DGRAM_TOS);
        struct dgram_socket from = open_at(hosts[h], &a), to = open_at(hosts[h], &b);
        for (size_t c = 0; c < sizeof(carried); c++) {
            struct dgram_tally tally = {0};
            size_t count = 0;
            dgram_io_carry(io, DGRAM_TOS);
            for (size_t i = 0; i < sizeof(sent); i++)
                add_with_tos(&b, 300, 100, sent[i]);
            dgram_io_send(io, &from, &batch, &tally);
            dgram_io_carry(io, carried[c]);
            for (size_t n; (n = dgram_io_recv(io, &to, runs, DGRAM_BATCH_MAX));)
                for (size_t i = 0; i < n; count += runs[i++].count)
                    assert_int_equal(runs[i].tos, sent[count / 3] & carried[c]);
            assert_int_equal(count, 3 * sizeof(sent));
        }
        close(from.fd);
        close(to.fd);
    }
}

/* Returns how many runs came; each has one datagram. */
static size_t receive_singly(struct dgram_socket *to, size_t most)
{
    size_t count = 0;
    for (size_t n; count < most && (n = dgram_io_recv(io, to, runs, DGRAM_BATCH_MAX)); count += n)
        for (size_t i = 0; i < n; i++)
            assert_int_equal(runs[i].count, 1);
    return count;
}

static void what_was_joined_arrives_as_a_run_after_the_first_burst(void **state)
{
    (void)state;
    if (!dgram_io_can_offload())
        SKIP_TEST("this kernel joins no datagrams");
    dgram_io_free(io);
    io = dgram_io_new(true);
    union netaddr a, b;
    struct dgram_socket from = open_at("127.0.0.1", &a), to = open_at("127.0.0.1", &b);
    struct dgram_tally tally = {0};
    add(&b, 950, 100, "");
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(receive_singly(&to, 10), 10);
    add(&b, 950, 100, "");
    dgram_io_send(io, &from, &batch, &tally);
    assert_int_equal(dgram_io_recv(io, &to, runs, DGRAM_BATCH_MAX), 1);
    assert_int_equal(runs[0].count, 10);
    assert_int_equal(runs[0].seg, 100);
    assert_int_equal(runs[0].last, 50);
    for (size_t i = 0; i < 10; i++)
        assert_memory_equal(dgram_run_at(&runs[0], i), payload + i * 100, dgram_run_len(&runs[0], i));
    close(from.fd);
    close(to.fd);
}

static void what_was_received_is_sent_on_with_a_header(void **state)
{
    (void)state;
    static const char header[] = "a header of 22 bytes..";
    union netaddr a, b, c;
    struct dgram_socket from = open_at("127.0.0.1", &a), relay = open_at("127.0.0.1", &b),
                        to = open_receiver("127.0.0.1", &c);
    struct dgram_tally tally = {0};
    static const size_t lens[] = {0, 1, 1000, 9000};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        add(&b, lens[i], lens[i], "");
        dgram_io_send(io, &from, &batch, &tally);
        assert_int_equal(dgram_io_recv(io, &relay, runs, 1), 1);
        struct dgram_run *run = &batch.runs[batch.count++];
        *run = runs[0];
        run->peer = c;
        run->header_len = sizeof(header) - 1;
        memcpy(run->header, header, run->header_len);
        dgram_io_send(io, &relay, &batch, &tally);
        expect(&to, header, 0, lens[i]);
    }
    assert_int_equal(tally.datagrams, 8);
    assert_int_equal(tally.bytes, 2 * (0 + 1 + 1000 + 9000));
    close(from.fd);
    close(relay.fd);
    close(to.fd);
}

/* A pair of local sockets counts what the receiver has not read; over loopback nothing is ever left to send. */
static void a_full_send_buffer_grows_once(void **state)
{
    (void)state;
    enum { SMALL = 4608, LEN = 4000, SENT = 4 };
    int pair[2], small = SMALL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    struct dgram_socket from = {.fd = pair[0]};
    for (int turn = 0; turn < 2; turn++) {
        struct dgram_tally tally = {0};
        for (int i = 0; i < SENT; i++) {
            add(NULL, LEN, LEN, "");
            dgram_io_send(io, &from, &batch, &tally);
        }
        assert_int_equal(tally.datagrams == SENT, turn == 0);
        assert_int_equal(tally.lost[DGRAM_LOST_FULL], SENT - tally.datagrams);
        while (recv(pair[1], received, sizeof(received), 0) > 0)
            continue;
        assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    }
    close(pair[0]);
    close(pair[1]);
}

static int begin(void **state)
{
    const bool *offload = *state;
    io = dgram_io_new(*offload && dgram_io_can_offload());
    batch.count = 0;
    return io ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    dgram_io_free(io);
    return 0;
}

int main(void)
{
    static bool plain = false, offload = true;
    range = port_range_of_system(ports_new());
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
#define TEST(name)                                                                                                     \
    cmocka_unit_test_prestate_setup_teardown(name, begin, end, &plain),                                                \
        cmocka_unit_test_prestate_setup_teardown(name, begin, end, &offload)
    const struct CMUnitTest tests[] = {
        TEST(sizes_arrive_exactly),
        TEST(headers_go_in_front_of_each_segment),
        TEST(many_are_received_in_order),
        TEST(a_connected_socket_needs_no_address),
        TEST(each_loss_has_its_reason_and_the_rest_is_sent),
        TEST(icmp_errors_cost_nothing),
        TEST(any_mixture_arrives_in_order),
        TEST(a_stride_skips_what_lies_between),
        TEST(long_runs_are_cut_into_messages),
        TEST(what_was_received_is_sent_on_with_a_header),
        TEST(a_full_send_buffer_grows_once),
        TEST(each_run_leaves_with_its_tos),
        TEST(a_run_brings_the_bits_that_are_carried),
        cmocka_unit_test_prestate_setup_teardown(what_was_joined_arrives_as_a_run_after_the_first_burst, begin, end,
                                                 &offload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
