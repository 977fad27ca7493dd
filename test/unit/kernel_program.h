/*
 * Loads the kernel path's program, runs it on packets without a network (BPF_PROG_TEST_RUN), and compares what it does
 * with the model: every byte, and every counter.
 */
#ifndef TEST_UNIT_KERNEL_PROGRAM_H
#define TEST_UNIT_KERNEL_PROGRAM_H

#include "test.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "flow.skel.h"
#include "support/flow_model.h"

#define LOOPBACK           1    /* the interface that test runs come from */
#define LEFT               (-1) /* TCX_NEXT */
#define REDIRECTED         7    /* TC_ACT_REDIRECT */
#define ATTACH_TCX_INGRESS 46

/* How far the kernel is with a packet's checksum: a program for each, with the same maps. */
enum mode { MODE_NONE, MODE_UNNECESSARY, MODE_COMPLETE, MODE_PARTIAL, MODES };

struct kernel_program {
    struct flow_bpf *skeletons[MODES];
    enum mode mode; /* of the next packets */
    struct flow_slot *slots;
    struct flow_shared *shared;
    char why_not[128];
    /* What the maps contain: to look for it in them takes long. */
    size_t port_count, flow_count;
    struct flow_endpoint ports[64];
    struct flow_key flows[64];
};

static struct kernel_program program;

static inline int kernel_program_silence(enum libbpf_print_level level, const char *format, va_list arguments)
{
    (void)level, (void)format, (void)arguments;
    return 0;
}

static inline int map_of(const struct bpf_map *map)
{
    return bpf_map__fd(map);
}

static inline struct flow_bpf *kernel_program_load(enum mode mode, const struct flow_bpf *first)
{
    struct flow_bpf *skeleton = flow_bpf__open();
    if (!skeleton)
        return NULL;
    skeleton->rodata->ttl_v4 = FLOW_MODEL_TTL;
    skeleton->rodata->hop_limit_v6 = FLOW_MODEL_HOP_LIMIT;
    skeleton->rodata->checksum_mode_of_tests = (int)mode;
    if (first) {
        bpf_map__reuse_fd(skeleton->maps.ports, map_of(first->maps.ports));
        bpf_map__reuse_fd(skeleton->maps.flows, map_of(first->maps.flows));
        bpf_map__reuse_fd(skeleton->maps.slots, map_of(first->maps.slots));
        bpf_map__reuse_fd(skeleton->maps.shared, map_of(first->maps.shared));
    }
    struct bpf_program *bpf = skeleton->progs.relay_flows;
    bpf_program__set_type(bpf, BPF_PROG_TYPE_SCHED_CLS);
    bpf_program__set_expected_attach_type(bpf, (enum bpf_attach_type)ATTACH_TCX_INGRESS);
    const int error = flow_bpf__load(skeleton);
    if (!error)
        return skeleton;
    flow_bpf__destroy(skeleton);
    errno = -error;
    return NULL;
}

/* A cmocka group's setup. What it cannot do, each test of the group reports as skipped. */
static inline int kernel_program_open(void **state)
{
    (void)state;
    libbpf_set_print(kernel_program_silence);
    for (int mode = 0; mode < MODES; mode++) {
        program.skeletons[mode] = kernel_program_load((enum mode)mode, program.skeletons[0]);
        if (program.skeletons[mode])
            continue;
        snprintf(program.why_not, sizeof(program.why_not), "it needs Linux 6.6 and CAP_BPF: %s", strerror(errno));
        /* Errors of the verifier are no reason to skip. */
        return errno == EACCES || errno == EINVAL ? -1 : 0;
    }
    const int slots = map_of(program.skeletons[0]->maps.slots), shared = map_of(program.skeletons[0]->maps.shared);
    program.slots = mmap(NULL, FLOW_SLOTS * sizeof(*program.slots), PROT_READ | PROT_WRITE, MAP_SHARED, slots, 0);
    program.shared = mmap(NULL, sizeof(*program.shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    return program.slots == MAP_FAILED || program.shared == MAP_FAILED ? -1 : 0;
}

static inline int kernel_program_close(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++)
        flow_bpf__destroy(program.skeletons[mode]);
    return 0;
}

#define NEEDS_THE_PROGRAM                                                                                              \
    do {                                                                                                               \
        if (program.why_not[0])                                                                                        \
            SKIP_TEST(program.why_not);                                                                                \
    } while (0)

/* ---- the model's associations, in the maps ---- */

static inline struct flow_endpoint endpoint_of(const union netaddr *addr, uint16_t port)
{
    struct flow_endpoint endpoint = {.address = {0, 0, htonl(0xffff), 0}, .port = htons(port)};
    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    memcpy((uint8_t *)endpoint.address + 16 - len, host, len);
    return endpoint;
}

static inline void map_put(const struct bpf_map *map, const void *key, const void *value)
{
    assert_int_equal(bpf_map_update_elem(map_of(map), key, value, BPF_ANY), 0);
}

static inline void install_port(uint32_t slot, enum flow_way way, const union netaddr *addr, uint16_t port)
{
    const struct flow_endpoint key = endpoint_of(addr, port);
    const struct flow_port value = {.slot = slot, .way = way};
    map_put(program.skeletons[0]->maps.ports, &key, &value);
    assert_in_range(program.port_count, 0, 63);
    program.ports[program.port_count++] = key;
}

static inline void install_flow(const struct flow_model_slot *slot, const struct flow_model_flow *flow)
{
    struct flow_key key = {.slot = slot->index, .life = slot->life - flow->is_of_earlier_life};
    struct flow value = {.generation = flow->generation, .interface = flow->interface, .mtu = flow->mtu};
    const struct flow_endpoint local = endpoint_of(&flow->local, 0);
    key.peer = endpoint_of(&flow->peer, netaddr_port(&flow->peer));
    memcpy(value.local, local.address, sizeof(value.local));
    value.answered = flow->has_answered;
    map_put(program.skeletons[0]->maps.flows, &key, &value);
    assert_in_range(program.flow_count, 0, 63);
    program.flows[program.flow_count++] = key;
}

static inline void install_slot(const struct flow_model_slot *model)
{
    struct flow_slot *slot = &program.slots[model->index];
    *slot = (struct flow_slot){.life = model->life,
                               .worker = model->worker,
                               .client = endpoint_of(&model->client, netaddr_port(&model->client)),
                               .relay = endpoint_of(&model->relay, netaddr_port(&model->relay)),
                               .external_port = htons(model->external_port),
                               .client_interface = model->client_interface,
                               .client_mtu = model->client_mtu};
    for (int way = 0; way < FLOW_WAYS; way++) {
        slot->tos[way].keep = model->tos[way].keep;
        slot->tos[way].set = model->tos[way].set;
        slot->received[way] = model->received[way];
        slot->count[way] = model->count[way];
        slot->limit[way].datagrams = model->limit[way].datagrams;
        slot->limit[way].bytes = model->limit[way].bytes;
    }
    program.shared->generation[model->worker] = model->generation;
    install_port(model->index, FLOW_UP, &model->relay, netaddr_port(&model->relay));
    for (size_t i = 0; i < model->flow_count; i++) {
        install_port(model->index, FLOW_DOWN, &model->flows[i].local, model->external_port);
        install_flow(model, &model->flows[i]);
    }
}

static inline void forget_all(void)
{
    for (; program.port_count > 0; program.port_count--)
        bpf_map_delete_elem(map_of(program.skeletons[0]->maps.ports), &program.ports[program.port_count - 1]);
    for (; program.flow_count > 0; program.flow_count--)
        bpf_map_delete_elem(map_of(program.skeletons[0]->maps.flows), &program.flows[program.flow_count - 1]);
}

/* Makes the maps what the model is. */
static inline void install(const struct flow_model *model)
{
    forget_all();
    memset(program.shared, 0, sizeof(*program.shared));
    memcpy(program.shared->passed, model->passed, sizeof(model->passed));
    for (size_t i = 0; i < model->slot_count; i++)
        install_slot(&model->slots[i]);
}

/* ---- running ---- */

/* What TCX would do with the packet, which gets its new bytes. */
static inline int run_program(struct packet *packet, uint32_t gso_size)
{
    struct __sk_buff context = {.gso_size = gso_size, .gso_segs = gso_size ? 2 : 0};
    static uint8_t out[PACKET_MAX + 256];
    struct bpf_test_run_opts options = {.sz = sizeof(options),
                                        .data_in = packet->bytes,
                                        .data_size_in = (uint32_t)packet->len,
                                        .data_out = out,
                                        .data_size_out = sizeof(out),
                                        .ctx_in = &context,
                                        .ctx_size_in = sizeof(context)};
    const int error =
        bpf_prog_test_run_opts(bpf_program__fd(program.skeletons[program.mode]->progs.relay_flows), &options);
    if (error)
        fail_msg("the kernel does not run the program on %zu bytes: %s", packet->len, strerror(-error));
    assert_in_range(options.data_size_out, 0, PACKET_MAX);
    memcpy(packet->bytes, out, options.data_size_out);
    packet->len = options.data_size_out;
    return (int)options.retval;
}

static inline void require_same_count(const struct flow_count *program_count, struct flow_count *model)
{
    struct timespec now;
    assert_int_equal(program_count->datagrams, model->datagrams);
    assert_int_equal(program_count->bytes, model->bytes);
    assert_int_equal(program_count->passed, model->passed);
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    assert_in_range(program_count->last_ns, model->last_ns, (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec);
    assert_true(model->datagrams == 0 || program_count->last_ns != 0);
    model->last_ns = program_count->last_ns;
}

static inline void require_same_counts(struct flow_model *model)
{
    assert_memory_equal(program.shared->passed, model->passed, sizeof(model->passed));
    for (size_t i = 0; i < model->slot_count; i++) {
        for (int way = 0; way < FLOW_WAYS; way++)
            require_same_count(&program.slots[model->slots[i].index].count[way], &model->slots[i].count[way]);
    }
}

/* IPv4's identification is random: without it, and the header's checksum without it. */
static inline void remove_random_id(struct packet *packet)
{
    if (packet_is_v6(packet))
        return;
    assert_int_equal(packet_fold(packet_sum(0, packet->bytes + PACKET_ETH_LEN, 20)), 0xffff);
    packet_set_number(packet, PACKET_ETH_LEN + 4, 0);
    packet_seal_ip(packet);
}

/* Runs the packet through both. True: it was relayed. */
static inline bool require_as_model(struct flow_model *model, const struct packet *packet, uint32_t gso_size)
{
    static struct packet after;
    static struct flow_model_result expected;
    const struct flow_model_arrival arrival = {
        .packet = packet, .interface = LOOPBACK, .gso_size = gso_size, .is_partial = program.mode == MODE_PARTIAL};
    after = *packet;
    flow_model_run(model, &arrival, &expected);
    const int action = run_program(&after, gso_size);
    assert_int_equal(action, expected.relayed ? REDIRECTED : LEFT);
    if (expected.relayed)
        remove_random_id(&after);
    const struct packet *right = expected.relayed ? &expected.packet : packet;
    assert_int_equal(after.len, right->len);
    assert_memory_equal(after.bytes, right->bytes, right->len);
    require_same_counts(model);
    return expected.relayed;
}

#define ETHERNET_MTU 1500

static inline union netaddr addr(const char *text, uint16_t port)
{
    union netaddr result;
    assert_true(netaddr_parse(&result, text, port));
    return result;
}

/* ---- two associations, of one family each, with a peer that user space has allowed ---- */

enum { V4, V6, FAMILIES };
static struct flow_model model;
static uint8_t payload[ETHERNET_MTU];

static inline struct flow_model_slot slot_of(int family)
{
    const bool v6 = family == V6;
    struct flow_model_slot slot = {.index = v6 ? FLOW_SLOTS - 1 : 0,
                                   .life = 3,
                                   .worker = v6 ? FLOW_WORKERS - 1 : 0,
                                   .generation = 5,
                                   .client = addr(v6 ? "2001:db8:c::2" : "198.51.100.2", 40000),
                                   .relay = addr(v6 ? "2001:db8:c::1" : "198.51.100.1", 50000),
                                   .external_port = 50001,
                                   .client_interface = LOOPBACK,
                                   .client_mtu = ETHERNET_MTU,
                                   .limit = {{UINT64_MAX, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}},
                                   .flow_count = 1};
    slot.flows[0] = (struct flow_model_flow){.peer = addr(v6 ? "2001:db8:e::9" : "203.0.113.9", 3478),
                                             .local = addr(v6 ? "2001:db8:e::1" : "203.0.113.1", 0),
                                             .generation = 5,
                                             .interface = LOOPBACK,
                                             .mtu = ETHERNET_MTU,
                                             .has_answered = true};
    return slot;
}

static inline int start(void **state)
{
    (void)state;
    program.mode = MODE_NONE;
    model = (struct flow_model){.slot_count = 2, .slots = {slot_of(V4), slot_of(V6)}};
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 256);
    if (!program.why_not[0])
        install(&model);
    return 0;
}

static inline struct packet_setup setup_down(int family, size_t len)
{
    const struct flow_model_slot *slot = &model.slots[family];
    struct packet_setup setup = {
        .source = slot->flows[0].peer, .destination = slot->flows[0].local, .data = payload, .data_len = len, .ttl = 9};
    netaddr_set_port(&setup.destination, slot->external_port);
    return setup;
}

/* The client's datagram to `peer`. */
static inline struct packet_setup setup_up_to(int family, const union netaddr *peer, size_t len)
{
    static uint8_t with_header[sizeof(payload) + SOCKS5_UDP_HEADER_V6];
    const struct flow_model_slot *slot = &model.slots[family];
    struct socks5_udp_header header = {.destination = {.atyp = SOCKS5_ATYP_IPV4, .port = netaddr_port(peer)}};
    size_t host_len;
    header.destination.host = netaddr_host(peer, &host_len);
    header.destination.host_len = (uint8_t)host_len;
    if (host_len == 16)
        header.destination.atyp = SOCKS5_ATYP_IPV6;
    const size_t socks_len = socks5_udp_header_encode(with_header, sizeof(with_header), &header);
    memcpy(with_header + socks_len, payload, len);
    return (struct packet_setup){.source = slot->client,
                                 .destination = slot->relay,
                                 .data = with_header,
                                 .data_len = socks_len + len,
                                 .ttl = 64};
}

static inline struct packet_setup setup_for(int family, enum flow_way way, size_t len)
{
    return way == FLOW_UP ? setup_up_to(family, &model.slots[family].flows[0].peer, len) : setup_down(family, len);
}

static inline struct packet built(const struct packet_setup *setup)
{
    static struct packet packet;
    packet_build(&packet, setup);
    return packet;
}

static inline void require_relayed(const struct packet *packet)
{
    assert_true(require_as_model(&model, packet, 0));
}

/* Left to user space for this reason, and as it came. */
static inline void require_passed(const struct packet *packet, uint32_t gso_size, enum flow_pass reason, uint64_t count)
{
    const uint64_t before = model.passed[reason];
    assert_false(require_as_model(&model, packet, gso_size));
    assert_int_equal(model.passed[reason] - before, count);
}

/* Left alone, and not counted: user space will not receive it, or it belongs to no association. */
static inline void require_ignored(const struct packet *packet)
{
    uint64_t before[FLOW_PASS_REASONS];
    memcpy(before, model.passed, sizeof(before));
    assert_false(require_as_model(&model, packet, 0));
    assert_memory_equal(before, model.passed, sizeof(before));
}

/* What user space does in the end: it has received what was left to it. */
static inline void catch_up(int family, enum flow_way way)
{
    struct flow_model_slot *slot = &model.slots[family];
    slot->received[way] = slot->count[way].passed;
    program.slots[slot->index].received[way] = slot->received[way];
}

/* Each family, way and state of the checksum has instructions of its own in the program. */
static inline void for_each_path(void (*check)(int family, enum flow_way way))
{
    for (int mode = 0; mode < MODES; mode++) {
        for (int family = V4; family < FAMILIES; family++) {
            for (int way = FLOW_UP; way < FLOW_WAYS; way++) {
                start(NULL);
                program.mode = (enum mode)mode;
                check(family, (enum flow_way)way);
            }
        }
    }
}

static inline size_t headers_len(int family)
{
    return family == V6 ? 48 + SOCKS5_UDP_HEADER_V6 : 28 + SOCKS5_UDP_HEADER_V4;
}

#endif
