/* Loads the program into this kernel, and asks what user space sees of it. What the program does with packets, other
 * tests ask. */
#include "kernel/kernel_path.h"
#include "kernel/kernel_path_impl.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "kernel/kernel_path_impl.h"
#include "kernel_namespace.h"

static struct kernel_path *path;
static struct kernel_worker *worker;
static char why[KERNEL_PATH_TEXT_MAX];

static int begin(void **state)
{
    (void)state;
    if (namespace_enter())
        path = kernel_path_open(why);
    else
        strcpy(why, "needs a network namespace");
    worker = path ? kernel_worker_new(path, 0) : NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    kernel_worker_free(worker);
    kernel_path_close(path);
    return 0;
}

/* On a system that has all that is needed, whatever goes wrong is our fault. */
#define NEED_PATH()                                                                                                    \
    do {                                                                                                               \
        if (!path && !strstr(why, "does not accept the program"))                                                      \
            SKIP_TEST(why);                                                                                            \
        assert_non_null(path);                                                                                         \
        assert_non_null(worker);                                                                                       \
    } while (0)

static void it_tells_where_it_is_attached(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_path_view view;
    kernel_path_view(path, &view);
    assert_string_equal(view.interfaces, "kp0");
    assert_int_equal(view.slots_used, 0);
    assert_true(view.slots > 1000 && view.reasons > 0);
    for (size_t i = 0; i < view.reasons; i++)
        assert_true(strlen(kernel_path_reason(i)) > 0);
}

static struct kernel_slot *slot_between(const char *client, const char *relay, const char *external)
{
    const union netaddr from = at(client, 5000), to = at(relay, 1080), out = at(external, 4000);
    const struct kernel_slot_setup setup = {.client = &from, .relay = &to, .external = &out};
    return kernel_slot_new(worker, &setup);
}

static bool send_to(struct kernel_slot *slot, const char *peer)
{
    const union netaddr to = at(peer, 53);
    return kernel_slot_sent(worker, slot, &to);
}

static uint32_t slots_used(void)
{
    struct kernel_path_view view;
    kernel_path_view(path, &view);
    return view.slots_used;
}

static void end_slot(struct kernel_slot *slot)
{
    struct kernel_carried carried;
    kernel_slot_free(worker, slot, &carried);
    for (int way = 0; way < KERNEL_WAYS; way++)
        assert_int_equal(carried.way[way].datagrams + carried.way[way].last_ms, 0);
}

static void the_second_datagram_to_a_peer_installs_its_flow(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    assert_non_null(slot);
    assert_int_equal(slots_used(), 1);
    assert_false(send_to(slot, "192.0.2.9"));
    assert_true(send_to(slot, "192.0.2.9"));
    assert_true(send_to(slot, "192.0.2.9"));
    assert_false(send_to(slot, "192.0.2.10"));
    assert_true(send_to(slot, "192.0.2.10"));
    end_slot(slot);
    assert_int_equal(slots_used(), 0);
}

/* The peer's entry in the map. */
static bool update_flow(const struct kernel_slot *slot, const char *peer, struct flow *flow, bool answers)
{
    struct flow_key key = {.slot = slot->index, .life = slot->life, .peer = {.port = htons(53)}};
    const union netaddr address = at(peer, 53);
    key.peer.address[2] = htonl(0xffff);
    key.peer.address[3] = address.v4.sin_addr.s_addr;
    if (bpf_map_lookup_elem(path->flows, &key, flow) < 0)
        return false;
    flow->answered |= answers;
    return bpf_map_update_elem(path->flows, &key, flow, BPF_ANY) == 0;
}

static void a_flow_that_is_installed_again_knows_that_its_peer_has_answered(void **state)
{
    (void)state;
    NEED_PATH();
    struct flow flow;
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    assert_false(send_to(slot, "192.0.2.9"));
    assert_true(send_to(slot, "192.0.2.9"));
    assert_true(update_flow(slot, "192.0.2.9", &flow, true));
    for (int i = 0; i < 100; i++)
        assert_true(send_to(slot, "192.0.2.9"));
    assert_true(update_flow(slot, "192.0.2.9", &flow, false));
    assert_int_equal(flow.answered, 1);
    kernel_worker_revoke(worker); /* with other rules, the packet filter may have others, too */
    assert_false(send_to(slot, "192.0.2.9"));
    assert_true(send_to(slot, "192.0.2.9"));
    assert_true(update_flow(slot, "192.0.2.9", &flow, false));
    assert_int_equal(flow.answered, 0);
    end_slot(slot);
}

static void the_same_for_ipv6(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = slot_between("2001:db8::7", "2001:db8::1", "::");
    assert_non_null(slot);
    assert_false(send_to(slot, "2001:db8::9"));
    assert_true(send_to(slot, "2001:db8::9"));
    end_slot(slot);
}

static void what_is_revoked_needs_two_datagrams_again(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    for (int i = 0; i < 2; i++) {
        assert_false(send_to(slot, "192.0.2.9"));
        assert_true(send_to(slot, "192.0.2.9"));
        i ? kernel_path_revoke(path) : kernel_worker_revoke(worker);
    }
    assert_false(send_to(slot, "192.0.2.9"));
    end_slot(slot);
}

static void an_association_installs_so_many_flows_in_a_second(void **state)
{
    (void)state;
    NEED_PATH();
    enum { PEERS = 4000 };
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    int installed = 0;
    assert_non_null(slot);
    for (uint16_t port = 1; port <= PEERS; port++) {
        const union netaddr to = at("192.0.2.9", port);
        (void)kernel_slot_sent(worker, slot, &to);
        installed += kernel_slot_sent(worker, slot, &to);
    }
    assert_in_range(installed, KERNEL_SLOT_INSTALLS, PEERS - 1); /* it may take more than a second */
    end_slot(slot);
}

static void peers_elsewhere_are_not_installed(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    static const char *const peers[] = {"127.0.0.1", "192.0.2.1", "203.0.113.1", "2001:db8::9"};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
        for (int again = 0; again < 3; again++)
            assert_false(send_to(slot, peers[i]));
    run("ip address add 192.0.4.1/24 dev kp1"); /* an interface that came after the start */
    for (int again = 0; again < 3; again++)
        assert_false(send_to(slot, "192.0.4.9"));
    run("ip address delete 192.0.4.1/24 dev kp1");
    end_slot(slot);
}

/* Outbound pools: a socket that is bound to one address of several. */
static void an_association_has_a_few_addresses(void **state)
{
    (void)state;
    NEED_PATH();
    char command[128], peer[32];
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    for (int i = 1; i <= 6; i++) {
        snprintf(command, sizeof(command), "ip address add 198.18.%d.1/24 dev kp0", i);
        snprintf(peer, sizeof(peer), "198.18.%d.9", i);
        run(command);
        assert_false(send_to(slot, peer));
        assert_int_equal(send_to(slot, peer), i <= 4);
    }
    end_slot(slot);
    slot = slot_between("192.0.2.7", "192.0.2.1", "198.18.6.1");
    assert_false(send_to(slot, "198.18.6.9"));
    assert_true(send_to(slot, "198.18.6.9"));
    end_slot(slot);
}

static void a_client_must_be_at_an_interface_of_the_path(void **state)
{
    (void)state;
    NEED_PATH();
    assert_null(slot_between("127.0.0.1", "127.0.0.1", "0.0.0.0"));
    assert_int_equal(errno, ENETUNREACH);
    assert_null(slot_between("203.0.113.1", "192.0.2.1", "0.0.0.0"));
    assert_int_equal(slots_used(), 0);
}

static void all_slots_can_be_in_use(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_path_view view;
    kernel_path_view(path, &view);
    struct kernel_slot **slots = calloc(view.slots, sizeof(struct kernel_slot *));
    assert_non_null(slots);
    sleep(2); /* those of other tests have rested */
    for (size_t i = 0; i < view.slots; i++) {
        slots[i] = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
        assert_non_null(slots[i]);
    }
    assert_null(slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0"));
    assert_int_equal(errno, ENOSPC);
    for (size_t i = 0; i < view.slots; i++)
        end_slot(slots[i]);
    free(slots);
}

/* ---- credit: the test counts as the program does ---- */

static struct kernel_slot *limited_slot(void)
{
    const union netaddr from = at("192.0.2.7", 5000), to = at("192.0.2.1", 1080), out = at("0.0.0.0", 4000);
    const struct kernel_slot_setup setup = {.client = &from, .relay = &to, .external = &out, .is_limited = true};
    struct kernel_slot *slot = kernel_slot_new(worker, &setup);
    assert_non_null(slot);
    return slot;
}

static void allow(struct kernel_slot *slot, uint64_t datagrams, uint64_t bytes)
{
    kernel_slot_allow(slot, KERNEL_DOWN, &(struct kernel_credit){datagrams, bytes});
}

static void relay(struct kernel_slot *slot, uint64_t datagrams, uint64_t bytes)
{
    slot->memory->count[FLOW_DOWN].datagrams += datagrams;
    slot->memory->count[FLOW_DOWN].bytes += bytes;
}

static void expect_limit(const struct kernel_slot *slot, uint64_t datagrams, uint64_t bytes)
{
    assert_true(slot->memory->limit[FLOW_DOWN].datagrams == datagrams);
    assert_true(slot->memory->limit[FLOW_DOWN].bytes == bytes);
}

static void withdraw(struct kernel_slot *slot, uint64_t datagrams, uint64_t bytes)
{
    struct kernel_credit unused;
    kernel_slot_withdraw(slot, KERNEL_DOWN, &unused);
    assert_true(unused.datagrams == datagrams);
    assert_true(unused.bytes == bytes);
}

static void free_slot(struct kernel_slot *slot)
{
    struct kernel_carried carried;
    kernel_slot_free(worker, slot, &carried);
}

static void only_limited_slots_need_credit(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
    expect_limit(slot, UINT64_MAX, UINT64_MAX);
    relay(slot, 1000000, 1000000000);
    assert_false(kernel_slot_needs_credit(slot, KERNEL_DOWN));
    free_slot(slot);
    slot = limited_slot();
    expect_limit(slot, 0, 0);
    assert_true(kernel_slot_needs_credit(slot, KERNEL_UP));
    assert_true(kernel_slot_needs_credit(slot, KERNEL_DOWN));
    allow(slot, 1, 70000);
    assert_true(kernel_slot_needs_credit(slot, KERNEL_UP));
    assert_false(kernel_slot_needs_credit(slot, KERNEL_DOWN));
    relay(slot, 0, 10000);
    assert_true(kernel_slot_needs_credit(slot, KERNEL_DOWN)); /* for the longest datagram */
    allow(slot, 0, UINT64_MAX);
    assert_false(kernel_slot_needs_credit(slot, KERNEL_DOWN));
    relay(slot, 1, 1);
    assert_true(kernel_slot_needs_credit(slot, KERNEL_DOWN));
    free_slot(slot);
}

static void unused_credit_is_withdrawn(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = limited_slot();
    allow(slot, 10, 1000);
    allow(slot, 5, 500);
    expect_limit(slot, 15, 1500);
    relay(slot, 4, 300);
    withdraw(slot, 11, 1200);
    expect_limit(slot, 4, 300);
    withdraw(slot, 0, 0);
    allow(slot, 2, 100);
    expect_limit(slot, 6, 400);
    allow(slot, UINT64_MAX, 0);
    expect_limit(slot, UINT64_MAX, 400);
    withdraw(slot, UINT64_MAX - 4, 100);
    expect_limit(slot, 4, 300);
    free_slot(slot);
}

/* Several CPUs have relayed the last one, or the program has finished one after the withdrawal. */
static void what_was_too_much_is_charged_to_the_next_credit(void **state)
{
    (void)state;
    NEED_PATH();
    struct kernel_slot *slot = limited_slot();
    allow(slot, 10, 1000);
    relay(slot, 12, 1300);
    withdraw(slot, 0, 0);
    allow(slot, 10, 1000);
    expect_limit(slot, 20, 2000);
    withdraw(slot, 8, 700);
    relay(slot, 1, 50);
    allow(slot, 5, 500);
    withdraw(slot, 4, 450);
    free_slot(slot);
}

/* ---- where it cannot work ---- */

static void give_up_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) < 0)
        _exit(99);
}

static void without_capabilities_it_says_which(void **state)
{
    (void)state;
    const pid_t child = fork();
    if (child == 0) {
        give_up_capabilities();
        const bool opened = kernel_path_open(why);
        const bool named = strstr(why, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON") && strstr(why, "systemd");
        _exit(opened ? 1 : named || strstr(why, "needs Linux") ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* The sandbox relies on it: without privileges, a process can still use what it has open. */
static void capabilities_are_needed_for_opening_only(void **state)
{
    (void)state;
    NEED_PATH();
    const pid_t child = fork();
    if (child == 0) {
        give_up_capabilities();
        struct kernel_slot *slot = slot_between("192.0.2.7", "192.0.2.1", "0.0.0.0");
        const bool works = slot && !send_to(slot, "192.0.2.9") && send_to(slot, "192.0.2.9");
        if (works)
            end_slot(slot);
        _exit(works ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void it_tells_which_interfaces_came_later(void **state)
{
    (void)state;
    NEED_PATH();
    char missing[KERNEL_PATH_TEXT_MAX];
    kernel_path_missing(path, missing);
    assert_string_equal(missing, "");
    run("ip address add 192.0.4.1/24 dev kp1");
    kernel_path_missing(path, missing);
    assert_string_equal(missing, "kp1");
    run("ip address delete 192.0.4.1/24 dev kp1");
}

static void without_an_interface_it_says_so(void **state)
{
    (void)state;
    NEED_PATH();
    run("ip link set kp0 down");
    assert_null(kernel_path_open(why));
    assert_non_null(strstr(why, "no Ethernet interface"));
    run("ip link set kp0 up");
}

static void run_xfrm_policy(const char *change)
{
    char command[128];
    snprintf(command, sizeof(command), "ip xfrm policy %s", change);
    run(command);
}

static void with_ipsec_policies_it_does_not_open(void **state)
{
    (void)state;
    NEED_PATH();
    static const char *const policies[][2] = {
        {"add src 198.18.0.0/24 dst 198.18.1.0/24 dir in", "flush"},
        {"add src 198.18.0.0/24 dst 198.18.1.0/24 dir out", "flush"},
        {"add src 198.18.0.0/24 dst 198.18.1.0/24 dir fwd", "flush"},
        {"setdefault out block", "setdefault out accept"},
    };
    if (system("ip xfrm policy list") != 0)
        SKIP_TEST("this kernel has no IPsec policies");
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        run_xfrm_policy(policies[i][0]);
        assert_null(kernel_path_open(why));
        assert_non_null(strstr(why, "IPsec policies exist"));
        run_xfrm_policy(policies[i][1]);
    }
    struct kernel_path *without = kernel_path_open(why);
    assert_non_null(without);
    kernel_path_close(without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_capabilities_it_says_which),
        cmocka_unit_test(it_tells_where_it_is_attached),
        cmocka_unit_test(the_second_datagram_to_a_peer_installs_its_flow),
        cmocka_unit_test(a_flow_that_is_installed_again_knows_that_its_peer_has_answered),
        cmocka_unit_test(the_same_for_ipv6),
        cmocka_unit_test(what_is_revoked_needs_two_datagrams_again),
        cmocka_unit_test(an_association_installs_so_many_flows_in_a_second),
        cmocka_unit_test(peers_elsewhere_are_not_installed),
        cmocka_unit_test(an_association_has_a_few_addresses),
        cmocka_unit_test(a_client_must_be_at_an_interface_of_the_path),
        cmocka_unit_test(only_limited_slots_need_credit),
        cmocka_unit_test(unused_credit_is_withdrawn),
        cmocka_unit_test(what_was_too_much_is_charged_to_the_next_credit),
        cmocka_unit_test(capabilities_are_needed_for_opening_only),
        cmocka_unit_test(all_slots_can_be_in_use),
        cmocka_unit_test(it_tells_which_interfaces_came_later),
        cmocka_unit_test(with_ipsec_policies_it_does_not_open),
        cmocka_unit_test(without_an_interface_it_says_so),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
