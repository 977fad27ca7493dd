/*
 * The kernel path's program: relays the datagrams of established flows, so that they do not wake this process.
 *
 * It runs for each packet that an interface receives (tcx ingress), before the kernel's IP layer. A datagram of a flow
 * that user space has allowed gets new headers and is sent. All others continue to user space as they came. If they
 * belong to an association, the reason is counted.
 *
 *   up:    client -> relay   SOCKS5 header, payload   becomes   local -> peer     payload
 *   down:  peer -> local     payload                  becomes   relay -> client   SOCKS5 header, payload
 *
 * The functions are inlined with a constant family and way. So the compiler makes four short paths of them.
 */
#include "kernel/packet.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL"; /* the kernel asks for the GPL */

/* The loader sets them to what the sockets of this host use. */
const volatile __u8 ttl_v4 = 64, hop_limit_v6 = 64;

enum { FAMILY_V4 = 2 /* AF_INET */, FAMILY_V6 = 10 /* AF_INET6 */ };
enum { LEAVE = -1 /* TCX_NEXT */, DROP = 2 /* TC_ACT_SHOT */ };
enum { ALLOWED = FLOW_PASS_REASONS }; /* no reason to leave the datagram to user space */

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, FLOW_SLOTS * 4);
    __type(key, struct flow_endpoint);
    __type(value, struct flow_port);
} ports SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, FLOW_MAX);
    __type(key, struct flow_key);
    __type(value, struct flow);
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FLOW_SLOTS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct flow_slot);
} slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct flow_shared);
} shared SEC(".maps");

/* Where a CPU composes what it writes into the packet: the headers, and a payload that has to move. */
#define PAYLOAD_MAX 0x3fff /* a mask, too */
struct scratch {
    union {
        struct headers_v4 v4;
        struct headers_v6 v6;
        __u8 bytes[sizeof(struct headers_v6) + PAYLOAD_MAX];
    };
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct scratch);
} scratches SEC(".maps");

/* Where it is to go. */
struct route {
    const __u32 *source_address, *destination_address, *next_hop;
    __be16 source_port, destination_port;
    __u32 interface, mtu;
};

/* ---- lengths ---- */

/* The length of the leaving datagram's UDP part. */
static __always_inline __u32 leaving_udp_len(const struct arrival *arrival, const bool v6, const int way)
{
    return way == FLOW_UP ? arrival->udp_len - SOCKS_LEN(v6) : arrival->udp_len + SOCKS_LEN(v6);
}

/* The length of the headers that the program writes, from IP on. */
static __always_inline __u32 leaving_headers_len(const bool v6, const int way)
{
    return IP_LEN(v6) + UDP_LEN + (way == FLOW_DOWN ? SOCKS_LEN(v6) : 0);
}

static __always_inline __u32 payload_len(const struct arrival *arrival, const bool v6, const int way)
{
    return arrival->udp_len - UDP_LEN - (way == FLOW_UP ? SOCKS_LEN(v6) : 0);
}

/* ---- deciding ---- */

static __always_inline bool same_address(const __u32 a[4], const __u32 b[4], const bool v6)
{
    return a[3] == b[3] && (!v6 || (a[0] == b[0] && a[1] == b[1] && a[2] == b[2]));
}

static __always_inline bool same_endpoint(const struct flow_endpoint *a, const struct flow_endpoint *b, const bool v6)
{
    return a->port == b->port && same_address(a->address, b->address, v6);
}

/* Reads the destination in the client's SOCKS5 header. false: user space has to look at it. */
static __always_inline bool read_socks(struct __sk_buff *skb, struct flow_endpoint *peer, const bool v6)
{
    void *data = (void *)(long)skb->data;
    if (data + SOCKS_AT(v6) + SOCKS_LEN(v6) > (void *)(long)skb->data_end)
        return false;
    peer->zero = 0;
    if (v6) {
        const struct socks_v6 *socks = data + SOCKS_AT(v6);
        copy_ipv6(peer->address, socks->address);
        peer->port = socks->port;
        return socks->fixed == SOCKS_FIXED(v6);
    }
    const struct socks_v4 *socks = data + SOCKS_AT(v6);
    put_ipv4(peer->address, socks->address);
    peer->port = socks->port;
    return socks->fixed == SOCKS_FIXED(v6);
}

/* Asked for each datagram: so a policy applies to the first one after it, whatever this process is doing. */
static __always_inline bool ipsec_may_apply(struct __sk_buff *skb, struct flow_shared *state)
{
    const struct sk_buff *kernel_skb = bpf_cast_to_kern_ctx(skb);
    const bool applies = has_ipsec_policies(kernel_skb->dev->nd_net.net);
    if (state->ipsec != applies) /* CPUs share the cache line */
        state->ipsec = applies;
    return applies;
}

/* Whether user space has allowed the flow, and nothing has changed since. */
static __always_inline int check_flow(struct __sk_buff *skb, const struct flow_slot *slot, const struct flow *flow)
{
    const __u32 first = 0;
    struct flow_shared *state = bpf_map_lookup_elem(&shared, &first);
    if (!state || ipsec_may_apply(skb, state))
        return FLOW_PASS_IPSEC;
    if (!flow)
        return FLOW_PASS_NEW;
    return flow->generation == state->generation[slot->worker % FLOW_WORKERS] ? ALLOWED : FLOW_PASS_REVOKED;
}

/* An answer that needs no translation (NAT) proves that what is sent to the peer needs none: a flow that user space has
 * begun is translated both ways or not at all. */
static __always_inline void note_answer(const struct arrival *arrival, struct flow *flow, const bool v6)
{
    if (flow && !flow->answered && same_address(arrival->destination.address, flow->local, v6))
        flow->answered = 1;
}

static __always_inline int route_up(struct __sk_buff *skb, struct arrival *arrival, struct route *route, const bool v6)
{
    const struct flow_slot *slot = arrival->slot;
    if (!same_endpoint(&arrival->source, &slot->client, v6) || skb->ifindex != slot->client_interface)
        return FLOW_PASS_SENDER;
    if (arrival->joined)
        return FLOW_PASS_JOINED;
    if (!arrival->plain)
        return FLOW_PASS_FORM;
    if (arrival->udp_len < UDP_LEN + SOCKS_LEN(v6) || !read_socks(skb, &arrival->key.peer, v6))
        return FLOW_PASS_HEADER;
    const struct flow *flow = bpf_map_lookup_elem(&flows, &arrival->key);
    const int reason = check_flow(skb, slot, flow);
    if (reason != ALLOWED)
        return reason;
    if (!flow->answered)
        return FLOW_PASS_NEW;
    route->source_address = flow->local;
    route->source_port = slot->external_port;
    route->destination_address = arrival->key.peer.address;
    route->destination_port = arrival->key.peer.port;
    route->next_hop = flow->next_hop;
    route->interface = flow->interface;
    route->mtu = flow->mtu;
    return ALLOWED;
}

static __always_inline int route_down(struct __sk_buff *skb, struct arrival *arrival, struct route *route,
                                      const bool v6)
{
    const struct flow_slot *slot = arrival->slot;
    arrival->key.peer = arrival->source;
    struct flow *flow = bpf_map_lookup_elem(&flows, &arrival->key);
    note_answer(arrival, flow, v6);
    if (arrival->joined)
        return FLOW_PASS_JOINED;
    if (!arrival->plain)
        return FLOW_PASS_FORM;
    const int reason = check_flow(skb, slot, flow);
    if (reason != ALLOWED)
        return reason;
    if (skb->ifindex != flow->interface || !same_address(arrival->destination.address, flow->local, v6))
        return FLOW_PASS_INTERFACE;
    route->source_address = slot->relay.address;
    route->source_port = slot->relay.port;
    route->destination_address = slot->client.address;
    route->destination_port = slot->client.port;
    route->next_hop = slot->client_next_hop;
    route->interface = slot->client_interface;
    route->mtu = slot->client_mtu;
    return ALLOWED;
}

/* Several CPUs may pass this at the same moment. User space charges what is then too much to the next credit. */
static __always_inline bool is_within_credit(const struct flow_slot *slot, __u32 payload, const int way)
{
    return slot->count[way].datagrams < slot->limit[way].datagrams &&
           slot->count[way].bytes + payload <= slot->limit[way].bytes;
}

static __always_inline int check_state(const struct arrival *arrival, const struct route *route, const bool v6,
                                       const int way)
{
    if (IP_LEN(v6) + leaving_udp_len(arrival, v6, way) > route->mtu)
        return FLOW_PASS_TOO_LARGE;
    if (arrival->slot->count[way].passed != arrival->slot->received[way])
        return FLOW_PASS_BEHIND;
    if (!is_within_credit(arrival->slot, payload_len(arrival, v6, way), way))
        return FLOW_PASS_RATE;
    return ALLOWED;
}

/* ---- sending ---- */

static __always_inline __u64 sum_of_route(const struct route *route, const bool v6)
{
    return sum_of_address(route->source_address, v6) + route->source_port +
           sum_of_address(route->destination_address, v6) + route->destination_port;
}

/* Where the headers stay, the payload moves: into the scratch, behind the headers. The frame gets its new length. With
 * eight bytes before it, as the helper refuses an empty one. */
static __always_inline bool move_payload(struct __sk_buff *skb, const struct arrival *arrival, struct scratch *scratch,
                                         const bool v6, const int way)
{
    const __u32 from = SOCKS_AT(v6) + (way == FLOW_UP ? SOCKS_LEN(v6) : 0), to = leaving_headers_len(v6, way);
    __u32 len = payload_len(arrival, v6, way);
    if (len > PAYLOAD_MAX)
        return false;
    barrier_var(len); /* the compiler must keep the mask, which is what the verifier understands */
    len = (len & PAYLOAD_MAX) + 8;
    if (bpf_skb_load_bytes(skb, from - 8, scratch->bytes + to - 8, len))
        return false;
    return bpf_skb_change_tail(skb, UDP_AT(v6) + leaving_udp_len(arrival, v6, way), 0) == 0;
}

/* Where the checksum's place does not matter, Ethernet and IP header move. */
static __always_inline bool move_headers(struct __sk_buff *skb, const struct arrival *arrival, const bool v6,
                                         const int way)
{
    const __u32 frame_len = UDP_AT(v6) + arrival->udp_len;
    const __s32 growth = way == FLOW_UP ? -(__s32)SOCKS_LEN(v6) : (__s32)SOCKS_LEN(v6);
    if (skb->len != frame_len && bpf_skb_change_tail(skb, frame_len, 0)) /* without Ethernet's padding */
        return false;
    return bpf_skb_adjust_room(skb, growth, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_NO_CSUM_RESET) == 0;
}

static __always_inline int make_room(struct __sk_buff *skb, const struct arrival *arrival, struct scratch *scratch,
                                     bool payload_moves, const bool v6, const int way)
{
    const bool done =
        payload_moves ? move_payload(skb, arrival, scratch, v6, way) : move_headers(skb, arrival, v6, way);
    return done ? ALLOWED : FLOW_PASS_NO_ROOM;
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct route *route, __u32 udp_len, __u8 tos)
{
    ip->version = 4;
    ip->ihl = sizeof(*ip) / 4;
    ip->tos = tos;
    ip->tot_len = bpf_htons(sizeof(*ip) + udp_len);
    ip->id = (__u16)bpf_get_prandom_u32(); /* routers may fragment it, as they may what sockets send */
    ip->frag_off = 0;
    ip->ttl = ttl_v4;
    ip->protocol = IPPROTO_UDP;
    ip->check = 0;
    ip->saddr = route->source_address[3];
    ip->daddr = route->destination_address[3];
    ip->check = ~fold(sum_of_ip_header(ip));
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct route *route, __u32 udp_len, __u8 tos)
{
    *(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)tos << 20);
    ip->payload_len = bpf_htons(udp_len);
    ip->nexthdr = IPPROTO_UDP;
    ip->hop_limit = hop_limit_v6;
    copy_ipv6(ip->saddr.in6_u.u6_addr32, route->source_address);
    copy_ipv6(ip->daddr.in6_u.u6_addr32, route->destination_address);
}

/* With CHECKSUM_PARTIAL the field has only the sum of the pseudo header; a device, or the kernel, adds the rest. */
static __always_inline __u16 leaving_checksum(const struct arrival *arrival, const struct route *route, __u32 udp_len,
                                              const bool partial, const bool v6, const int way)
{
    if (partial)
        return fold(sum_of_address(route->source_address, v6) + sum_of_address(route->destination_address, v6) +
                    bpf_htons(IPPROTO_UDP) + bpf_htons(udp_len));
    __u64 from = sum_of_endpoint(&arrival->source, v6) + sum_of_endpoint(&arrival->destination, v6);
    __u64 to = sum_of_route(route, v6);
    if (way == FLOW_UP)
        from += sum_of_socks(&arrival->key.peer, v6);
    else
        to += sum_of_socks(&arrival->key.peer, v6);
    return update_checksum(arrival->check, from, to);
}

static __always_inline void write_headers(struct scratch *scratch, const struct arrival *arrival,
                                          const struct route *route, const bool partial, const bool v6, const int way)
{
    const __u32 udp_len = leaving_udp_len(arrival, v6, way);
    const struct flow_slot *slot = arrival->slot;
    const __u8 tos = (arrival->tos & slot->tos[way].keep) | slot->tos[way].set;
    struct udphdr *udp = v6 ? &scratch->v6.udp : &scratch->v4.udp;
    if (v6)
        write_ipv6(&scratch->v6.ip, route, udp_len, tos);
    else
        write_ipv4(&scratch->v4.ip, route, udp_len, tos);
    udp->source = route->source_port;
    udp->dest = route->destination_port;
    udp->len = bpf_htons(udp_len);
    udp->check = leaving_checksum(arrival, route, udp_len, partial, v6, way);
    if (way == FLOW_UP)
        return;
    if (v6) {
        scratch->v6.socks.fixed = SOCKS_FIXED(v6);
        copy_ipv6(scratch->v6.socks.address, arrival->source.address);
        scratch->v6.socks.port = arrival->source.port;
    } else {
        scratch->v4.socks.fixed = SOCKS_FIXED(v6);
        scratch->v4.socks.address = arrival->source.address[3];
        scratch->v4.socks.port = arrival->source.port;
    }
}

/* Not inlined: few packets come here. */
static __noinline int leave(struct flow_slot *slot, __u32 count, int reason, int way)
{
    const __u32 first = 0;
    struct flow_shared *state = bpf_map_lookup_elem(&shared, &first);
    if (!state || !slot || reason < 0 || reason >= FLOW_PASS_REASONS)
        return LEAVE;
    __sync_fetch_and_add(&state->passed[reason], count);
    if (reason != FLOW_PASS_SENDER) /* else user space drops it without counting it */
        __sync_fetch_and_add(&slot->count[way == FLOW_DOWN].passed, count);
    return LEAVE;
}

/* The kernel adds the next hop's hardware address, and asks for it if need be. */
static __always_inline int send(const struct route *route, const bool v6)
{
    struct bpf_redir_neigh next_hop = {.nh_family = v6 ? FAMILY_V6 : FAMILY_V4};
    if (v6)
        copy_ipv6(next_hop.ipv6_nh, route->next_hop);
    else
        next_hop.ipv4_nh = route->next_hop[3];
    return (int)bpf_redirect_neigh(route->interface, &next_hop, sizeof(next_hop), 0);
}

static __always_inline int relay(struct __sk_buff *skb, struct arrival *arrival, const bool v6, const int way)
{
    struct flow_count *count = &arrival->slot->count[way];
    struct route route;
    const int mode = checksum_mode(skb);
    const bool payload_moves = mode == CHECKSUM_PARTIAL || mode == CHECKSUM_COMPLETE;
    const __u32 first = 0;
    struct scratch *scratch = bpf_map_lookup_elem(&scratches, &first);
    if (!scratch)
        return LEAVE;
    int reason = way == FLOW_UP ? route_up(skb, arrival, &route, v6) : route_down(skb, arrival, &route, v6);
    if (reason == ALLOWED)
        reason = check_state(arrival, &route, v6, way);
    if (reason == ALLOWED)
        reason = make_room(skb, arrival, scratch, payload_moves, v6, way);
    if (reason != ALLOWED)
        return leave(arrival->slot, arrival->count, reason, way);

    write_headers(scratch, arrival, &route, mode == CHECKSUM_PARTIAL, v6, way);
    __u32 len = payload_moves ? payload_len(arrival, v6, way) : 0;
    barrier_var(len);
    len = (len & PAYLOAD_MAX) + leaving_headers_len(v6, way);
    /* The device has summed up the whole packet: a receiver behind a virtual device checks that sum. */
    const __u64 flags = mode == CHECKSUM_COMPLETE ? BPF_F_RECOMPUTE_CSUM : 0;
    if (bpf_skb_store_bytes(skb, ETH_HLEN, scratch->bytes, len, flags))
        return DROP;
    __sync_fetch_and_add(&count->datagrams, 1);
    __sync_fetch_and_add(&count->bytes, payload_len(arrival, v6, way));
    count->last_ns = bpf_ktime_get_coarse_ns();
    return send(&route, v6);
}

static __always_inline int take(struct __sk_buff *skb, const bool v6)
{
    struct arrival arrival;
    if (!pull_headers(skb, v6) || !read_arrival(skb, &arrival, v6))
        return LEAVE;
    const struct flow_port *port = bpf_map_lookup_elem(&ports, &arrival.destination);
    if (!port)
        return LEAVE;
    arrival.slot = bpf_map_lookup_elem(&slots, &port->slot);
    if (!arrival.slot || arrival.slot->life == 0)
        return LEAVE;
    arrival.key.slot = port->slot;
    arrival.key.life = arrival.slot->life;
    return port->way == FLOW_UP ? relay(skb, &arrival, v6, FLOW_UP) : relay(skb, &arrival, v6, FLOW_DOWN);
}

/* For the loader, which runs it once: whether its network has IPsec policies. */
SEC("syscall")
int find_ipsec_policies(void *context)
{
    (void)context;
    struct task_struct *loader = bpf_get_current_task_btf();
    return has_ipsec_policies(loader->nsproxy->net_ns);
}

SEC("tc")
int relay_flows(struct __sk_buff *skb)
{
    /* A frame with a VLAN tag comes once more, from the VLAN's interface. */
    if (skb->vlan_present || skb->pkt_type != PACKET_HOST)
        return LEAVE;
    if (skb->protocol == bpf_htons(ETH_P_IP))
        return take(skb, false);
    if (skb->protocol == bpf_htons(ETH_P_IPV6))
        return take(skb, true);
    return LEAVE;
}
