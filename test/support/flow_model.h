/*
 * What the kernel path's program has to do with a packet, said a second time. It shares no code with the program: it
 * takes packets apart byte by byte, has the wire codec read and write SOCKS5 headers, and computes whole checksums.
 */
#ifndef TEST_SUPPORT_FLOW_MODEL_H
#define TEST_SUPPORT_FLOW_MODEL_H

#include "conesocks/socks5.h"
#include "kernel/flow.h"
#include "support/packet.h"

#define FLOW_MODEL_TTL       57 /* what the program's packets have */
#define FLOW_MODEL_HOP_LIMIT 58
#define FLOW_MODEL_FLOWS     6

struct flow_model_flow {
    union netaddr peer, local;
    uint32_t generation, interface, mtu;
    bool is_of_earlier_life, has_answered;
};

/* An association with a slot, and what user space has decided for it. */
struct flow_model_slot {
    uint32_t index, life, worker, generation;
    union netaddr client, relay;
    uint16_t external_port;
    uint32_t client_interface, client_mtu;
    struct {
        uint8_t keep, set;
    } tos[FLOW_WAYS];
    size_t flow_count;
    struct flow_model_flow flows[FLOW_MODEL_FLOWS];
    uint64_t received[FLOW_WAYS];
    struct {
        uint64_t datagrams, bytes;
    } limit[FLOW_WAYS];
    struct flow_count count[FLOW_WAYS]; /* as the program must have counted */
};

#define FLOW_MODEL_SLOTS 3
struct flow_model {
    size_t slot_count;
    struct flow_model_slot slots[FLOW_MODEL_SLOTS];
    uint64_t passed[FLOW_PASS_REASONS];
};

/* A packet as it arrives, with what its bytes do not contain. */
struct flow_model_arrival {
    const struct packet *packet;
    uint32_t interface, gso_size;
    bool is_partial; /* CHECKSUM_PARTIAL: a device still has to complete the checksum */
};

struct flow_model_result {
    bool relayed;
    struct packet packet; /* as it leaves, with 0 as IPv4's identification and header checksum */
};

/* ---- reading ---- */

struct flow_model_datagram {
    union netaddr source, destination;
    size_t udp_at, udp_len;
    uint8_t tos;
    bool usual, has_right_lengths;
};

static inline union netaddr flow_model_endpoint(const struct packet *packet, size_t host_at, size_t port_at)
{
    const size_t host_len = packet_is_v6(packet) ? 16 : 4;
    return netaddr_from_bytes(packet->bytes + host_at, host_len, packet_number(packet, port_at));
}

/* false: no UDP header is found, or the kernel will drop the packet. */
static inline bool flow_model_read_ipv4(const struct packet *packet, struct flow_model_datagram *datagram, size_t *room)
{
    const uint8_t *ip = packet->bytes + PACKET_ETH_LEN;
    const size_t header_len = (ip[0] & 15u) * 4u, total_len = packet_number(packet, PACKET_ETH_LEN + 2);
    const uint16_t fragment = packet_number(packet, PACKET_ETH_LEN + 6);
    if (ip[0] >> 4 != 4 || ip[9] != IPPROTO_UDP || header_len < 20 || header_len > total_len || fragment & 0x1fff)
        return false;
    if (header_len == 20 && packet_fold(packet_sum(0, ip, 20)) != 0xffff)
        return false;
    datagram->udp_at = PACKET_ETH_LEN + header_len;
    datagram->tos = ip[1];
    datagram->usual = header_len == 20 && !(fragment & PACKET_MORE);
    *room = total_len - header_len;
    return true;
}

static inline bool flow_model_read_ipv6(const struct packet *packet, struct flow_model_datagram *datagram, size_t *room)
{
    const uint8_t *ip = packet->bytes + PACKET_ETH_LEN, *fragment = ip + 40;
    if (ip[0] >> 4 != 6)
        return false;
    datagram->udp_at = PACKET_ETH_LEN + 40;
    datagram->tos = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
    datagram->usual = ip[6] == IPPROTO_UDP;
    *room = packet_number(packet, PACKET_ETH_LEN + 4);
    if (datagram->usual)
        return true;
    datagram->udp_at += 8;
    const bool is_first = packet->len >= datagram->udp_at && fragment[2] == 0 && fragment[3] < 8;
    return ip[6] == IPPROTO_FRAGMENT && is_first && fragment[0] == IPPROTO_UDP;
}

static inline bool flow_model_read(const struct packet *packet, bool joined, struct flow_model_datagram *datagram)
{
    static const uint8_t to_lo[6];
    const bool v6 = packet->bytes[12] == 0x86 && packet->bytes[13] == 0xdd;
    const bool v4 = packet->bytes[12] == 0x08 && packet->bytes[13] == 0x00;
    const size_t ip_at = PACKET_ETH_LEN;
    size_t room = 0;
    if (!(v4 || v6) || packet->len < ip_at + (v6 ? 40 : 20) + PACKET_UDP_LEN || memcmp(packet->bytes, to_lo, 6) != 0)
        return false;
    if (v6 ? !flow_model_read_ipv6(packet, datagram, &room) : !flow_model_read_ipv4(packet, datagram, &room))
        return false;
    if (packet->len < datagram->udp_at + PACKET_UDP_LEN)
        return false;
    datagram->source = flow_model_endpoint(packet, ip_at + (v6 ? 8 : 12), datagram->udp_at);
    datagram->destination = flow_model_endpoint(packet, ip_at + (v6 ? 24 : 16), datagram->udp_at + 2);
    datagram->udp_len = packet_number(packet, datagram->udp_at + 4);
    datagram->has_right_lengths = datagram->udp_len == room;
    if (joined || !datagram->usual)
        return true;
    if (datagram->udp_len < PACKET_UDP_LEN || datagram->udp_len > room || datagram->udp_at + room > packet->len)
        return false;
    return v4 || packet_number(packet, datagram->udp_at + 6) != 0;
}

/* ---- deciding ---- */

enum { FLOW_MODEL_RELAY = FLOW_PASS_REASONS };

static inline struct flow_model_flow *flow_model_find(struct flow_model_slot *slot, const union netaddr *peer)
{
    for (size_t i = 0; i < slot->flow_count; i++) {
        if (!slot->flows[i].is_of_earlier_life && netaddr_equal(&slot->flows[i].peer, peer))
            return &slot->flows[i];
    }
    return NULL;
}

/* Whose the destination is. */
static inline struct flow_model_slot *flow_model_owner(struct flow_model *model, const union netaddr *destination,
                                                       enum flow_way *way)
{
    for (size_t i = 0; i < model->slot_count; i++) {
        struct flow_model_slot *slot = &model->slots[i];
        *way = FLOW_UP;
        if (netaddr_equal(&slot->relay, destination))
            return slot->life ? slot : NULL;
        *way = FLOW_DOWN;
        for (size_t k = 0; k < slot->flow_count; k++) {
            if (netaddr_equal_host(&slot->flows[k].local, destination) &&
                netaddr_port(destination) == slot->external_port)
                return slot->life ? slot : NULL;
        }
    }
    return NULL;
}

/* The SOCKS5 header's length; 0: not one that the program takes. */
static inline size_t flow_model_read_socks(const struct packet *packet, const struct flow_model_datagram *datagram,
                                           union netaddr *peer)
{
    struct socks5_udp_header header;
    const int len = socks5_udp_header_decode(packet->bytes + datagram->udp_at + PACKET_UDP_LEN,
                                             datagram->udp_len - PACKET_UDP_LEN, &header);
    const uint8_t atyp = packet_is_v6(packet) ? SOCKS5_ATYP_IPV6 : SOCKS5_ATYP_IPV4;
    if (len < 0 || header.fragment != 0 || header.destination.atyp != atyp)
        return 0;
    *peer = netaddr_from_bytes(header.destination.host, header.destination.host_len, header.destination.port);
    return (size_t)len;
}

static inline int flow_model_decide(const struct flow_model_arrival *arrival,
                                    const struct flow_model_datagram *datagram, struct flow_model_slot *slot,
                                    enum flow_way way, const struct flow_model_flow **flow, size_t *socks_len)
{
    union netaddr peer = datagram->source;
    if (way == FLOW_UP &&
        (!netaddr_equal(&datagram->source, &slot->client) || arrival->interface != slot->client_interface))
        return FLOW_PASS_SENDER;
    if (arrival->gso_size)
        return FLOW_PASS_JOINED;
    if (!datagram->usual || !datagram->has_right_lengths)
        return FLOW_PASS_FORM;
    *socks_len = packet_is_v6(arrival->packet) ? SOCKS5_UDP_HEADER_V6 : SOCKS5_UDP_HEADER_V4;
    if (way == FLOW_UP && flow_model_read_socks(arrival->packet, datagram, &peer) == 0)
        return FLOW_PASS_HEADER;
    *flow = flow_model_find(slot, &peer);
    if (!*flow)
        return FLOW_PASS_NEW;
    if ((*flow)->generation != slot->generation)
        return FLOW_PASS_REVOKED;
    if (way == FLOW_UP && !(*flow)->has_answered)
        return FLOW_PASS_NEW;
    if (way == FLOW_DOWN &&
        (arrival->interface != (*flow)->interface || !netaddr_equal_host(&datagram->destination, &(*flow)->local)))
        return FLOW_PASS_INTERFACE;
    const size_t ip_len = datagram->udp_at - PACKET_ETH_LEN + datagram->udp_len;
    if (way == FLOW_UP ? ip_len - *socks_len > (*flow)->mtu : ip_len + *socks_len > slot->client_mtu)
        return FLOW_PASS_TOO_LARGE;
    if (slot->count[way].passed != slot->received[way])
        return FLOW_PASS_BEHIND;
    const size_t payload_len = datagram->udp_len - PACKET_UDP_LEN - (way == FLOW_UP ? *socks_len : 0);
    const bool is_paid = slot->count[way].datagrams + 1 <= slot->limit[way].datagrams &&
                         slot->count[way].bytes + payload_len <= slot->limit[way].bytes;
    return is_paid ? FLOW_MODEL_RELAY : FLOW_PASS_RATE;
}

/* ---- the result ---- */

static inline void flow_model_write(const struct flow_model_arrival *arrival,
                                    const struct flow_model_datagram *datagram, const struct flow_model_slot *slot,
                                    enum flow_way way, const struct flow_model_flow *flow, size_t socks_len,
                                    struct flow_model_result *result)
{
    const bool v6 = packet_is_v6(arrival->packet);
    const uint8_t *data = arrival->packet->bytes + datagram->udp_at + PACKET_UDP_LEN;
    const size_t data_len = datagram->udp_len - PACKET_UDP_LEN;
    uint8_t with_header[PACKET_MAX];
    struct packet_setup setup = {.ttl = v6 ? FLOW_MODEL_HOP_LIMIT : FLOW_MODEL_TTL, .checksum = PACKET_UNCHECKED};
    setup.tos = (uint8_t)((datagram->tos & slot->tos[way].keep) | slot->tos[way].set);
    if (way == FLOW_UP) {
        setup.source = flow->local;
        netaddr_set_port(&setup.source, slot->external_port);
        setup.destination = flow->peer;
        setup.data = data + socks_len;
        setup.data_len = data_len - socks_len;
    } else {
        struct socks5_udp_header header = {.destination = {.port = netaddr_port(&flow->peer)}};
        size_t host_len;
        header.destination.host = netaddr_host(&flow->peer, &host_len);
        header.destination.host_len = (uint8_t)host_len;
        header.destination.atyp = v6 ? SOCKS5_ATYP_IPV6 : SOCKS5_ATYP_IPV4;
        socks_len = socks5_udp_header_encode(with_header, sizeof(with_header), &header);
        memcpy(with_header + socks_len, data, data_len);
        setup.source = slot->relay;
        setup.destination = slot->client;
        setup.data = with_header;
        setup.data_len = socks_len + data_len;
    }
    packet_build(&result->packet, &setup);
    memcpy(result->packet.bytes, arrival->packet->bytes, PACKET_ETH_LEN);
    /* A wrong checksum stays wrong by the same difference, and none stays none. */
    if (arrival->is_partial)
        packet_set_number(&result->packet, datagram->udp_at + 6, packet_pseudo_sum(&result->packet));
    else if (packet_number(arrival->packet, datagram->udp_at + 6) != 0)
        packet_seal_udp(&result->packet, packet_udp_sum(arrival->packet));
}

static inline void flow_model_note_answer(struct flow_model_slot *slot, const struct flow_model_datagram *datagram)
{
    struct flow_model_flow *flow = flow_model_find(slot, &datagram->source);
    if (flow && netaddr_equal_host(&flow->local, &datagram->destination))
        flow->has_answered = true;
}

static inline void flow_model_count(struct flow_model *model, struct flow_model_slot *slot, enum flow_way way,
                                    int decision, uint64_t datagrams)
{
    model->passed[decision] += datagrams;
    if (decision != FLOW_PASS_SENDER)
        slot->count[way].passed += datagrams;
}

static inline void flow_model_run(struct flow_model *model, const struct flow_model_arrival *arrival,
                                  struct flow_model_result *result)
{
    struct flow_model_datagram datagram = {0};
    const struct flow_model_flow *flow = NULL;
    enum flow_way way;
    size_t socks_len = 0;
    result->relayed = false;
    if (!flow_model_read(arrival->packet, arrival->gso_size != 0, &datagram))
        return;
    struct flow_model_slot *slot = flow_model_owner(model, &datagram.destination, &way);
    if (!slot)
        return;
    if (way == FLOW_DOWN)
        flow_model_note_answer(slot, &datagram);
    const int decision = flow_model_decide(arrival, &datagram, slot, way, &flow, &socks_len);
    if (decision != FLOW_MODEL_RELAY) {
        const size_t before_data = PACKET_ETH_LEN + (packet_is_v6(arrival->packet) ? 40 : 20) + PACKET_UDP_LEN;
        const size_t data_len = arrival->packet->len - before_data, size = arrival->gso_size;
        flow_model_count(model, slot, way, decision, size ? (data_len + size - 1) / size : 1);
        return;
    }
    result->relayed = true;
    flow_model_write(arrival, &datagram, slot, way, flow, socks_len, result);
    slot->count[way].datagrams++;
    slot->count[way].bytes += datagram.udp_len - PACKET_UDP_LEN - (way == FLOW_UP ? socks_len : 0);
}

#endif
