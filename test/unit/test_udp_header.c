/* The SOCKS5 UDP header of runs and batches. */
#include "test.h"

#include <string.h>

#include "proxy/assoc/udp_header.h"
#include "support/bytes.h"

static union netaddr address(const char *text, uint16_t port)
{
    union netaddr result;
    assert_true(netaddr_parse(&result, text, port));
    return result;
}

static uint8_t payload[DGRAM_PAYLOAD_MAX];

static struct dgram_run run_of(const char *peer, uint16_t count, uint16_t size)
{
    return (struct dgram_run){
        .peer = address(peer, 53), .data = payload, .count = count, .seg = size, .last = size, .stride = size};
}

static void each_run_gets_its_peer_in_front(void **state)
{
    (void)state;
    static struct dgram_batch batch;
    struct dgram_tally tally = {0};
    uint8_t expected[DGRAM_HEADER_MAX];
    const union netaddr client = address("10.0.0.2", 7000);
    batch = (struct dgram_batch){.count = 2, .runs = {run_of("192.0.2.10", 3, 100), run_of("2001:db8::10", 1, 0)}};
    udp_header_put(&batch, &client, &tally);
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.runs[0].header_len, bytes_from_text("000000 01 c000020a 0035", expected, sizeof(expected)));
    assert_memory_equal(batch.runs[0].header, expected, batch.runs[0].header_len);
    assert_int_equal(batch.runs[1].header_len,
                     bytes_from_text("000000 04 20010db8 00*11 10 0035", expected, sizeof(expected)));
    assert_memory_equal(batch.runs[1].header, expected, batch.runs[1].header_len);
    assert_true(netaddr_equal(&batch.runs[0].peer, &client) && netaddr_equal(&batch.runs[1].peer, &client));
}

/* What fits with the header of IPv4 may not with that of IPv6. The others stay, in their order. */
static void what_gets_too_large_leaves_the_batch(void **state)
{
    (void)state;
    static struct dgram_batch batch;
    struct dgram_tally tally = {0};
    const union netaddr nobody = {0};
    const uint16_t most = DGRAM_PAYLOAD_MAX - SOCKS5_UDP_HEADER_V4;
    batch = (struct dgram_batch){.count = 4,
                                 .runs = {run_of("192.0.2.1", 1, 1), run_of("2001:db8::1", 1, most),
                                          run_of("192.0.2.2", 1, most), run_of("192.0.2.3", 2, most + 1)}};
    udp_header_put(&batch, &nobody, &tally);
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.runs[0].header[7], 1);
    assert_int_equal(batch.runs[1].header[7], 2);
    assert_int_equal(tally.lost[DGRAM_LOST_OVERSIZE], 3);
    assert_int_equal(tally.datagrams, 0);
}

/* Three with one header, one with another, one without any: as the kernel may join them. */
static void a_run_is_cut_where_headers_differ(void **state)
{
    (void)state;
    uint8_t bytes[256];
    const size_t len = bytes_from_text("000000 01 c000020a 0035 'a1'  000000 01 c000020a 0035 'a2'"
                                       "  000000 01 c000020a 0035 'a3'  000000 01 c000020b 0035 'b4'"
                                       "  000001 01 c000020a 0035 'c5'  000000 01 c00002",
                                       bytes, sizeof(bytes));
    const struct dgram_run run = {.data = bytes, .count = 6, .seg = 12, .last = (uint16_t)(len - 60), .stride = 12};
    struct socks5_udp_header header;
    struct dgram_run payloads;
    enum drop_reason reason;
    assert_int_equal(udp_header_cut(&run, 0, &header, &payloads, &reason), 3);
    assert_int_equal(payloads.count, 3);
    assert_int_equal(header.destination.port, 53);
    assert_memory_equal(dgram_run_at(&payloads, 2), "a3", dgram_run_len(&payloads, 2));
    assert_int_equal(udp_header_cut(&run, 3, &header, &payloads, &reason), 1);
    assert_memory_equal(dgram_run_at(&payloads, 0), "b4", dgram_run_len(&payloads, 0));
    assert_int_equal(udp_header_cut(&run, 4, &header, &payloads, &reason), 1);
    assert_int_equal(payloads.count, 0);
    assert_int_equal(reason, DROP_FRAGMENT);
    assert_int_equal(udp_header_cut(&run, 5, &header, &payloads, &reason), 1);
    assert_int_equal(payloads.count, 0);
    assert_int_equal(reason, DROP_BAD_HEADER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_run_gets_its_peer_in_front),
        cmocka_unit_test(what_gets_too_large_leaves_the_batch),
        cmocka_unit_test(a_run_is_cut_where_headers_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
