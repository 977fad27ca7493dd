/* An association over TCP: the connection is a real one, a pair of sockets; the rest is the world's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "association.h"
#include "support/bytes.h"

static int near_end, far_end; /* ours, the client's */
static const char *ended_why;
static struct loan payer_loan; /* what the association's payer has borrowed; outlives the association */

static void on_ended(void *arg, const char *why)
{
    (void)arg;
    assert_null(ended_why);
    ended_why = why;
    assoc_free(assoc);
    assoc = NULL;
}

static int begin_pair(void **state)
{
    begin(state);
    int pair[2];
    ended_why = NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    near_end = pair[0];
    far_end = pair[1];
    return 0;
}

static int end_pair(void **state)
{
    assoc_free(assoc);
    assoc = NULL;
    close(near_end);
    close(far_end);
    return end(state);
}

static void open_behind(const uint8_t *early, size_t len)
{
    const struct assoc_hooks hooks = {.ended = on_ended};
    assert_int_equal(assoc_new_over_tcp(&assoc, &world_env,
                                        &(struct proxy_client){control_peer, control_local, 0, NULL}, near_end, early,
                                        len, &hooks),
                     0);
    assert_true(assoc_is_over_tcp(assoc));
}

static void open_unstarted(void)
{
    open_behind(NULL, 0);
}

static void open_over_tcp(void)
{
    open_unstarted();
    assoc_start(assoc);
}

static void from_client_bytes(const uint8_t *bytes, size_t len)
{
    assert_int_equal(write(far_end, bytes, len), len);
    world_run();
}

static void from_client_text(const char *text)
{
    uint8_t bytes[1024];
    from_client_bytes(bytes, bytes_from_text(text, bytes, sizeof(bytes)));
}

static void expect_frame(const char *text)
{
    uint8_t expected[512], bytes[512];
    size_t len = bytes_from_text(text, expected, sizeof(expected));
    world_run();
    assert_int_equal(read(far_end, bytes, len), len);
    assert_memory_equal(bytes, expected, len);
}

static void expect_no_frame(void)
{
    uint8_t byte;
    world_run();
    assert_int_equal(read(far_end, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
}

/* ---- up ---- */

#define TO_SERVER  "0a 01 c000020a 0035"
#define TO_SERVER2 "0a 01 c000020b 0036"
#define TO_SERVER6 "16 04 20010db8 00*11 10 0035"

static void expect_three(void)
{
    expect_up(&server, "ping");
    expect_up(&server2, "");
    expect_up(&server, "a longer one than that");
    expect_nothing();
}

static void frames_sent_early(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t len = bytes_from_text("0004" TO_SERVER "'ping'  0000" TO_SERVER2 "0016" TO_SERVER "'a longer one than that'",
                                 bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= len; cut++) {
        open_behind(bytes, cut);
        world_run();
        expect_nothing();
        assoc_start(assoc);
        if (cut < len)
            from_client_bytes(bytes + cut, len - cut);
        world_run();
        expect_three();
        assoc_free(assoc);
    }
    assoc = NULL;
}

static void frames_cut_anywhere(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t len = bytes_from_text("0004" TO_SERVER "'ping'  0000" TO_SERVER2 "0016" TO_SERVER "'a longer one than that'",
                                 bytes, sizeof(bytes));
    open_over_tcp();
    for (size_t cut = 0; cut <= len; cut++) {
        if (cut > 0)
            from_client_bytes(bytes, cut);
        if (cut < len)
            from_client_bytes(bytes + cut, len - cut);
        expect_three();
    }
    for (size_t i = 0; i < len; i++)
        from_client_bytes(bytes + i, 1);
    expect_three();
    assert_int_equal(flow()->up_datagrams, (len + 2) * 3);
}

/* An upstream may take its time to grant it. */
static void row_69_frames_before_the_start_wait(void **state)
{
    (void)state;
    open_unstarted();
    from_client_text("0001 0a 01 c000020a 0035 31");
    expect_nothing();
    assoc_start(assoc);
    world_run();
    expect_up(&server, "1");
}

/* More than one read takes, in all and in one frame. */
static void large_frames(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(3, SOCKS5_FRAME_MAX);
    size_t len = 0;
    for (int i = 0; i < 3; i++) {
        len += bytes_from_text("ea60" TO_SERVER, bytes + len, 16);
        len += 60000;
    }
    open_over_tcp();
    for (size_t at = 0; at < len;) {
        ssize_t n = write(far_end, bytes + at, len - at);
        assert_true(n > 0);
        at += (size_t)n;
        world_run();
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_next_sent()->len, 60000);
    expect_nothing();
    free(bytes);
}

static void each_datagram_is_judged(void **state)
{
    (void)state;
    open_over_tcp();
    from_client_text("0001 0a 01 e0000001 0035 'x'  0001 0a 01 c000020a 0000 'x'  0004" TO_SERVER "'good'");
    expect_up(&server, "good");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_REFUSED], 1);
    assert_int_equal(flow()->dropped[DROP_BAD_DESTINATION], 1);
    from_client_text("0003 10 03 09 'name.test' 0035 'two'");
    assert_true(world_answer("name.test", AF_INET6, RESOLVER_NOT_FOUND, NULL));
    assert_true(world_answer("name.test", AF_INET, RESOLVER_FOUND, "192.0.2.11"));
    union netaddr named = addr("192.0.2.11", 53);
    expect_up(&named, "two");
}

/* ---- down ---- */

static void each_sender_is_named(void **state)
{
    (void)state;
    open_over_tcp();
    from_internet(&server, "first"); /* and before the client has said anything: it is known by its connection */
    expect_frame("0005" TO_SERVER "'first'");
    from_internet(&server, "");
    expect_frame("0000" TO_SERVER);
    from_client_text("0001" TO_SERVER6 "'x'");
    expect_up(&server6, "x");
    from_internet(&server6, "six");
    expect_frame("0003" TO_SERVER6 "'six'");
    expect_no_frame();
    assert_int_equal(flow()->down_datagrams, 3);
    assert_int_equal(flow()->down_bytes, 8);
}

static void of_a_run_that_is_too_large_the_end_may_fit(void **state)
{
    (void)state;
    static const char bytes[3 * 10 + 4] = "0123456789"
                                          "0123456789"
                                          "0123456789"
                                          "last";
    open_over_tcp();
    const union netaddr *to = &flow()->external[FAMILY_V4];
    world_config.udp.over_tcp_max = 9;
    assert_true(world_arrive_run(&server, to, bytes, sizeof(bytes), 10));
    expect_frame("0004" TO_SERVER "'last'");
    assert_int_equal(flow()->dropped[DROP_OVERSIZE], 3);
    assert_true(world_arrive_run(&server, to, bytes, 20, 10));
    expect_no_frame();
    assert_int_equal(flow()->dropped[DROP_OVERSIZE], 5);
    world_config.udp.over_tcp_max = 10;
    assert_true(world_arrive_run(&server, to, bytes + 20, 14, 10));
    expect_frame("000a" TO_SERVER "'0123456789' 0004" TO_SERVER "'last'");
}

/* Row 44. */
static void who_does_not_read_loses_whole_datagrams(void **state)
{
    (void)state;
    enum { SIZE = 6000, FRAME = SIZE + SOCKS5_UDP_HEADER_V4 }; /* more than the connection takes at once */
    int small = 1;
    uint8_t payload[SIZE];
    assert_int_equal(setsockopt(near_end, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    world_config.udp.over_tcp_max = SIZE;
    open_over_tcp();
    for (unsigned i = 0; i < 200; i++) {
        memset(payload, (int)i, SIZE);
        assert_true(world_arrive(&server, &flow()->external[FAMILY_V4], payload, SIZE));
        world_run();
    }
    assert_true(flow()->down_datagrams >= 1 && flow()->dropped[DROP_SEND_FULL] >= 1);
    assert_true(assoc_memory(assoc) < 2 * SIZE);

    uint8_t bytes[FRAME];
    size_t filled = 0, whole = 0;
    unsigned more = 0;
    for (ssize_t n; world_run(), (n = read(far_end, bytes + filled, FRAME - filled)) > 0;) {
        if (more++ < 100) /* as the connection has room again for a moment */
            assert_true(world_arrive(&server, &flow()->external[FAMILY_V4], payload, SIZE));
        if ((filled += (size_t)n) < FRAME)
            continue;
        filled = 0;
        whole++;
        assert_int_equal(bytes[0] << 8 | bytes[1], SIZE);
        memset(payload, bytes[SOCKS5_UDP_HEADER_V4], SIZE); /* all of one datagram */
        assert_memory_equal(bytes + SOCKS5_UDP_HEADER_V4, payload, SIZE);
    }
    assert_int_equal(filled, 0);
    assert_int_equal(whole, flow()->down_datagrams);
    assert_int_equal(whole + flow()->dropped[DROP_SEND_FULL], 200 + 100);
    from_internet(&server, "again");
    expect_frame("0005" TO_SERVER "'again'");
}

/* ---- ends ---- */

static void row_14_a_bad_frame_ends_it(void **state)
{
    (void)state;
    open_over_tcp();
    from_client_text("0004" TO_SERVER "'good'  0000 09 01  c000020a 0035  0003" TO_SERVER "'bad'");
    const struct sent *out = world_next_sent();
    assert_non_null(out);
    assert_memory_equal(out->bytes, "good", 4);
    assert_null(world_next_sent());
    assert_non_null(ended_why);
    assert_non_null(strstr(ended_why, "HDRLEN"));
}

static void an_end_anywhere_in_a_frame(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t len = bytes_from_text("0004" TO_SERVER "'good'", bytes, sizeof(bytes));
    for (size_t cut = 0; cut < len; cut++) {
        open_over_tcp();
        if (cut > 0)
            from_client_bytes(bytes, cut);
        assert_null(ended_why);
        shutdown(far_end, SHUT_WR);
        world_run();
        assert_string_equal(ended_why, "client closed");
        end_pair(state);
        begin_pair(state);
    }
}

static void a_client_that_goes_in_the_midst_of_what_it_is_sent(void **state)
{
    (void)state;
    static const char payload[6000];
    int small = 1;
    assert_int_equal(setsockopt(near_end, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    world_config.udp.over_tcp_max = sizeof(payload);
    open_over_tcp();
    for (int i = 0; i < 50; i++) {
        assert_true(world_arrive(&server, &flow()->external[FAMILY_V4], payload, sizeof(payload)));
        world_run();
    }
    assert_true(flow()->dropped[DROP_SEND_FULL] > 0);
    close(far_end);
    far_end = -1;
    world_run();
    assert_non_null(ended_why);
}

/* ---- what has begun ---- */

#define SIXTY_THOUSAND "ea60" TO_SERVER
#define HALF           30000

/* The first half of a frame of 60,000 bytes; then the other one. */
static void say_half(bool first)
{
    uint8_t bytes[HALF + 16] = {0};
    size_t header = first ? bytes_from_text(SIXTY_THOUSAND, bytes, sizeof(bytes)) : 0;
    from_client_bytes(bytes, header + HALF);
}

static size_t lent(void)
{
    return world_env.loans.lent;
}

/* Row 60: a deadline for its end; what comes of it later is no frame, and the next one is. */
static void row_60_a_frame_that_is_not_finished(void **state)
{
    (void)state;
    open_over_tcp();
    say_half(true);
    assert_in_range(lent(), 60000, 61000);
    world_now_ms += 14999;
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(flow()->dropped[DROP_UNFINISHED], 0);
    world_now_ms += 1;
    assert_false(assoc_sweep(assoc, world_now_ms));
    assert_int_equal(flow()->dropped[DROP_UNFINISHED], 1);
    assert_int_equal(lent(), 0);
    say_half(false);
    from_client_text("0004" TO_SERVER "'ping'");
    expect_up(&server, "ping");
    expect_nothing();
    assert_null(ended_why);
}

static void row_60_memory_is_wanted_back(void **state)
{
    (void)state;
    open_over_tcp();
    say_half(true);
    assoc_call_loans(assoc);
    assert_int_equal(lent(), 0);
    say_half(false);
    from_client_text("0004" TO_SERVER "'ping'");
    expect_up(&server, "ping");
    expect_nothing();
    assert_int_equal(flow()->dropped[DROP_UNFINISHED], 1);
    assert_null(ended_why);
}

/* One client gets half of what there is, and leaves as much to the next. */
static void row_60_beginnings_are_bounded(void **state)
{
    (void)state;
    struct loan others = {.all = &world_env.loans};
    while (loan_take(&others, 60000))
        ;
    assert_in_range(lent(), LOANS_MAX / 2 - 60000, LOANS_MAX / 2 + 30000);
    open_over_tcp();
    say_half(true);
    assert_int_equal(flow()->dropped[DROP_UNFINISHED], 0);
    say_half(false);
    world_run();
    payer_loan = (struct loan){.all = &world_env.loans, .bytes = LOANS_MAX / 2};
    assoc_borrow(assoc, &payer_loan);
    say_half(true);
    assert_int_equal(flow()->dropped[DROP_UNFINISHED], 1);
    say_half(false);
    assert_null(ended_why);
    loan_give_back(&others, others.bytes);
    assert_int_equal(lent(), 0);
}

/* The other way half a frame cannot be dropped: the association of who does not read ends, and says why. */
static void row_60_a_reader_that_does_not_read_has_no_memory_left(void **state)
{
    (void)state;
    enum { SIZE = 6000 };
    int small = 1;
    uint8_t payload[SIZE] = {0};
    payer_loan = (struct loan){.all = &world_env.loans};
    assert_true(loan_take(&payer_loan, LOANS_MAX / 2));
    assert_int_equal(setsockopt(near_end, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    world_config.udp.over_tcp_max = SIZE;
    open_over_tcp();
    assoc_borrow(assoc, &payer_loan);
    for (unsigned i = 0; i < 200 && !ended_why; i++) {
        assert_true(world_arrive(&server, &flow()->external[FAMILY_V4], payload, SIZE));
        world_run();
    }
    assert_non_null(ended_why);
    assert_non_null(strstr(ended_why, "does not read"));
    assert_int_equal(lent(), LOANS_MAX / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_pair, end_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_sent_early),
        TEST(frames_cut_anywhere),
        TEST(row_69_frames_before_the_start_wait),
        TEST(large_frames),
        TEST(each_datagram_is_judged),
        TEST(each_sender_is_named),
        TEST(of_a_run_that_is_too_large_the_end_may_fit),
        TEST(who_does_not_read_loses_whole_datagrams),
        TEST(row_14_a_bad_frame_ends_it),
        TEST(an_end_anywhere_in_a_frame),
        TEST(a_client_that_goes_in_the_midst_of_what_it_is_sent),
        TEST(row_60_a_frame_that_is_not_finished),
        TEST(row_60_memory_is_wanted_back),
        TEST(row_60_beginnings_are_bounded),
        TEST(row_60_a_reader_that_does_not_read_has_no_memory_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
