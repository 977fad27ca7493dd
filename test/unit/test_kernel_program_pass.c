/* The kernel path's program on bytes: what it leaves to user space, and what it counts as such. */
#include "kernel_program.h"

#include "base/util.h"
#include "support/bytes.h"

static void require_form(int family, enum flow_way way)
{
    struct packet_setup setup = setup_for(family, way, 100);
    setup.fragment = PACKET_MORE;
    struct packet packet = built(&setup);
    require_passed(&packet, 0, FLOW_PASS_FORM, 1);
    if (family == V4) {
        setup.fragment = 0;
        setup.option_words = 1;
        packet = built(&setup);
        require_passed(&packet, 0, FLOW_PASS_FORM, 1);
    }
    /* The UDP length ends before the packet: the rest is no part of the datagram. */
    setup = setup_for(family, way, 100);
    packet = built(&setup);
    const size_t len_at = PACKET_ETH_LEN + packet_ip_len(&packet) + 4;
    packet_set_number(&packet, len_at, (uint16_t)(packet_number(&packet, len_at) - 1));
    require_passed(&packet, 0, FLOW_PASS_FORM, 1);
}

static void unusual_packets_are_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_form);
}

static void require_ignored_if_dropped(int family, enum flow_way way)
{
    struct packet_setup setup = setup_for(family, way, 100);
    const struct packet good = built(&setup);
    const size_t udp_at = PACKET_ETH_LEN + packet_ip_len(&good), len_at = udp_at + 4;
    const size_t ip_len_at = PACKET_ETH_LEN + (family == V6 ? 4 : 2);
    static const struct {
        uint16_t udp, ip; /* added to the lengths */
    } wrong[] = {{1, 0}, {0, 1}, {1, 1}, {(uint16_t)-500, 0}, {0, (uint16_t)-1}, {1000, 0}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct packet packet = good;
        packet_set_number(&packet, len_at, (uint16_t)(packet_number(&packet, len_at) + wrong[i].udp));
        packet_set_number(&packet, ip_len_at, (uint16_t)(packet_number(&packet, ip_len_at) + wrong[i].ip));
        packet_seal_ip(&packet);
        require_ignored(&packet);
    }
    struct packet short_udp = good;
    packet_set_number(&short_udp, len_at, 7);
    require_ignored(&short_udp);
    struct packet other_version = good;
    other_version.bytes[PACKET_ETH_LEN] ^= 0x20;
    require_ignored(&other_version);
    struct packet other_protocol = good;
    other_protocol.bytes[PACKET_ETH_LEN + (family == V6 ? 6 : 9)] = IPPROTO_TCP;
    packet_seal_ip(&other_protocol);
    require_ignored(&other_protocol);
    setup.fragment = 10;
    const struct packet later_fragment = built(&setup);
    require_ignored(&later_fragment);
    if (family == V4) {
        struct packet damaged = good;
        damaged.bytes[PACKET_ETH_LEN + 8] ^= 1;
        require_ignored(&damaged);
    }
}

static void what_the_kernel_will_drop_is_not_counted(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_ignored_if_dropped);
}

static void require_ignored_frames(int family, enum flow_way way)
{
    const struct packet_setup setup = setup_for(family, way, 100);
    const struct packet good = built(&setup);
    struct packet other = good;
    for (other.len = PACKET_ETH_LEN + packet_ip_len(&good); other.len < good.len; other.len++)
        require_ignored(&other);
    other = good;
    other.bytes[5] = 1; /* another machine's address */
    require_ignored(&other);
    other.bytes[0] = 1; /* multicast */
    require_ignored(&other);
    other = good;
    packet_set_number(&other, 12, 0x0806);
    require_ignored(&other);
    other = good;
    other.bytes[PACKET_ETH_LEN + packet_ip_len(&good) + 3] ^= 1; /* no port of ours */
    require_ignored(&other);
    model.slots[family].life = 0;
    install(&model);
    require_ignored(&good);
    model.slots[family].life = 3;
    install(&model);
    require_relayed(&good);
}

static void frames_of_others_are_left_alone(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_ignored_frames);
}

/* Its "ports" would lie in the destination's address, which is chosen here so that they are the relay's. */
static void an_ipv4_header_that_is_too_short_is_ignored(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    model.slots[V4].relay = addr("198.51.195.80", 0xc350);
    install(&model);
    const struct packet_setup setup = setup_for(V4, FLOW_UP, 100);
    struct packet packet = built(&setup);
    packet.bytes[PACKET_ETH_LEN] = 0x44;
    packet_seal_ip(&packet);
    require_ignored(&packet);
}

/* The maps write IPv4 addresses like this. On IPv6 they are nobody's. */
static void an_ipv4_mapped_address_on_ipv6_is_ignored(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (int way = FLOW_UP; way < FLOW_WAYS; way++) {
        struct packet_setup setup = setup_for(V6, (enum flow_way)way, 100);
        const struct packet_setup mapped = setup_for(V4, (enum flow_way)way, 100);
        const uint32_t words[4] = {0, 0, htonl(0xffff), mapped.destination.v4.sin_addr.s_addr};
        memcpy(&setup.destination.v6.sin6_addr, words, sizeof(words));
        netaddr_set_port(&setup.destination, netaddr_port(&mapped.destination));
        const struct packet packet = built(&setup);
        require_ignored(&packet);
    }
}

static void require_header(int family, const char *header)
{
    uint8_t bytes[512];
    struct packet_setup setup = setup_for(family, FLOW_UP, 0);
    setup.data = bytes;
    setup.data_len = bytes_from_text(header, bytes, sizeof(bytes));
    struct packet packet = built(&setup);
    require_passed(&packet, 0, FLOW_PASS_HEADER, 1);
    if (setup.data_len < 18) {
        setup.padding = 18 - setup.data_len;
        packet = built(&setup);
        require_passed(&packet, 0, FLOW_PASS_HEADER, 1);
    }
}

static void other_socks5_headers_are_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    static const char *const headers[] = {"",
                                          "00",
                                          "00 00 00",
                                          "000000 01",
                                          "000001 01 cb007109 0d96 'data'",
                                          "000100 01 cb007109 0d96 'data'",
                                          "010000 01 cb007109 0d96 'data'",
                                          "000000 00 cb007109 0d96 'data'",
                                          "000000 05 cb007109 0d96 'data'",
                                          "000000 03 07 'a.short' 0d96 'data'",
                                          "000000 03 00 0d96 'more data than a header has'"};
    static const char v4[] = "000000 01 cb007109 0d96", v6[] = "000000 04 20010db8000e 00*9 09 0d96";
    for (int family = V4; family < FAMILIES; family++) {
        for (size_t i = 0; i < ARRAY_LEN(headers); i++)
            require_header(family, headers[i]);
        uint8_t bytes[64];
        const char *own = family == V6 ? v6 : v4, *other = family == V6 ? v4 : v6;
        struct packet_setup setup = setup_for(family, FLOW_UP, 0);
        setup.data = bytes;
        setup.data_len = bytes_from_text(own, bytes, sizeof(bytes));
        catch_up(family, FLOW_UP);
        struct packet packet = built(&setup);
        require_relayed(&packet);
        for (setup.data_len--; setup.data_len > 0; setup.data_len--) {
            packet = built(&setup);
            require_passed(&packet, 0, FLOW_PASS_HEADER, 1);
        }
        require_header(family, other);
    }
}

static void only_the_client_may_send_up(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (int family = V4; family < FAMILIES; family++) {
        struct packet_setup setup = setup_for(family, FLOW_UP, 10);
        netaddr_set_port(&setup.source, 40001);
        struct packet packet = built(&setup);
        require_passed(&packet, 0, FLOW_PASS_SENDER, 1);
        setup.source = model.slots[family].flows[0].peer;
        netaddr_set_port(&setup.source, 40000);
        packet = built(&setup);
        require_passed(&packet, 0, FLOW_PASS_SENDER, 1);
        setup = setup_for(family, FLOW_UP, 10);
        packet = built(&setup);
        require_relayed(&packet); /* others' datagrams are none that user space would have to catch up */
        model.slots[family].client_interface = LOOPBACK + 1;
        install(&model);
        require_passed(&packet, 0, FLOW_PASS_SENDER, 1);
    }
}

static void require_new(int family, enum flow_way way)
{
    struct flow_model_slot *slot = &model.slots[family];
    const struct packet_setup right = setup_for(family, way, 10);
    struct packet_setup setup = right;
    union netaddr peer = slot->flows[0].peer;
    netaddr_set_port(&peer, 3479);
    if (way == FLOW_UP)
        setup = setup_up_to(family, &peer, 10);
    else
        setup.source = peer;
    struct packet packet = built(&setup);
    require_passed(&packet, 0, FLOW_PASS_NEW, 1);
    catch_up(family, way);

    slot->flows[0].is_of_earlier_life = true;
    install(&model);
    setup = setup_for(family, way, 10);
    packet = built(&setup);
    require_passed(&packet, 0, FLOW_PASS_NEW, 1);
    catch_up(family, way);
    slot->flows[0].is_of_earlier_life = false;
    install(&model);
    require_relayed(&packet);
}

static void peers_that_user_space_has_not_allowed_are_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_new);
}

/* The packet filter may have to translate (NAT) what is sent to it. */
static void peers_that_have_not_answered_are_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (int family = V4; family < FAMILIES; family++) {
        const struct packet_setup up = setup_for(family, FLOW_UP, 10), down = setup_for(family, FLOW_DOWN, 1000);
        const struct packet question = built(&up), answer = built(&down);
        for (uint32_t gso_size = 0; gso_size <= 500; gso_size += 500) {
            model.slots[family].flows[0].has_answered = false;
            install(&model);
            require_passed(&question, 0, FLOW_PASS_NEW, 1);
            catch_up(family, FLOW_UP);
            if (gso_size)
                require_passed(&answer, gso_size, FLOW_PASS_JOINED, 2);
            else
                require_relayed(&answer);
            require_relayed(&question);
        }
    }
}

static void require_revoked(int family, enum flow_way way)
{
    struct flow_model_slot *slot = &model.slots[family];
    const struct packet_setup setup = setup_for(family, way, 10);
    const struct packet packet = built(&setup);
    require_relayed(&packet);
    program.shared->generation[slot->worker] = ++slot->generation;
    require_passed(&packet, 0, FLOW_PASS_REVOKED, 1);
    slot->flows[0].generation++;
    install_flow(slot, &slot->flows[0]);
    catch_up(family, way);
    require_relayed(&packet);
}

static void a_revoked_flow_is_left_until_it_is_allowed_again(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_revoked);
}

static void answers_take_the_way_of_their_questions(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for (int family = V4; family < FAMILIES; family++) {
        struct flow_model_slot *slot = &model.slots[family];
        struct packet_setup setup = setup_for(family, FLOW_DOWN, 10);
        struct packet packet = built(&setup);
        slot->flows[0].interface = LOOPBACK + 1;
        install(&model);
        require_passed(&packet, 0, FLOW_PASS_INTERFACE, 1);
        slot->flows[0].interface = LOOPBACK;
        /* Another peer is reached from another address of this host. */
        slot->flows[1] = slot->flows[0];
        slot->flows[1].local = addr(family == V6 ? "2001:db8:e::2" : "203.0.113.2", 0);
        netaddr_set_port(&slot->flows[1].peer, 3479);
        slot->flow_count = 2;
        install(&model);
        setup.destination = slot->flows[1].local;
        netaddr_set_port(&setup.destination, slot->external_port);
        packet = built(&setup);
        require_passed(&packet, 0, FLOW_PASS_INTERFACE, 1);
        catch_up(family, FLOW_DOWN);
        setup.source = slot->flows[1].peer;
        packet = built(&setup);
        require_relayed(&packet);
    }
}

static void require_no_overtaking(int family, enum flow_way way)
{
    const struct flow_model_slot *slot = &model.slots[family];
    const struct packet_setup setup = setup_for(family, way, 10);
    const struct packet packet = built(&setup);
    struct packet_setup odd = setup;
    odd.fragment = PACKET_MORE;
    const struct packet first_fragment = built(&odd);
    require_passed(&first_fragment, 0, FLOW_PASS_FORM, 1);
    require_passed(&packet, 0, FLOW_PASS_BEHIND, 1);
    catch_up(family, way);
    require_relayed(&packet);
    /* More than were counted have come: until user space makes both equal. */
    program.slots[slot->index].received[way] = ++model.slots[family].received[way];
    require_passed(&packet, 0, FLOW_PASS_BEHIND, 1);
    require_relayed(&packet);
}

static void nothing_overtakes_what_user_space_still_has(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_no_overtaking);
}

static void set_limit(int family, enum flow_way way, uint64_t datagrams, uint64_t bytes)
{
    struct flow_model_slot *slot = &model.slots[family];
    slot->limit[way].datagrams = slot->count[way].datagrams + datagrams;
    slot->limit[way].bytes = slot->count[way].bytes + bytes;
    program.slots[slot->index].limit[way].datagrams = slot->limit[way].datagrams;
    program.slots[slot->index].limit[way].bytes = slot->limit[way].bytes;
}

static void require_credit(int family, enum flow_way way)
{
    const struct packet_setup of_100 = setup_for(family, way, 100);
    const struct packet packet = built(&of_100);
    for (uint64_t more = 0; more < 2; more++) {
        set_limit(family, way, 2, 200 + more);
        require_relayed(&packet);
        require_relayed(&packet);
        require_passed(&packet, 0, FLOW_PASS_RATE, 1);
        catch_up(family, way);
    }
    set_limit(family, way, 5, 199);
    require_relayed(&packet);
    require_passed(&packet, 0, FLOW_PASS_RATE, 1);
    require_passed(&packet, 0, FLOW_PASS_BEHIND, 1);
    catch_up(family, way);
    const struct packet_setup empty = setup_for(family, way, 0);
    const struct packet empty_packet = built(&empty);
    require_relayed(&empty_packet);
    set_limit(family, way, 0, 1000);
    require_passed(&empty_packet, 0, FLOW_PASS_RATE, 1);
    catch_up(family, way);
    set_limit(family, way, 1000, 100);
    require_relayed(&packet);
}

static void what_no_credit_is_left_for_is_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_credit);
}

static void require_limit(int family, enum flow_way way)
{
    struct flow_model_slot *slot = &model.slots[family];
    uint32_t *mtu = way == FLOW_UP ? &slot->flows[0].mtu : &slot->client_mtu;
    const uint32_t other_headers = way == FLOW_UP ? (family == V6 ? 48 : 28) : (uint32_t)headers_len(family);
    *mtu = other_headers + 700;
    install(&model);
    struct packet_setup setup = setup_for(family, way, 700);
    struct packet packet = built(&setup);
    require_relayed(&packet);
    setup = setup_for(family, way, 701);
    packet = built(&setup);
    require_passed(&packet, 0, FLOW_PASS_TOO_LARGE, 1);
}

static void what_is_too_large_for_the_way_is_left(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_limit);
}

/* All of them count, as user space will count them. */
static void require_joined(int family, enum flow_way way)
{
    const struct packet_setup setup = setup_for(family, way, 1000);
    const struct packet packet = built(&setup);
    const size_t len = setup.data_len;
    require_passed(&packet, 100, FLOW_PASS_JOINED, (len + 99) / 100);
    require_passed(&packet, (uint32_t)len / 2, FLOW_PASS_JOINED, 2);
    require_passed(&packet, (uint32_t)len - 1, FLOW_PASS_JOINED, 2);
}

static void joined_datagrams_are_left_and_counted_each(void **state)
{
    (void)state;
    NEEDS_THE_PROGRAM;
    for_each_path(require_joined);
}

#define TEST(name) cmocka_unit_test_setup(name, start)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unusual_packets_are_left),
        TEST(what_the_kernel_will_drop_is_not_counted),
        TEST(frames_of_others_are_left_alone),
        TEST(an_ipv4_header_that_is_too_short_is_ignored),
        TEST(an_ipv4_mapped_address_on_ipv6_is_ignored),
        TEST(other_socks5_headers_are_left),
        TEST(only_the_client_may_send_up),
        TEST(peers_that_user_space_has_not_allowed_are_left),
        TEST(peers_that_have_not_answered_are_left),
        TEST(a_revoked_flow_is_left_until_it_is_allowed_again),
        TEST(answers_take_the_way_of_their_questions),
        TEST(nothing_overtakes_what_user_space_still_has),
        TEST(what_no_credit_is_left_for_is_left),
        TEST(what_is_too_large_for_the_way_is_left),
        TEST(joined_datagrams_are_left_and_counted_each),
    };
    return cmocka_run_group_tests(tests, kernel_program_open, kernel_program_close);
}
