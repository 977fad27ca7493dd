#include "check/channel.h"

#include <errno.h>
#include <unistd.h>

#include "check/io.h"
#include "check/peer/ask.h"
#include "net/sock.h"
#include "test.h"

/* The proxy's relay, and a client's association with it. */
static int relay;
static struct channel channel;
static struct datagram room;

static int open_both(void **state)
{
    (void)state;
    union netaddr local;
    assert_true(netaddr_parse(&local, "127.0.0.1", 0));
    relay = io_udp(&local, true);
    channel = (struct channel){.kind = CHANNEL_RELAYED, .fd = io_udp(&local, true), .relay = sock_local(relay)};
    assert_true(relay >= 0 && channel.fd >= 0);
    return 0;
}

static int close_both(void **state)
{
    (void)state;
    close(relay);
    close(channel.fd);
    return 0;
}

static void relay_send(const char *bytes, size_t len)
{
    const union netaddr to = sock_local(channel.fd);
    assert_int_equal(sendto(relay, bytes, len, 0, &to.sa, netaddr_len(&to)), len);
}

#define GARBAGE           "\0\0\0\7"
#define FROM(where)       "\0\0\0\1" where "\0\7hello"
#define RELAY_SENDS(text) relay_send(text, sizeof(text) - 1)

static void garbage_is_counted_and_skipped(void **state)
{
    (void)state;
    RELAY_SENDS(GARBAGE);
    RELAY_SENDS(FROM("\300\0\2\1"));
    assert_int_equal(channel_receive(&channel, &room, clock_ms() + 10000), 0);
    assert_int_equal(channel.garbage, 1);
    assert_int_equal(room.len, 5);
    assert_memory_equal(room.payload, "hello", 5);
}

/* A proxy that sends without an end delays the caller no longer than silence would. */
static void garbage_does_not_extend_the_deadline(void **state)
{
    (void)state;
    RELAY_SENDS(GARBAGE);
    RELAY_SENDS(FROM("\300\0\2\1"));
    assert_int_equal(channel_receive(&channel, &room, 0), -ETIMEDOUT);
}

static void strangers_do_not_extend_the_deadline(void **state)
{
    (void)state;
    struct server_line line = {.channel = &channel, .room = &room};
    assert_true(netaddr_parse(&line.to, "192.0.2.1", 7));
    RELAY_SENDS(FROM("\300\0\2\2"));
    RELAY_SENDS(FROM("\300\0\2\1"));
    assert_false(line_receive(&line, 0));
    assert_true(line_receive(&line, 0)); /* what has arrived is received, even after the deadline */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(garbage_is_counted_and_skipped, open_both, close_both),
        cmocka_unit_test_setup_teardown(garbage_does_not_extend_the_deadline, open_both, close_both),
        cmocka_unit_test_setup_teardown(strangers_do_not_extend_the_deadline, open_both, close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
