#include "test.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "policy/destinations.h"
#include "support/own_addresses.h"
#include "support/rules_model.h"

static union netaddr at(const char *host)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, 0));
    return addr;
}

struct asked {
    const char *client;
    enum config_command command;
    bool names_leave;
};

/* As alice; this host has 203.0.114.1 and .2. */
static bool exist(const char *text, const struct asked *asked)
{
    char *errors, *warnings;
    struct config *config = config_parse("destinations", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct policy policy = {.config = config};
    const union netaddr own[] = {at("203.0.114.1"), at("203.0.114.2")}, from = at(asked->client);
    struct subject subject;
    policy.own_hosts = hosts_of(own, ARRAY_LEN(own));
    assert_true(rules && subject_init(&subject, rules, &from, "alice", NULL, asked->command));
    bool found = destinations_exist(&policy, &subject, asked->names_leave);
    subject_deinit(&subject);
    own_hosts_release(policy.own_hosts);
    rules_free(rules);
    config_free(config);
    free(warnings);
    return found;
}

#define DENY "{action: deny}"
#define REST "{action: deny, to: [0.0.0.0/0, '::/0']}"

/* For a client on a private network: it may reach private and public addresses. */
static void tells_whether_a_destination_is_left(void **state)
{
    (void)state;
    const char *const none[] = {
        "rules: [" DENY "]",
        "rules: [{action: deny, to: [any], user: [alice]}, {action: allow}]",
        "rules: [{action: allow, from: [10.0.0.3]}, {action: allow, command: [connect]}, " DENY "]",
        /* A port first, then the command. */
        "rules: [{action: deny, ports: [25]}, {action: deny, command: [udp]}]",
        "rules: [{action: deny, to: [192.0.2.0/24]}, {action: deny, to: [x.example], ports: [1-9]}, " DENY "]",
        "rules: [{action: deny, ports: [1-30000]}, {action: allow, ports: [80], command: [bind]}, "
        "{action: deny, ports: [30001-65535]}]",
        "rules: [{action: deny, to: [0.0.0.0/1, 128.0.0.0/2, 192.0.0.0/3, '::/0']}, {action: allow}]", /* multicast is
                                                                                                          left */
        /* What is allowed has been denied before. */
        "rules: [{action: deny, ports: [1-1000]}, {action: allow, ports: [53, 443]}, " DENY "]",
        "rules: [{action: deny, to: [10.0.0.0/8]}, {action: allow, to: [10.1.0.0/16, 10.2.3.4]}, " DENY "]",
        "rules: [{action: deny, to: [10.0.0.0/9, 10.128.0.0/9]}, {action: allow, to: [10.0.0.0/8]}, " DENY "]",
        "rules: [{action: deny, to: [10.0.0.0/8], ports: [1-99]}, {action: deny, to: [10.0.0.0/8], ports: "
        "[100-65535]}, "
        "{action: allow, to: [10.0.0.0/8]}, " DENY "]",
        "rules: [{action: deny, to: [.example]}, {action: allow, to: [a.example, .b.example]}, " DENY "]",
        "rules: [" REST "]",
        "rules: [{action: deny, to: [0.0.0.0/1, 128.0.0.0/1, '::/1', '8000::/1']}]",
        /* What is allowed is not reached. */
        "rules: [{action: allow, to: [0.0.0.0/8, 224.0.0.0/3, '::/3']}, " DENY "]",
        "rules: [{action: deny, to: [203.0.114.0, 203.0.114.3]}, {action: allow, to: [203.0.114.0/30]}, " DENY "]",
        "rules: [{action: deny, to: [x.example]}, {action: deny, to: [any]}, {action: allow, to: [10.0.0.1]}]",
    };
    const char *const some[] = {
        "rules: []",
        "rules: [{action: allow}]",
        "rules: [{action: deny, ports: [1-1000]}]",
        "rules: [{action: deny, ports: [1-65534]}]",
        "rules: [{action: deny, ports: [25]}, {action: deny, command: [connect]}]",
        "rules: [{action: allow, to: [192.0.2.1]}, " DENY "]",
        "rules: [{action: deny, user: [bob]}]",
        "rules: [{action: deny, ports: [1-1000]}, {action: allow, ports: [53, 1001]}, " DENY "]",
        "rules: [{action: deny, to: [10.0.0.0/9, 10.128.0.0/10]}, {action: allow, to: [10.0.0.0/8]}, " DENY "]",
        "rules: [{action: deny, to: [0.0.0.0/0, '::/1', '8000::/2']}]", /* fc00::/7 */
        "rules: [{action: allow, to: ['::/2']}, " DENY "]",             /* 2000::/3 */
        "rules: [{action: deny, to: [example]}, {action: allow, to: [.example]}, " DENY "]",
        "rules: [{action: deny, to: [0.example, .1.example]}, {action: allow, to: [.example]}, " DENY "]",
        "rules: [{action: allow, to: [private]}, " DENY "]\nreach: public",
        "rules: [{action: allow, to: [x.example]}, " DENY "]",
        "rules: [{action: allow, to: [203.0.114.1]}, " DENY "]",
        "rules: [{action: allow, to: [203.0.114.0/29]}, " DENY "]", /* not this host's two */
    };
    const struct asked asked = {"10.0.0.2", CONFIG_COMMAND_UDP, false};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        if (exist(none[i], &asked))
            fail_msg("some: %s", none[i]);
    for (size_t i = 0; i < ARRAY_LEN(some); i++)
        if (!exist(some[i], &asked))
            fail_msg("none: %s", some[i]);
}

/* Rules about addresses have nothing to look at then. */
static void names_are_destinations_where_an_upstream_resolves_them(void **state)
{
    (void)state;
    const char *const left[] = {"rules: [" REST "]", "rules: [{action: allow, to: [x.example]}, " REST "]",
                                "rules: [{action: allow, ports: [53]}, " DENY "]"};
    const char *const none[] = {"rules: [" DENY "]",
                                "rules: [{action: deny, to: [.example]}, {action: allow, to: [x.example]}, " DENY "]"};
    const struct asked asked = {"10.0.0.2", CONFIG_COMMAND_UDP, true};
    for (size_t i = 0; i < ARRAY_LEN(left); i++)
        assert_true(exist(left[i], &asked));
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_false(exist(none[i], &asked));
}

static void an_address_has_a_destination_where_any_of_its_ports_is_allowed(void **state)
{
    (void)state;
    static const char text[] = "rules: [{action: allow, to: [198.41.0.4], ports: [20]}, {action: deny}]";
    char *errors, *warnings;
    struct config *config = config_parse("destinations", text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct policy policy = {.config = config};
    const union netaddr from = at("10.0.0.2"), allowed = at("198.41.0.4"), other = at("198.41.0.5"),
                        own = at("10.0.0.1");
    struct subject subject;
    policy.own_hosts = hosts_of(&own, 1);
    assert_true(rules && subject_init(&subject, rules, &from, NULL, NULL, CONFIG_COMMAND_BIND));
    struct verdict verdict = destinations_find_at(&policy, &subject, &allowed);
    assert_int_equal(verdict.code, VERDICT_ALLOWED);
    assert_int_equal(verdict.rule, 0);
    verdict = destinations_find_at(&policy, &subject, &other);
    assert_int_equal(verdict.code, VERDICT_RULE);
    assert_int_equal(verdict.rule, 1);
    subject_deinit(&subject);
    assert_true(subject_init(&subject, NULL, &from, NULL, NULL, CONFIG_COMMAND_BIND));
    assert_int_equal(destinations_find_at(&policy, &subject, &other).code, VERDICT_ALLOWED);
    const union netaddr loopback = at("127.0.0.1");
    assert_int_equal(destinations_find_at(&policy, &subject, &loopback).code, VERDICT_REACH);
    subject_deinit(&subject);
    own_hosts_release(policy.own_hosts);
    rules_free(rules);
    config_free(config);
    free(warnings);
}

/* ---- against each destination in turn ---- */

#define ADDRESSES_MAX 1024

struct everything {
    union netaddr addresses[ADDRESSES_MAX];
    size_t count;
    const char *names[24];
    size_t name_count;
    uint16_t ports[20];
    size_t port_count;
};

static void add_network(struct everything *all, const struct config_network *network)
{
    union netaddr end = network->address;
    size_t len;
    uint8_t *host = (uint8_t *)(uintptr_t)netaddr_host(&end, &len);
    for (size_t bit = network->bits; bit < len * 8; bit++)
        host[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    for (size_t i = len; i-- > 0 && ++host[i] == 0;)
        ;
    assert_true(all->count + 2 <= ADDRESSES_MAX);
    all->addresses[all->count++] = network->address;
    all->addresses[all->count++] = end;
}

static void list_everything(struct everything *all, const struct sample *sample)
{
    static const char *const names[] = {"a", "b.a", "c.b.a", "bb.a",    "d",   "e",
                                        "z", "z.a", "z.b.a", "z.c.b.a", "z.d", "z.e"};
    memset(all, 0, sizeof(*all));
    for (size_t i = 0; i < sample->count; i++)
        for (size_t j = 0; j < sample->rules[i].to_count; j++)
            if (sample->to[i][j].kind == CONFIG_TARGET_NETWORK)
                add_network(all, &sample->to[i][j].network);
    for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS; i++)
        add_network(all, &config_private_networks[i]);
    for (size_t i = 0; reach_piece(i, &all->addresses[all->count]); i++)
        all->count++;
    all->addresses[all->count++] = at("10.0.0.1"); /* 10.0.0.0 is this host's */
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        all->names[all->name_count++] = names[i];
    all->names[all->name_count++] = NULL;
    for (uint16_t port = 1; port < 16; port++)
        all->ports[all->port_count++] = port;
    all->ports[all->port_count++] = UINT16_MAX;
}

static bool any_is_allowed(const struct everything *all, const struct policy *policy, const struct subject *subject)
{
    for (size_t i = 0; i < all->count; i++)
        for (size_t j = 0; j < all->name_count; j++)
            for (size_t k = 0; k < all->port_count; k++) {
                union netaddr to = all->addresses[i];
                netaddr_set_port(&to, all->ports[k]);
                if (verdict_find(policy, subject, all->names[j], &to).code == VERDICT_ALLOWED)
                    return true;
            }
    return false;
}

/* Rules that leave little: all ports, or all addresses, in two halves. */
static void deny_nearly_all(struct sample *sample, struct choices *choices)
{
    static struct config_target targets[] = {{.kind = CONFIG_TARGET_NETWORK, .network = {.bits = 1}},
                                             {.kind = CONFIG_TARGET_NETWORK, .network = {.bits = 1}},
                                             {.kind = CONFIG_TARGET_NETWORK, .network = {.bits = 0}},
                                             {.kind = CONFIG_TARGET_ANY}};
    static struct config_ports ports[] = {{1, 7}, {8, UINT16_MAX}};
    static const char *const halves[] = {"0.0.0.0", "128.0.0.0", "::"};
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        targets[i].network.address = at(halves[i]);
    struct config_rule *rule = &sample->rules[sample->count];
    switch (pick(choices, 3)) {
    case 0:
        rule[0] = rule[1] = (struct config_rule){.action = CONFIG_ACTION_DENY};
        break;
    case 1:
        rule[0] = (struct config_rule){.action = CONFIG_ACTION_DENY, .ports = &ports[0], .port_count = 1};
        rule[1] = (struct config_rule){.action = CONFIG_ACTION_DENY, .ports = &ports[1], .port_count = 1};
        break;
    default:
        rule[0] = (struct config_rule){.action = CONFIG_ACTION_DENY, .to = &targets[0], .to_count = 1};
        rule[1] = (struct config_rule){.action = CONFIG_ACTION_DENY, .to = &targets[1], .to_count = 2};
    }
    /* Where a random rule goes between them, that is the end. */
    sample->count += 2;
}

static void thousands_of_lists_agree_with_the_model(void **state)
{
    (void)state;
    static struct sample sample;
    static struct everything all;
    struct choices choices = {.random = 0x9e3779b97f4a7c15};
    struct config config = {.active_reach = CONFIG_REACH_AUTO};
    struct policy policy = {.config = &config};
    const union netaddr own = at("10.0.0.0");
    unsigned without = 0, rounds = 1500;
    policy.own_hosts = hosts_of(&own, 1);
    for (unsigned i = 0; i < rounds; i++) {
        sample_rules(&sample, pick(&choices, 6), &choices);
        deny_nearly_all(&sample, &choices);
        struct rules *rules = rules_compile(sample.rules, sample.count);
        struct request request;
        struct subject subject;
        sample_client(&request, &choices);
        config.rules = sample.rules;
        config.rule_count = sample.count;
        assert_true(rules &&
                    subject_init(&subject, rules, &request.client, request.user, request.listener, request.command));
        list_everything(&all, &sample);
        bool found = destinations_exist(&policy, &subject, false);
        if (found != any_is_allowed(&all, &policy, &subject))
            fail_msg("round %u: found %d", i, found);
        without += !found;
        subject_deinit(&subject);
        rules_free(rules);
    }
    own_hosts_release(policy.own_hosts);
    assert_in_range(without, rounds / 10, rounds - rounds / 10);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* What one answer costs with so many rules that each deny a port of an address, on a host that owns `own`. */
static uint64_t cost_with(size_t count, const struct own_networks *own)
{
    static struct config_rule list[10000];
    static struct config_target to[10000];
    static struct config_ports ports[10000];
    struct config config = {.rules = list, .rule_count = count, .active_reach = CONFIG_REACH_AUTO};
    struct policy policy = {.config = &config, .own_hosts = own_hosts_new(own)};
    struct subject subject;
    const union netaddr client = at("192.168.0.9");
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        to[i] =
            (struct config_target){.kind = CONFIG_TARGET_NETWORK, .network = {.address = at("11.0.0.0"), .bits = 32}};
        to[i].network.address.v4.sin_addr.s_addr |= htobe32(i);
        ports[i] = (struct config_ports){(uint16_t)(i + 1), (uint16_t)(i + 1)};
        list[i] = (struct config_rule){
            .action = CONFIG_ACTION_DENY, .to = &to[i], .to_count = 1, .ports = &ports[i], .port_count = 1};
    }
    struct rules *rules = rules_compile(list, count);
    assert_true(rules && policy.own_hosts && subject_init(&subject, rules, &client, NULL, NULL, CONFIG_COMMAND_UDP));
    for (int i = 0; i < 10; i++) {
        const uint64_t begun = cpu_ns();
        assert_true(destinations_exist(&policy, &subject, false));
        const uint64_t cost = cpu_ns() - begun;
        least = cost < least ? cost : least;
    }
    subject_deinit(&subject);
    rules_free(rules);
    own_hosts_release(policy.own_hosts);
    return least;
}

/* Row 70: an association with as many rules about ports, on a host with a whole network of its own (AnyIP). */
static void test_row70_an_answer_costs_the_same_with_ten_thousand_rules(void **state)
{
    (void)state;
    struct own_networks none = {0}, own = {0};
    const union netaddr anyip = at("1.0.0.0");
    assert_true(own_networks_add(&own, &anyip, 8));
    const uint64_t few = cost_with(100, &none), many = cost_with(10000, &none), with_own = cost_with(100, &own);
    print_message("100 rules: %.1f us; 10000: %.1f us; with a network of its own: %.1f us\n", (double)few / 1000,
                  (double)many / 1000, (double)with_own / 1000);
    assert_true(many < 10 * few + 20000);
    assert_true(with_own < 10 * few + 20000);
    free(own.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_whether_a_destination_is_left),
        cmocka_unit_test(names_are_destinations_where_an_upstream_resolves_them),
        cmocka_unit_test(an_address_has_a_destination_where_any_of_its_ports_is_allowed),
        cmocka_unit_test(thousands_of_lists_agree_with_the_model),
        cmocka_unit_test(test_row70_an_answer_costs_the_same_with_ten_thousand_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
