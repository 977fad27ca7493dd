/* The kernel path's program on bytes: what it relays is what the model sends. */
#include "kernel_program.h"

/* ---- what is relayed ---- */

static void require_all_sizes(int family, enum flow_way way)
{
    const size_t most = ETHERNET_MTU - headers_len(family);
    for (size_t len = 0; len <= most; len++) {
        const struct packet_setup setup = setup_for(family, way, len);
        const struct packet packet = built(&setup);
        require_relayed(&packet);
    }
    const struct flow_count *count = &program.slots[model.slots[family].index].count[way];
    assert_int_equal(count->datagrams, most + 1);
    assert_int_equal(count->bytes, most * (most + 1) / 2);
}

static void datagrams_of_all_sizes_are_relayed(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_all_sizes);
}

static void require_without_padding(int family, enum flow_way way)
{
    for (size_t len = 0; len < 18; len++) {
        struct packet_setup setup = setup_for(family, way, len);
        setup.padding = 18 - len;
        const struct packet packet = built(&setup);
        require_relayed(&packet);
    }
}

static void padding_of_short_frames_is_removed(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_without_padding);
}

static void require_traffic_class(int family, enum flow_way way)
{
    struct flow_model_slot *slot = &model.slots[family];
    slot->tos[way].keep = way == FLOW_UP ? 0xff : 0x03;
    slot->tos[way].set = way == FLOW_UP ? 0x00 : 0xb8;
    install_slot(slot);
    for (unsigned tos = 0; tos < 256; tos++) {
        struct packet_setup setup = setup_for(family, way, 20);
        setup.tos = (uint8_t)tos;
        const struct packet packet = built(&setup);
        require_relayed(&packet);
    }
}

static void the_traffic_class_is_kept_or_set(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_traffic_class);
}

/* ---- checksums ---- */

static void no_checksum_stays_none_on_ipv4(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (int way = FLOW_UP; way < FLOW_WAYS; way++) {
        struct packet_setup setup = setup_for(V4, (enum flow_way)way, 100);
        setup.checksum = PACKET_UNCHECKED;
        const struct packet packet = built(&setup);
        require_relayed(&packet);
        setup = setup_for(V6, (enum flow_way)way, 100);
        setup.checksum = PACKET_UNCHECKED;
        const struct packet without_v6 = built(&setup);
        require_ignored(&without_v6);
    }
}

/* The datagram's first word is chosen so that the sum over what leaves is 0xffff, whose complement may not be sent. */
static void require_zero_as_ffff(int family, enum flow_way way)
{
    struct flow_model_result result;
    if (program.mode == MODE_PARTIAL)
        return;
    payload[0] = payload[1] = 0;
    struct packet_setup setup = setup_for(family, way, 64);
    struct packet packet = built(&setup);
    const struct flow_model_arrival arrival = {.packet = &packet, .interface = LOOPBACK};
    struct flow_model copy = model;
    flow_model_run(&copy, &arrival, &result);
    const size_t check_at = PACKET_ETH_LEN + (family == V6 ? 40 : 20) + 6;
    const uint16_t missing = packet_number(&result.packet, check_at);
    payload[0] = (uint8_t)(missing >> 8);
    payload[1] = (uint8_t)missing;
    setup = setup_for(family, way, 64);
    packet = built(&setup);
    copy = model;
    flow_model_run(&copy, &arrival, &result);
    assert_int_equal(packet_number(&result.packet, check_at), 0xffff);
    require_relayed(&packet);
}

static void a_checksum_of_zero_is_sent_as_ffff(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_zero_as_ffff);
}

/* The program does not repair what was damaged before. The receiver finds it, as it would without a relay. */
static void require_wrong_stays_wrong(int family, enum flow_way way)
{
    const struct packet_setup setup = setup_for(family, way, 64);
    struct packet packet = built(&setup);
    packet.bytes[packet.len - 1] ^= 0x10;
    require_relayed(&packet);
}

static void a_wrong_checksum_stays_wrong(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_wrong_stays_wrong);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(datagrams_of_all_sizes_are_relayed), TEST(padding_of_short_frames_is_removed),
        TEST(the_traffic_class_is_kept_or_set),   TEST(no_checksum_stays_none_on_ipv4),
        TEST(a_checksum_of_zero_is_sent_as_ffff), TEST(a_wrong_checksum_stays_wrong),
    };
    return cmocka_run_group_tests(tests, kernel_program_open, kernel_program_close);
}
