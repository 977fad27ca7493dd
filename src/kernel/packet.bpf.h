/*
 * Packets, as the kernel path's program (flow.bpf.c) sees them: the places of headers, checksums, and reading a
 * datagram.
 *
 * `v6` is a constant wherever these functions are inlined.
 */
#ifndef CONESOCKS_KERNEL_PACKET_BPF_H
#define CONESOCKS_KERNEL_PACKET_BPF_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel/flow.h"

/* The SOCKS5 header: RFC 1928 section 7 */
struct socks_v4 {
    __be32 fixed; /* RSV, FRAG, ATYP */
    __be32 address;
    __be16 port;
} __attribute__((packed, aligned(2)));
struct socks_v6 {
    __be32 fixed;
    __be32 address[4];
    __be16 port;
} __attribute__((packed, aligned(2)));
#define SOCKS_FIXED(v6) bpf_htonl((v6) ? 4 : 1)

struct headers_v4 {
    struct iphdr ip;
    struct udphdr udp;
    struct socks_v4 socks; /* only on the client's side */
};
struct headers_v6 {
    struct ipv6hdr ip;
    struct udphdr udp;
    struct socks_v6 socks;
};

/* Lengths of headers, and where they are in an ordinary frame. */
#define IP_LEN(v6)    ((v6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr))
#define UDP_LEN       sizeof(struct udphdr)
#define SOCKS_LEN(v6) ((v6) ? sizeof(struct socks_v6) : sizeof(struct socks_v4))
#define UDP_AT(v6)    (ETH_HLEN + IP_LEN(v6))
#define SOCKS_AT(v6)  (UDP_AT(v6) + UDP_LEN)

/* IPv4's frag_off; an IPv6 fragment header has the same bits elsewhere. */
#define MORE_FRAGMENTS_V4  bpf_htons(0x2000)
#define FRAGMENT_OFFSET_V4 bpf_htons(0x1fff)
#define FRAGMENT_OFFSET_V6 bpf_htons(0xfff8)

/* A datagram as it came, and what it belongs to. */
struct arrival {
    struct flow_endpoint source, destination;
    __u32 udp_len; /* with the UDP header */
    __u16 check;
    __u8 tos;
    bool plain;  /* the headers are at their usual places, and all lengths agree */
    bool joined; /* the kernel has joined several */
    __u32 count; /* how many */
    struct flow_slot *slot;
    struct flow_key key; /* of its flow */
};

/* ---- checksums: sums of words in network byte order; fold() adds their carries ---- */

static __always_inline __u16 fold(__u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u16)sum;
}

static __always_inline __u64 sum_of_ip_header(const struct iphdr *ip)
{
    const __u32 *words = (const void *)ip;
    return (__u64)words[0] + words[1] + words[2] + words[3] + words[4];
}

static __always_inline __u64 sum_of_address(const __u32 address[4], const bool v6)
{
    return v6 ? (__u64)address[0] + address[1] + address[2] + address[3] : address[3];
}

static __always_inline __u64 sum_of_endpoint(const struct flow_endpoint *endpoint, const bool v6)
{
    return sum_of_address(endpoint->address, v6) + endpoint->port;
}

/* What a SOCKS5 header adds to the sum of a datagram: itself, and its length twice (pseudo header and UDP header). */
static __always_inline __u64 sum_of_socks(const struct flow_endpoint *peer, const bool v6)
{
    return sum_of_endpoint(peer, v6) + SOCKS_FIXED(v6) + 2 * bpf_htons(SOCKS_LEN(v6));
}

/* RFC 1624. 0 is no checksum and stays so; a sum that is 0 is sent as 0xffff (RFC 768). */
static __always_inline __u16 update_checksum(__u16 check, __u64 from, __u64 to)
{
    if (check == 0)
        return 0;
    const __u16 updated = ~fold((__u16)~check + (__u64)(__u16)~fold(from) + fold(to));
    return updated ? updated : 0xffff;
}

/* ---- fields of the kernel, whose places depend on its version and configuration ---- */

enum { IPSEC_WAYS = 3 /* in, out, forwarded */, IPSEC_BLOCKED = 1 /* XFRM_USERPOLICY_BLOCK */ };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct netns_xfrm {
    unsigned int policy_count[IPSEC_WAYS];
    __u8 policy_default[IPSEC_WAYS];
};
struct net {
    struct netns_xfrm xfrm;
};
struct net_device {
    struct {
        struct net *net;
    } nd_net;
};
struct sk_buff {
    struct net_device *dev;
    __u8 ip_summed : 2;
};
struct nsproxy {
    struct net *net_ns;
};
struct task_struct {
    struct nsproxy *nsproxy;
};
#pragma clang attribute pop

extern void *bpf_cast_to_kern_ctx(void *) __ksym;

/* `way` must be a literal: the loader looks up the place of each. */
#define IPSEC_MAY_APPLY(net, way) ((net)->xfrm.policy_count[way] || (net)->xfrm.policy_default[way] == IPSEC_BLOCKED)

/* Whether the kernel's own stack would look for an IPsec policy (xfrm) that applies to a datagram. Those of single
 * sockets do not matter: the proxy's have none. */
static __always_inline bool has_ipsec_policies(const struct net *net)
{
    if (!bpf_core_field_exists(net->xfrm)) /* built without IPsec */
        return false;
    return IPSEC_MAY_APPLY(net, 0) || IPSEC_MAY_APPLY(net, 1) || IPSEC_MAY_APPLY(net, 2);
}

/* How much the kernel knows of the checksum. */
enum { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL };

/* For tests: packets of BPF_PROG_TEST_RUN are CHECKSUM_NONE only. */
const volatile int checksum_mode_of_tests = -1;

static __always_inline int checksum_mode(struct __sk_buff *skb)
{
    if (checksum_mode_of_tests >= 0)
        return checksum_mode_of_tests;
    struct sk_buff *kernel_skb = bpf_cast_to_kern_ctx(skb);
    return (int)BPF_CORE_READ_BITFIELD(kernel_skb, ip_summed);
}

/* ---- reading the datagram ---- */

/* The headers are usually in one piece already. A short packet may lack the last. */
static __always_inline bool pull_headers(struct __sk_buff *skb, const bool v6)
{
    const __u32 all = SOCKS_AT(v6) + SOCKS_LEN(v6), linear = skb->data_end - skb->data;
    if (linear >= all || linear == skb->len)
        return true;
    return bpf_skb_pull_data(skb, skb->len < all ? skb->len : all) == 0;
}

static __always_inline void put_ipv4(__u32 address[4], __be32 ipv4)
{
    address[0] = address[1] = 0;
    address[2] = bpf_htonl(0xffff);
    address[3] = ipv4;
}

static __always_inline void copy_ipv6(__u32 to[4], const __be32 from[4])
{
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
    to[3] = from[3];
}

/* Where the UDP header is, and how long its datagram can be. */
struct udp_place {
    __u32 at, room;
    bool usual; /* no options, no fragment */
};

/* false: it is not UDP, not the first fragment, or the kernel will drop it. */
static __always_inline bool read_ipv4(const struct iphdr *ip, struct udp_place *udp, struct arrival *arrival)
{
    const __u32 header_len = ip->ihl * 4, total_len = bpf_ntohs(ip->tot_len);
    if (ip->protocol != IPPROTO_UDP || ip->frag_off & FRAGMENT_OFFSET_V4)
        return false;
    if (ip->version != 4 || header_len < sizeof(*ip) || header_len > total_len)
        return false;
    if (header_len == sizeof(*ip) && fold(sum_of_ip_header(ip)) != 0xffff)
        return false;
    udp->at = ETH_HLEN + header_len;
    udp->room = total_len - header_len;
    udp->usual = header_len == sizeof(*ip) && !(ip->frag_off & MORE_FRAGMENTS_V4);
    put_ipv4(arrival->source.address, ip->saddr);
    put_ipv4(arrival->destination.address, ip->daddr);
    arrival->tos = ip->tos;
    return true;
}

/* A first fragment counts as the datagram that the socket receives in the end. */
static __always_inline bool find_udp_in_fragment(struct __sk_buff *skb, struct udp_place *udp)
{
    struct {
        __u8 next_header, reserved;
        __be16 offset;
        __be32 id;
    } fragment;
    if (bpf_skb_load_bytes(skb, UDP_AT(true), &fragment, sizeof(fragment)))
        return false;
    udp->at = UDP_AT(true) + sizeof(fragment);
    udp->usual = false;
    return fragment.next_header == IPPROTO_UDP && !(fragment.offset & FRAGMENT_OFFSET_V6);
}

static __always_inline bool is_mapped(const struct in6_addr *address)
{
    const __be32 *words = address->in6_u.u6_addr32;
    return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

/* As read_ipv4(). Datagrams with other extension headers are not recognized. */
static __always_inline bool read_ipv6(struct __sk_buff *skb, const struct ipv6hdr *ip, struct udp_place *udp,
                                      struct arrival *arrival)
{
    if (ip->version != 6 || is_mapped(&ip->daddr)) /* which would be taken for an IPv4 address */
        return false;
    udp->at = UDP_AT(true);
    udp->room = bpf_ntohs(ip->payload_len);
    udp->usual = true;
    if (ip->nexthdr == IPPROTO_FRAGMENT ? !find_udp_in_fragment(skb, udp) : ip->nexthdr != IPPROTO_UDP)
        return false;
    copy_ipv6(arrival->source.address, ip->saddr.in6_u.u6_addr32);
    copy_ipv6(arrival->destination.address, ip->daddr.in6_u.u6_addr32);
    arrival->tos = (__u8)(bpf_ntohl(*(const __be32 *)ip) >> 20);
    return true;
}

/* false: the kernel will drop it. */
static __always_inline bool read_udp(struct __sk_buff *skb, const struct udphdr *udp, const struct udp_place *place,
                                     struct arrival *arrival, const bool v6)
{
    struct udphdr elsewhere;
    if (place->at != UDP_AT(v6)) {
        if (bpf_skb_load_bytes(skb, place->at, &elsewhere, sizeof(elsewhere)))
            return false;
        udp = &elsewhere;
    }
    arrival->source.port = udp->source;
    arrival->destination.port = udp->dest;
    arrival->source.zero = arrival->destination.zero = 0;
    arrival->udp_len = bpf_ntohs(udp->len);
    arrival->check = udp->check;
    return true;
}

/* false: no datagram of ours. */
static __always_inline bool read_arrival(struct __sk_buff *skb, struct arrival *arrival, const bool v6)
{
    void *data = (void *)(long)skb->data;
    struct udp_place place;
    if (data + SOCKS_AT(v6) > (void *)(long)skb->data_end)
        return false;
    if (v6 ? !read_ipv6(skb, data + ETH_HLEN, &place, arrival) : !read_ipv4(data + ETH_HLEN, &place, arrival))
        return false;
    if (!read_udp(skb, data + UDP_AT(v6), &place, arrival, v6))
        return false;

    arrival->joined = skb->gso_size != 0;
    arrival->count = 1;
    if (arrival->joined) {
        arrival->count = (skb->len - SOCKS_AT(v6) + skb->gso_size - 1) / skb->gso_size;
        return true;
    }
    if (!place.usual) {
        arrival->plain = false;
        return true;
    }
    if (arrival->udp_len < UDP_LEN || arrival->udp_len > place.room || place.at + place.room > skb->len)
        return false;
    if (v6 && arrival->check == 0)
        return false;
    arrival->plain = arrival->udp_len == place.room;
    return true;
}

#endif
