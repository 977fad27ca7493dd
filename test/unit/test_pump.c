#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/pump.h"
#include "net/sock.h"

static struct pump_pool *pool;

/* Two TCP connections: source -> [from, pump, to] -> sink. */
struct path {
    int source, from, to, sink;
    struct pump pump;
};

static void connect_pair(int *a, int *b)
{
    union netaddr where, peer;
    assert_true(netaddr_parse(&where, "127.0.0.1", 0));
    int listener = sock_listen(&where, false);
    where = sock_local(listener);
    *a = sock_connect(NULL, &where, NULL);
    struct pollfd poll_fd = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    *b = sock_accept(listener, &peer);
    assert_true(*a >= 0 && *b >= 0);
    close(listener);
}

static int begin(void **state)
{
    const bool *splice = *state;
    pool = pump_pool_new(*splice, NULL);
    struct path *path = calloc(1, sizeof(*path));
    connect_pair(&path->source, &path->from);
    connect_pair(&path->to, &path->sink);
    pump_init(&path->pump, path->from, path->to);
    *state = path;
    return 0;
}

static int end(void **state)
{
    struct path *path = *state;
    pump_deinit(&path->pump, pool);
    pump_pool_free(pool);
    close(path->source);
    close(path->from);
    close(path->to);
    close(path->sink);
    free(path);
    return 0;
}

static void wait_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
}

static void bytes_pass_and_it_waits_for_more(void **state)
{
    struct path *path = *state;
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_WAITS_TO_READ);
    assert_int_equal(write(path->source, "hello", 5), 5);
    wait_readable(path->from);
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_WAITS_TO_READ);
    assert_int_equal(path->pump.bytes, 5);
    char text[8];
    wait_readable(path->sink);
    assert_int_equal(read(path->sink, text, sizeof(text)), 5);
}

static void an_end_is_a_half_close(void **state)
{
    struct path *path = *state;
    assert_int_equal(write(path->source, "bye", 3), 3);
    shutdown(path->source, SHUT_WR);
    enum pump_state reached = PUMP_WAITS_TO_READ;
    for (int i = 0; i < 10 && reached != PUMP_DONE; i++) {
        wait_readable(path->from);
        reached = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    }
    assert_int_equal(reached, PUMP_DONE);
    char text[8];
    wait_readable(path->sink);
    assert_int_equal(read(path->sink, text, sizeof(text)), 3);
    wait_readable(path->sink);
    assert_int_equal(read(path->sink, text, sizeof(text)), 0);
    assert_int_equal(write(path->sink, "x", 1), 1); /* the other way is still open */
    wait_readable(path->to);
}

static uint32_t segments_received(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_segs_in;
}

/* Had they been sent one by one, the bytes would be a packet of their own. */
static void the_last_bytes_and_the_end_leave_together(void **state)
{
    struct path *path = *state;
    struct pollfd ended = {.fd = path->from, .events = POLLRDHUP};
    char text[8];
    assert_int_equal(write(path->source, "bye", 3), 3);
    shutdown(path->source, SHUT_WR);
    assert_int_equal(poll(&ended, 1, 5000), 1);
    const uint32_t before = segments_received(path->sink);
    path->pump.from_ended = true;
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_DONE);
    ended.fd = path->sink;
    assert_int_equal(poll(&ended, 1, 0), 1); /* loopback delivers inside the call */
    assert_int_equal(segments_received(path->sink) - before, 1);
    assert_int_equal(read(path->sink, text, sizeof(text)), 3);
    assert_int_equal(read(path->sink, text, sizeof(text)), 0);
}

static void closing_forwards_the_end_as_well(void **state)
{
    struct path *path = *state;
    struct pollfd ended = {.fd = path->sink, .events = POLLRDHUP};
    char text[8];
    assert_int_equal(write(path->source, "bye", 3), 3);
    shutdown(path->source, SHUT_WR);
    path->pump.to_is_closed_next = true;
    enum pump_state reached = PUMP_WAITS_TO_READ;
    for (int i = 0; i < 10 && reached != PUMP_DONE; i++) {
        wait_readable(path->from);
        reached = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    }
    assert_int_equal(reached, PUMP_DONE);
    assert_int_equal(poll(&ended, 1, 0), 0);
    close(path->to);
    path->to = -1;
    wait_readable(path->sink);
    assert_int_equal(read(path->sink, text, sizeof(text)), 3);
    assert_int_equal(read(path->sink, text, sizeof(text)), 0);
}

/* Row 44: a reader that does not read stops the pump; nothing is lost, and no more is taken meanwhile. */
static void a_slow_reader_gets_everything(void **state)
{
    struct path *path = *state;
    static uint8_t block[65536];
    uint64_t written = 0, read_back = 0;
    enum pump_state now = PUMP_WAITS_TO_READ;
    for (int i = 0; i < 2000 && now != PUMP_WAITS_TO_WRITE; i++) {
        for (size_t k = 0; k < sizeof(block); k++)
            block[k] = (uint8_t)((written + k) * 31 / 7);
        ssize_t n = send(path->source, block, sizeof(block), MSG_DONTWAIT);
        written += n > 0 ? (uint64_t)n : 0;
        now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    }
    assert_int_equal(now, PUMP_WAITS_TO_WRITE);
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_WAITS_TO_WRITE);
    shutdown(path->source, SHUT_WR);
    for (int i = 0; i < 100000 && read_back < written; i++) {
        ssize_t n = recv(path->sink, block, sizeof(block), MSG_DONTWAIT);
        for (ssize_t k = 0; k < n; k++)
            assert_int_equal(block[k], (uint8_t)((read_back + (uint64_t)k) * 31 / 7));
        read_back += n > 0 ? (uint64_t)n : 0;
        if (now != PUMP_DONE)
            now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    }
    assert_int_equal(read_back, written);
    for (int i = 0; i < 10 && now != PUMP_DONE; i++)
        now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    assert_int_equal(now, PUMP_DONE);
    assert_int_equal(path->pump.bytes, written);
}

static void a_reset_breaks_it(void **state)
{
    struct path *path = *state;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(path->source, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(path->source);
    path->source = dup(path->from);
    wait_readable(path->from);
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_BROKEN);
    assert_int_equal(path->pump.error, ECONNRESET);
}

/* Row 40: without descriptors for a pipe, bytes are copied. */
static void no_pipe_no_harm(void **state)
{
    struct path *path = *state;
    static uint8_t block[65536];
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    uint64_t moved = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < 50; i++) {
        ssize_t n = send(path->source, block, sizeof(block), MSG_DONTWAIT);
        moved += n > 0 ? (uint64_t)n : 0;
        assert_int_not_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_BROKEN);
        while (recv(path->sink, block, sizeof(block), MSG_DONTWAIT) > 0)
            ;
    }
    for (int i = 0; i < 10000 && path->pump.bytes < moved; i++) {
        assert_int_not_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_BROKEN);
        while (recv(path->sink, block, sizeof(block), MSG_DONTWAIT) > 0)
            ;
    }
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(path->pump.bytes, moved);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 100; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void an_idle_pump_holds_nothing(void **state)
{
    struct path *path = *state;
    static uint8_t block[65536];
    size_t before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        assert_true(send(path->source, block, sizeof(block), MSG_DONTWAIT) > 0);
        wait_readable(path->from);
        while (pump_run(&path->pump, pool, PUMP_NO_LIMIT) != PUMP_WAITS_TO_READ)
            while (recv(path->sink, block, sizeof(block), MSG_DONTWAIT) > 0)
                ;
        assert_null(path->pump.rest);
        assert_int_equal(path->pump.pipe[0], -1);
        while (recv(path->sink, block, sizeof(block), MSG_DONTWAIT) > 0)
            ;
    }
    assert_in_range(open_descriptors(), before, before + 2); /* one pipe, the pool's */
    pump_pool_trim(pool);
    pump_pool_trim(pool);
    assert_int_equal(open_descriptors(), before);
}

/* Row 45: while memory is to be saved a stream that flows is copied, in small pieces, and no pipe is kept. */
static void without_pipes_while_memory_is_short(void **state)
{
    struct path *path = *state;
    static uint8_t block[65536];
    size_t before = open_descriptors();
    for (int saves = 1; saves >= 0; saves--) {
        enum pump_state now = PUMP_WAITS_TO_READ;
        pump_pool_save_memory(pool, saves);
        for (int i = 0; i < 2000 && now != PUMP_WAITS_TO_WRITE; i++) {
            (void)send(path->source, block, sizeof(block), MSG_DONTWAIT);
            now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
        }
        assert_int_equal(now, PUMP_WAITS_TO_WRITE);
        assert_in_range(pump_held(&path->pump), 1, saves ? 16 * 1024 : 256 * 1024);
        if (saves)
            assert_int_equal(open_descriptors(), before);
        for (int i = 0; i < 100000 && now != PUMP_WAITS_TO_READ; i++) {
            while (recv(path->sink, block, sizeof(block), MSG_DONTWAIT) > 0)
                ;
            now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
        }
        assert_int_equal(now, PUMP_WAITS_TO_READ);
        assert_int_equal(pump_held(&path->pump), 0);
    }
    assert_in_range(open_descriptors(), before, before + 2);
    pump_pool_save_memory(pool, true);
    assert_int_equal(open_descriptors(), before);
}

static size_t hear(int fd, uint64_t heard)
{
    uint8_t block[4096];
    ssize_t n = recv(fd, block, sizeof(block), MSG_DONTWAIT);
    for (ssize_t k = 0; k < n; k++)
        assert_int_equal(block[k], (uint8_t)((heard + (uint64_t)k) * 31 / 7));
    return n > 0 ? (size_t)n : 0;
}

/* No turn takes more than its limit; all arrives in the end, and the end does, too. */
static void it_keeps_to_a_limit(void **state)
{
    struct path *path = *state;
    enum { TOTAL = 700000 };
    static uint8_t bytes[TOTAL];
    static const uint64_t limits[] = {1, 0, 100, 16 * 1024, 0, 16 * 1024 + 1, 100000, 3};
    uint64_t heard = 0;
    size_t sent = 0;
    enum pump_state now = PUMP_GOES_ON;
    for (size_t k = 0; k < TOTAL; k++)
        bytes[k] = (uint8_t)(k * 31 / 7);
    for (size_t i = 0; i < 100000 && now != PUMP_DONE; i++) {
        ssize_t n = sent < TOTAL ? send(path->source, bytes + sent, TOTAL - sent, MSG_DONTWAIT) : 0;
        sent += n > 0 ? (size_t)n : 0;
        if (n > 0 && sent == TOTAL)
            shutdown(path->source, SHUT_WR);
        uint64_t limit = limits[i % (sizeof(limits) / sizeof(limits[0]))], before = path->pump.taken;
        now = pump_run(&path->pump, pool, limit);
        assert_int_not_equal(now, PUMP_BROKEN);
        assert_in_range(path->pump.taken - before, 0, limit);
        if (path->pump.taken - before == limit && now != PUMP_DONE)
            assert_true(now == PUMP_GOES_ON || now == PUMP_WAITS_TO_WRITE);
        heard += hear(path->sink, heard);
    }
    assert_int_equal(now, PUMP_DONE);
    for (int i = 0; i < 100000 && heard < TOTAL; i++)
        heard += hear(path->sink, heard);
    assert_int_equal(heard, TOTAL);
    assert_int_equal(path->pump.taken, TOTAL);
    assert_int_equal(path->pump.bytes, TOTAL);
}

/* What was read before the limit was reached goes out without one. */
static void a_limit_of_nothing_still_writes(void **state)
{
    struct path *path = *state;
    static uint8_t block[65536];
    enum pump_state now = PUMP_GOES_ON;
    for (int i = 0; i < 2000 && now != PUMP_WAITS_TO_WRITE; i++) {
        (void)!send(path->source, block, sizeof(block), MSG_DONTWAIT);
        now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
    }
    assert_int_equal(now, PUMP_WAITS_TO_WRITE);
    uint64_t taken = path->pump.taken;
    assert_true(path->pump.bytes < taken);
    for (int i = 0; i < 100000 && now != PUMP_GOES_ON; i++) {
        (void)recv(path->sink, block, sizeof(block), MSG_DONTWAIT);
        now = pump_run(&path->pump, pool, 0);
    }
    assert_int_equal(now, PUMP_GOES_ON);
    assert_int_equal(path->pump.bytes, taken);
    assert_int_equal(path->pump.taken, taken);
}

static void append(int fd, uint8_t *heard, size_t size, size_t *len)
{
    ssize_t n = recv(fd, heard + *len, size - *len, MSG_DONTWAIT);
    *len += n > 0 ? (size_t)n : 0;
}

/* Row 64: telnet's synch, FTP's ABOR. The mark is no end, wherever it lies: in what is copied, in what is spliced. */
static void row64_urgent_data_keeps_its_place(void **state)
{
    struct path *path = *state;
    enum { BEFORE = 500000, AFTER = 100000, TOTAL = BEFORE + 1 + AFTER };
    static uint8_t sent[TOTAL], heard[TOTAL + 1];
    size_t said = 0, len = 0;
    enum pump_state now = PUMP_GOES_ON;
    for (size_t k = 0; k < TOTAL; k++)
        sent[k] = (uint8_t)(k * 31 / 7);
    for (size_t i = 0; i < 100000 && now != PUMP_DONE; i++) {
        const size_t upto = said < BEFORE ? BEFORE : said == BEFORE ? BEFORE + 1 : TOTAL;
        if (said < TOTAL) {
            ssize_t n = send(path->source, sent + said, upto - said, MSG_DONTWAIT | (said == BEFORE ? MSG_OOB : 0));
            said += n > 0 ? (size_t)n : 0;
            if (n > 0 && said == TOTAL)
                shutdown(path->source, SHUT_WR);
        }
        if (said == TOTAL || i % 8 == 0)
            now = pump_run(&path->pump, pool, PUMP_NO_LIMIT);
        assert_int_not_equal(now, PUMP_BROKEN);
        append(path->sink, heard, sizeof(heard), &len);
    }
    assert_int_equal(now, PUMP_DONE);
    for (int i = 0; i < 100000 && len < TOTAL; i++)
        append(path->sink, heard, sizeof(heard), &len);
    assert_int_equal(len, TOTAL);
    assert_memory_equal(heard, sent, TOTAL);
}

/* What has failed is told: the reader when writing to it fails, the source otherwise. */
static void what_has_failed_is_told(void **state)
{
    struct path *path = *state;
    assert_int_equal(write(path->source, "hello", 5), 5);
    wait_readable(path->from);
    sock_abort(path->sink);
    wait_readable(path->to);
    path->sink = dup(path->to);
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_BROKEN);
    assert_int_equal(path->pump.failed, PUMP_FAILED_TO);

    pump_init(&path->pump, path->from, path->to);
    assert_int_equal(write(path->source, "more", 4), 4);
    wait_readable(path->from);
    assert_true(pump_discard(&path->pump, pool));
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_WAITS_TO_READ); /* it is gone */
    sock_abort(path->source);
    path->source = dup(path->from);
    wait_readable(path->from);
    assert_int_equal(pump_run(&path->pump, pool, PUMP_NO_LIMIT), PUMP_BROKEN);
    assert_int_equal(path->pump.failed, PUMP_FAILED_FROM);
    assert_false(pump_discard(&path->pump, pool));
}

int main(void)
{
    static bool copy = false, splice = true;
#define TEST(name)                                                                                                     \
    cmocka_unit_test_prestate_setup_teardown(name, begin, end, &copy),                                                 \
        cmocka_unit_test_prestate_setup_teardown(name, begin, end, &splice)
    const struct CMUnitTest tests[] = {
        TEST(bytes_pass_and_it_waits_for_more),
        TEST(an_end_is_a_half_close),
        TEST(the_last_bytes_and_the_end_leave_together),
        TEST(closing_forwards_the_end_as_well),
        TEST(a_slow_reader_gets_everything),
        TEST(a_reset_breaks_it),
        TEST(no_pipe_no_harm),
        TEST(an_idle_pump_holds_nothing),
        TEST(without_pipes_while_memory_is_short),
        TEST(it_keeps_to_a_limit),
        TEST(a_limit_of_nothing_still_writes),
        TEST(row64_urgent_data_keeps_its_place),
        TEST(what_has_failed_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
