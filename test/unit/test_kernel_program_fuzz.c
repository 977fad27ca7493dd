/* The kernel path's program on random packets: it leaves a packet byte for byte, or does exactly what the model does.
 */
#include "kernel_program.h"

#ifndef CASES
#define CASES 20000
#endif
#define SHORTEST 54 /* with an IPv6 header: the kernel runs programs on nothing shorter */

static uint64_t random_state = 0x9e3779b97f4a7c15U;

static uint32_t below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % limit;
}

static bool one_in(uint32_t count)
{
    return below(count) == 0;
}

/* Peers that user space has allowed, some of them earlier or by another way, and one that it has not. */
static void add_flows(struct flow_model_slot *slot)
{
    struct flow_model_flow *flows = slot->flows;
    for (size_t i = 1; i < 5; i++) {
        flows[i] = flows[0];
        netaddr_set_port(&flows[i].peer, (uint16_t)(4000 + i));
    }
    flows[1].generation--;
    flows[2].interface++;
    flows[3].is_of_earlier_life = true;
    flows[4].mtu = 300;
    slot->flow_count = 5;
}

static const union netaddr *some_peer(const struct flow_model_slot *slot)
{
    static union netaddr unknown;
    unknown = slot->flows[0].peer;
    netaddr_set_port(&unknown, 5000);
    return one_in(8) ? &unknown : &slot->flows[one_in(2) ? 0 : below(5)].peer;
}

static size_t some_length(void)
{
    switch (below(4)) {
    case 0:
        return below(20);
    case 1:
        return 200 + below(100);
    case 2:
        return ETHERNET_MTU - 90 + below(50);
    default:
        return below(ETHERNET_MTU - 40);
    }
}

static struct packet some_packet(int family, enum flow_way way)
{
    const union netaddr *peer = some_peer(&model.slots[family]);
    const size_t len = some_length();
    struct packet_setup setup = way == FLOW_UP ? setup_up_to(family, peer, len) : setup_down(family, len);
    if (way == FLOW_DOWN)
        setup.source = *peer;
    setup.tos = (uint8_t)below(256);
    setup.id = (uint16_t)below(65536);
    setup.checksum = one_in(8) ? PACKET_UNCHECKED : PACKET_CHECKED;
    setup.padding = one_in(4) ? below(20) : 0;
    setup.fragment = one_in(20) ? PACKET_MORE : one_in(20) ? (uint16_t)below(65536) : 0;
    setup.option_words = one_in(20) ? (uint8_t)below(11) : 0;
    return built(&setup);
}

/* Mostly where the headers are. */
static size_t some_place(const struct packet *packet)
{
    const size_t headers = packet->len < 90 ? packet->len : 90;
    return below((uint32_t)(one_in(4) ? packet->len : headers));
}

static void change_something(struct packet *packet)
{
    const size_t at = some_place(packet);
    switch (below(6)) {
    case 0:
        packet->bytes[at] ^= (uint8_t)(1u << below(8));
        return;
    case 1:
        packet->bytes[at] = (uint8_t)below(256);
        return;
    case 2:
        packet->bytes[at] = one_in(2) ? 0 : 0xff;
        return;
    case 3: /* a field that others have to agree with */
        packet_set_number(packet, at & ~1UL, (uint16_t)(packet_number(packet, at & ~1UL) + below(5) - 2));
        return;
    case 4:
        packet->len = SHORTEST + below((uint32_t)packet->len);
        return;
    default:
        packet->bytes[at] = packet->bytes[some_place(packet)];
    }
}

/* So that not all changes end at the same check. */
static void seal_again(struct packet *packet)
{
    const bool has_ip_header = packet_is_v6(packet) || packet_ip_len(packet) >= 20;
    if (!has_ip_header || packet->len < PACKET_ETH_LEN + packet_ip_len(packet) + PACKET_UDP_LEN)
        return;
    packet_seal_ip(packet);
    if (one_in(2) && packet_number(packet, PACKET_ETH_LEN + packet_ip_len(packet) + 4) < sizeof(packet->bytes) - 100)
        packet_seal_udp(packet, 0xffff);
}

static void change_state(int family)
{
    struct flow_model_slot *slot = &model.slots[family];
    struct flow_model_flow *flow = &slot->flows[below(5)];
    const enum flow_way way = (enum flow_way)below(2);
    switch (below(9)) {
    case 0:
        flow->generation--;
        break;
    case 1:
        flow->mtu = 28 + below(600);
        break;
    case 2:
        slot->client_mtu = 60 + below(600);
        break;
    case 3:
        slot->generation++;
        break;
    case 4:
        slot->tos[below(2)].keep = (uint8_t)below(256);
        slot->tos[below(2)].set = (uint8_t)below(256);
        break;
    case 5:
        flow->has_answered = false;
        break;
    case 6:
        slot->limit[way].datagrams = below(10);
        break;
    case 7:
        slot->limit[way].bytes = below(5000);
        break;
    default:
        slot->client_interface = LOOPBACK + 1;
    }
    install(&model);
}

static unsigned cases, relayed;
static uint64_t passed[FLOW_PASS_REASONS];

static void begin_again(void)
{
    for (int reason = 0; reason < FLOW_PASS_REASONS; reason++)
        passed[reason] += model.passed[reason];
    start(NULL);
    add_flows(&model.slots[V4]);
    add_flows(&model.slots[V6]);
    install(&model);
    for (uint32_t changes = below(4); changes > 0; changes--)
        change_state((int)below(2));
}

static void run_case(void)
{
    const int family = (int)below(2);
    const enum flow_way way = (enum flow_way)below(2);
    program.mode = (enum mode)below(MODES);
    if (!one_in(20)) {
        catch_up(family, FLOW_UP);
        catch_up(family, FLOW_DOWN);
    }
    struct packet packet = some_packet(family, way);
    if (packet.len < SHORTEST)
        packet.len = SHORTEST;
    if (!one_in(3)) {
        for (uint32_t changes = 1 + below(3); changes > 0; changes--)
            change_something(&packet);
        if (!one_in(3))
            seal_again(&packet);
    }
    relayed += require_as_model(&model, &packet, one_in(20) ? 1 + below(1500) : 0);
}

static void random_packets_are_left_or_relayed_as_the_model_does(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (cases = 0; cases < CASES; cases++) {
        if (cases % 25 == 0)
            begin_again();
        run_case();
    }
    begin_again();
    /* Else it would test little. */
    assert_in_range(relayed, CASES / 8, CASES);
    for (int reason = 0; reason < FLOW_PASS_REASONS; reason++)
        assert_true(reason == FLOW_PASS_NO_ROOM || reason == FLOW_PASS_IPSEC || passed[reason] > 0);
}

static int tell_case(void **state)
{
    (void)state;
    print_message("# %u cases, %u of them relayed\n", cases, relayed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_packets_are_left_or_relayed_as_the_model_does, start, tell_case),
    };
    return cmocka_run_group_tests(tests, kernel_program_open, kernel_program_close);
}
