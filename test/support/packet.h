/*
 * Ethernet frames with a UDP datagram, byte by byte: built from a description, with checksums that are computed over
 * the whole packet. The kernel path's program, which updates checksums, is compared with this.
 */
#ifndef TEST_SUPPORT_PACKET_H
#define TEST_SUPPORT_PACKET_H

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/netaddr.h"

#define PACKET_MAX     3072
#define PACKET_ETH_LEN 14
#define PACKET_UDP_LEN 8
#define PACKET_MORE    0x2000 /* in `fragment`: more fragments follow */

struct packet {
    size_t len;
    uint8_t bytes[PACKET_MAX];
};

/* What to build. Both endpoints are of one family. */
struct packet_setup {
    union netaddr source, destination;
    uint8_t tos, ttl;
    uint16_t id;       /* IPv4 */
    uint16_t fragment; /* IPv4's field, which an IPv6 fragment header gets as well; 0: none */
    uint8_t option_words;
    const uint8_t *data;
    size_t data_len;
    size_t padding; /* after the packet, as short Ethernet frames have it */
    enum { PACKET_CHECKED, PACKET_UNCHECKED } checksum;
};

static inline void packet_put(struct packet *packet, const void *bytes, size_t len)
{
    assert(packet->len + len <= sizeof(packet->bytes));
    memcpy(packet->bytes + packet->len, bytes, len);
    packet->len += len;
}

static inline void packet_put_number(struct packet *packet, uint32_t number, size_t len)
{
    for (size_t i = len; i > 0; i--) {
        const uint8_t byte = (uint8_t)(number >> (8 * (i - 1)));
        packet_put(packet, &byte, 1);
    }
}

static inline uint16_t packet_number(const struct packet *packet, size_t at)
{
    return (uint16_t)(packet->bytes[at] << 8 | packet->bytes[at + 1]);
}

static inline void packet_set_number(struct packet *packet, size_t at, uint16_t number)
{
    packet->bytes[at] = (uint8_t)(number >> 8);
    packet->bytes[at + 1] = (uint8_t)number;
}

/* RFC 1071: adds big-endian words, the last byte of an odd length with a zero behind it. */
static inline uint32_t packet_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    return sum;
}

static inline uint16_t packet_fold(uint32_t sum)
{
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline bool packet_is_v6(const struct packet *packet)
{
    return packet->bytes[12] == 0x86;
}

static inline size_t packet_ip_len(const struct packet *packet)
{
    const bool has_fragment_header = packet->bytes[PACKET_ETH_LEN + 6] == 44;
    if (packet_is_v6(packet))
        return has_fragment_header ? 48 : 40;
    return (packet->bytes[PACKET_ETH_LEN] & 15u) * 4;
}

static inline uint16_t packet_pseudo_sum(const struct packet *packet)
{
    const size_t udp_at = PACKET_ETH_LEN + packet_ip_len(packet);
    const bool v6 = packet_is_v6(packet);
    const uint32_t sum = IPPROTO_UDP + (uint32_t)packet_number(packet, udp_at + 4);
    return packet_fold(packet_sum(sum, packet->bytes + PACKET_ETH_LEN + (v6 ? 8 : 12), v6 ? 32 : 8));
}

/* The sum of pseudo header, UDP header and data as they are: 0xffff if the checksum is right. */
static inline uint16_t packet_udp_sum(const struct packet *packet)
{
    const size_t udp_at = PACKET_ETH_LEN + packet_ip_len(packet);
    const size_t udp_len = packet_number(packet, udp_at + 4);
    return packet_fold(packet_sum(packet_pseudo_sum(packet), packet->bytes + udp_at, udp_len));
}

static inline void packet_seal_ip(struct packet *packet)
{
    if (packet_is_v6(packet))
        return;
    packet_set_number(packet, PACKET_ETH_LEN + 10, 0);
    const uint32_t sum = packet_sum(0, packet->bytes + PACKET_ETH_LEN, packet_ip_len(packet));
    packet_set_number(packet, PACKET_ETH_LEN + 10, (uint16_t)~packet_fold(sum));
}

/* Writes the checksum that makes packet_udp_sum() `sum`, which is not 0. */
static inline void packet_seal_udp(struct packet *packet, uint16_t sum)
{
    const size_t at = PACKET_ETH_LEN + packet_ip_len(packet) + 6;
    packet_set_number(packet, at, 0);
    packet_set_number(packet, at, packet_fold((uint32_t)(uint16_t)~packet_udp_sum(packet) + sum));
}

static inline void packet_put_ipv4(struct packet *packet, const struct packet_setup *setup)
{
    const size_t header_len = 20 + 4 * (size_t)setup->option_words;
    const size_t total_len = header_len + PACKET_UDP_LEN + setup->data_len;
    packet_put_number(packet, 0x40 | (uint32_t)header_len / 4, 1);
    packet_put_number(packet, setup->tos, 1);
    packet_put_number(packet, (uint32_t)total_len, 2);
    packet_put_number(packet, setup->id, 2);
    packet_put_number(packet, setup->fragment, 2);
    packet_put_number(packet, setup->ttl, 1);
    packet_put_number(packet, IPPROTO_UDP, 1);
    packet_put_number(packet, 0, 2);
    packet_put(packet, &setup->source.v4.sin_addr, 4);
    packet_put(packet, &setup->destination.v4.sin_addr, 4);
    for (uint8_t i = 0; i < setup->option_words; i++)
        packet_put_number(packet, 0x01010101, 4); /* no operation */
}

static inline void packet_put_ipv6(struct packet *packet, const struct packet_setup *setup)
{
    const size_t more = setup->fragment ? 8 : 0;
    packet_put_number(packet, 6u << 28 | (uint32_t)setup->tos << 20, 4);
    packet_put_number(packet, (uint32_t)(more + PACKET_UDP_LEN + setup->data_len), 2);
    packet_put_number(packet, setup->fragment ? IPPROTO_FRAGMENT : IPPROTO_UDP, 1);
    packet_put_number(packet, setup->ttl, 1);
    packet_put(packet, &setup->source.v6.sin6_addr, 16);
    packet_put(packet, &setup->destination.v6.sin6_addr, 16);
    if (!setup->fragment)
        return;
    packet_put_number(packet, IPPROTO_UDP << 8, 2);
    packet_put_number(packet, (uint32_t)(setup->fragment & 0x1fff) << 3 | (setup->fragment & PACKET_MORE ? 1 : 0), 2);
    packet_put_number(packet, 0x12345678, 4);
}

static inline void packet_build(struct packet *packet, const struct packet_setup *setup)
{
    static const uint8_t to_lo[12], zeros[64];
    const bool v6 = setup->source.sa.sa_family == AF_INET6;
    packet->len = 0;
    packet_put(packet, to_lo, sizeof(to_lo));
    packet_put_number(packet, v6 ? 0x86dd : 0x0800, 2);
    if (v6)
        packet_put_ipv6(packet, setup);
    else
        packet_put_ipv4(packet, setup);
    packet_put_number(packet, netaddr_port(&setup->source), 2);
    packet_put_number(packet, netaddr_port(&setup->destination), 2);
    packet_put_number(packet, (uint32_t)(PACKET_UDP_LEN + setup->data_len), 2);
    packet_put_number(packet, 0, 2);
    packet_put(packet, setup->data, setup->data_len);
    packet_seal_ip(packet);
    if (setup->checksum == PACKET_CHECKED)
        packet_seal_udp(packet, 0xffff);
    packet_put(packet, zeros, setup->padding);
}

#endif
