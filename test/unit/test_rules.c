#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/rules.h"

/* ---- configurations from text ---- */

static struct config *parse(const char *text)
{
    char *errors, *warnings;
    struct config *config = config_parse("rules", text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    free(warnings);
    return config;
}

static union netaddr at(const char *host)
{
    union netaddr addr;
    assert_true(netaddr_parse(&addr, host, 0));
    return addr;
}

static uint32_t find_as(const char *text, const char *client, const char *user, enum config_command command,
                        const char *name, const char *to, uint16_t port)
{
    struct config *config = parse(text);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct subject subject;
    const union netaddr from = at(client), destination = at(to);
    assert_non_null(rules);
    assert_true(subject_init(&subject, rules, &from, user, command));
    uint32_t found = rules_find(&subject, name, &destination, port).rule;
    subject_deinit(&subject);
    rules_free(rules);
    config_free(config);
    return found;
}

static uint32_t find(const char *text, const char *name, const char *to, uint16_t port)
{
    return find_as(text, "10.0.0.2", NULL, CONFIG_COMMAND_UDP, name, to, port);
}

static uint32_t find_everywhere(const char *text, const char *client, const char *user, enum config_command command)
{
    struct config *config = parse(text);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct subject subject;
    const union netaddr from = at(client);
    assert_true(subject_init(&subject, rules, &from, user, command));
    uint32_t found = rules_find_everywhere(&subject);
    subject_deinit(&subject);
    rules_free(rules);
    config_free(config);
    return found;
}

/* ---- what each list means ---- */

static void without_rules_none_matches(void **state)
{
    (void)state;
    struct subject subject;
    const union netaddr client = at("10.0.0.2");
    assert_true(subject_init(&subject, NULL, &client, NULL, CONFIG_COMMAND_UDP));
    assert_int_equal(rules_find(&subject, "x", &client, 1).rule, RULES_NO_MATCH);
    assert_int_equal(rules_deny_name(&subject, "x", 1), RULES_NO_MATCH);
    subject_deinit(&subject);
    assert_int_equal(find("rules: []", NULL, "192.0.2.1", 1), RULES_NO_MATCH);
}

/* Row 29: what an association is served on cannot hang on where its datagrams go. */
static void the_first_that_takes_every_destination_is_found(void **state)
{
    (void)state;
    static const char text[] = "rules:\n"
                               "- {action: deny, to: [private]}\n"
                               "- {action: allow, ports: [53]}\n"
                               "- {action: allow, to: [any], command: [connect]}\n"
                               "- {action: allow, from: [10.0.0.0/8], to: [192.0.2.1, any]}\n"
                               "- {action: allow, user: [bob]}\n"
                               "- {action: deny, from: [192.0.2.0/24]}\n";
    assert_int_equal(find_everywhere(text, "10.0.0.2", "bob", CONFIG_COMMAND_UDP), 3);
    assert_int_equal(find_everywhere(text, "10.0.0.2", NULL, CONFIG_COMMAND_CONNECT), 2);
    assert_int_equal(find_everywhere(text, "192.0.2.9", "bob", CONFIG_COMMAND_UDP), 4);
    assert_int_equal(find_everywhere(text, "192.0.2.9", NULL, CONFIG_COMMAND_UDP), 5);
    assert_int_equal(find_everywhere(text, "198.51.100.9", "al", CONFIG_COMMAND_UDP), RULES_NO_MATCH);
    assert_int_equal(find_everywhere("rules: []", "10.0.0.2", NULL, CONFIG_COMMAND_UDP), RULES_NO_MATCH);
}

static void the_first_that_matches_counts(void **state)
{
    (void)state;
    static const char text[] = "rules:\n"
                               "- {action: deny, to: [192.0.2.7]}\n"
                               "- {action: allow, to: [192.0.0.0/16], ports: [53, 100-200]}\n"
                               "- {action: deny, to: [192.0.2.0/24, \"2001:db8::/32\"]}\n"
                               "- {action: allow}\n";
    assert_int_equal(find(text, NULL, "192.0.2.7", 53), 0);
    assert_int_equal(find(text, NULL, "192.0.2.6", 53), 1);
    assert_int_equal(find(text, NULL, "192.0.2.6", 99), 2);
    assert_int_equal(find(text, NULL, "192.0.2.6", 100), 1);
    assert_int_equal(find(text, NULL, "192.0.2.6", 200), 1);
    assert_int_equal(find(text, NULL, "192.0.2.6", 201), 2);
    assert_int_equal(find(text, NULL, "192.0.3.0", 201), 3);
    assert_int_equal(find(text, NULL, "2001:db8:ffff::", 201), 2);
    assert_int_equal(find(text, NULL, "2001:db9::", 201), 3);
}

static void a_family_is_not_the_other(void **state)
{
    (void)state;
    assert_int_equal(find("rules: [{action: deny, to: [\"::/0\"]}]", NULL, "192.0.2.1", 1), RULES_NO_MATCH);
    assert_int_equal(find("rules: [{action: deny, to: [\"::/0\"]}]", NULL, "ffff::", 1), 0);
    assert_int_equal(find("rules: [{action: deny, to: [0.0.0.0/0]}]", NULL, "::1", 1), RULES_NO_MATCH);
    assert_int_equal(find("rules: [{action: deny, to: [0.0.0.0/0]}]", NULL, "255.255.255.255", 1), 0);
}

static void who_asks_for_what_counts(void **state)
{
    (void)state;
    static const char text[] = "rules:\n"
                               "- {action: deny, from: [10.0.0.0/30, \"fd00::/8\"], user: [bob, eve]}\n"
                               "- {action: deny, from: [10.0.0.2], command: [connect, bind]}\n"
                               "- {action: deny, user: [bob]}\n";
    assert_int_equal(find_as(text, "10.0.0.3", "eve", CONFIG_COMMAND_UDP, NULL, "192.0.2.1", 1), 0);
    assert_int_equal(find_as(text, "::ffff:10.0.0.3", "eve", CONFIG_COMMAND_UDP, NULL, "192.0.2.1", 1), 0);
    assert_int_equal(find_as(text, "fd12::1", "bob", CONFIG_COMMAND_UDP, NULL, "192.0.2.1", 1), 0);
    assert_int_equal(find_as(text, "10.0.0.4", "bob", CONFIG_COMMAND_UDP, NULL, "192.0.2.1", 1), 2);
    assert_int_equal(find_as(text, "10.0.0.2", NULL, CONFIG_COMMAND_UDP, NULL, "192.0.2.1", 1), RULES_NO_MATCH);
    assert_int_equal(find_as(text, "10.0.0.2", "amy", CONFIG_COMMAND_CONNECT, NULL, "192.0.2.1", 1), 1);
    assert_int_equal(find_as(text, "10.0.0.2", "amy", CONFIG_COMMAND_BIND, NULL, "192.0.2.1", 1), 1);
}

static void names_are_whole_labels(void **state)
{
    (void)state;
    static const char text[] = "rules: [{action: deny, to: [a.example]}, {action: deny, to: [.B.example]}]";
    assert_int_equal(find(text, "a.example", "192.0.2.1", 1), 0);
    assert_int_equal(find(text, "x.a.example", "192.0.2.1", 1), RULES_NO_MATCH);
    assert_int_equal(find(text, "b.example", "192.0.2.1", 1), 1);
    assert_int_equal(find(text, "x.y.b.example", "192.0.2.1", 1), 1);
    assert_int_equal(find(text, "xb.example", "192.0.2.1", 1), RULES_NO_MATCH);
    assert_int_equal(find(text, "example", "192.0.2.1", 1), RULES_NO_MATCH);
    assert_int_equal(find(text, NULL, "192.0.2.1", 1), RULES_NO_MATCH);
}

static void private_is_what_reach_calls_so(void **state)
{
    (void)state;
    static const char text[] = "rules: [{action: deny, to: [private]}]";
    static const char *const inside[] = {"10.0.0.0", "172.31.255.255", "192.168.1.1", "100.64.0.0", "fdff::1"};
    static const char *const outside[] = {"11.0.0.0", "172.32.0.0", "192.169.0.0", "100.128.0.0", "fe80::1", "::1"};
    for (size_t i = 0; i < ARRAY_LEN(inside); i++)
        assert_int_equal(find(text, NULL, inside[i], 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(outside); i++)
        assert_int_equal(find(text, NULL, outside[i], 1), RULES_NO_MATCH);
}

static uint32_t denied(const char *text, const char *name, uint16_t port)
{
    struct config *config = parse(text);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct subject subject;
    const union netaddr from = at("10.0.0.2");
    assert_true(subject_init(&subject, rules, &from, NULL, CONFIG_COMMAND_CONNECT));
    uint32_t rule = rules_deny_name(&subject, name, port);
    subject_deinit(&subject);
    rules_free(rules);
    config_free(config);
    return rule;
}

static void a_name_is_denied_before_it_is_resolved_where_that_is_sure(void **state)
{
    (void)state;
    assert_int_equal(denied("rules: [{action: deny, to: [.ads.example]}]", "x.ads.example", 80), 0);
    assert_int_equal(denied("rules: [{action: deny, to: [.ads.example], ports: [80]}]", "x.ads.example", 81),
                     RULES_NO_MATCH);
    assert_int_equal(denied("rules: [{action: allow}, {action: deny}]", "x", 80), RULES_NO_MATCH);
    assert_int_equal(denied("rules: [{action: deny, to: [10.0.0.0/8]}, {action: deny}]", "x", 80), 1);
    assert_int_equal(denied("rules: [{action: allow, to: [x.example, 10.0.0.0/8]}, {action: deny}]", "x", 80),
                     RULES_NO_MATCH);
    assert_int_equal(denied("rules: [{action: allow, command: [udp], to: [private]}, {action: deny}]", "x", 80), 1);
}

/* ---- against a plain model: each rule in turn, each bit by itself ---- */

static uint64_t random_state = 88172645463325252U;

static unsigned pick(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

/* Few and close together, with the first and the last of all: so that they meet. */
static union netaddr random_address(void)
{
    uint8_t bytes[16] = {0};
    size_t len = pick(3) ? 4 : 16;
    static const uint8_t firsts[] = {0, 10, 10, 10, 172, 192, 252, 255};
    uint8_t fill = pick(2) ? 0xff : 0;
    memset(bytes, fill, len);
    bytes[0] = firsts[pick(8)];
    bytes[1] = (uint8_t)(pick(4) ? pick(4) : fill);
    bytes[len - 1] = (uint8_t)(pick(4) ? pick(8) : fill);
    return netaddr_from_bytes(bytes, len, 0);
}

static struct config_network random_network(void)
{
    struct config_network network = {.address = random_address()};
    size_t len;
    uint8_t *host = (uint8_t *)(uintptr_t)netaddr_host(&network.address, &len);
    network.bits = (uint8_t)pick((unsigned)len * 8 + 1);
    for (size_t bit = network.bits; bit < len * 8; bit++)
        host[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return network;
}

static char names[][8] = {"a", "b.a", "c.b.a", "bb.a", "d", ".a", ".b.a", ".c.b.a", ".d", ".e"};
static char users[][2] = {"u", "v", "w"};

#define LIST_MAX  3
#define RULES_MAX 24

static struct {
    struct config_rule rules[RULES_MAX];
    struct config_network from[RULES_MAX][LIST_MAX];
    char *users[RULES_MAX][LIST_MAX];
    enum config_command commands[RULES_MAX][LIST_MAX];
    struct config_target to[RULES_MAX][LIST_MAX];
    struct config_ports ports[RULES_MAX][LIST_MAX];
} made;

static struct config_target random_target(void)
{
    unsigned kind = pick(20);
    if (kind == 0)
        return (struct config_target){.kind = CONFIG_TARGET_ANY};
    if (kind < 3)
        return (struct config_target){.kind = CONFIG_TARGET_PRIVATE};
    if (kind < 8) {
        char *name = names[pick(ARRAY_LEN(names))];
        return (struct config_target){.kind = name[0] == '.' ? CONFIG_TARGET_SUFFIX : CONFIG_TARGET_NAME, .name = name};
    }
    return (struct config_target){.kind = CONFIG_TARGET_NETWORK, .network = random_network()};
}

static void make_rules(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct config_rule *rule = &made.rules[i];
        *rule = (struct config_rule){.action = pick(2),
                                     .from = made.from[i],
                                     .users = made.users[i],
                                     .commands = made.commands[i],
                                     .to = made.to[i],
                                     .ports = made.ports[i]};
        rule->from_count = pick(3) ? 0 : 1 + pick(LIST_MAX);
        rule->user_count = pick(5) ? 0 : 1 + pick(LIST_MAX);
        rule->command_count = pick(5) ? 0 : 1 + pick(LIST_MAX);
        rule->to_count = pick(12) ? 1 + pick(LIST_MAX) : 0;
        rule->port_count = pick(2) ? 0 : 1 + pick(LIST_MAX);
        for (size_t j = 0; j < LIST_MAX; j++) {
            made.from[i][j] = random_network();
            made.users[i][j] = users[pick(2)];
            made.commands[i][j] = pick(CONFIG_COMMAND_COUNT);
            made.to[i][j] = random_target();
            uint16_t first = (uint16_t)(1 + pick(10));
            made.ports[i][j] = (struct config_ports){first, (uint16_t)(first + pick(3))};
        }
    }
}

static bool model_in(const struct config_network *network, const union netaddr *address)
{
    size_t len, other;
    const uint8_t *a = netaddr_host(&network->address, &len), *b = netaddr_host(address, &other);
    if (len != other)
        return false;
    for (size_t bit = 0; bit < network->bits; bit++)
        if ((a[bit / 8] ^ b[bit / 8]) & 0x80 >> bit % 8)
            return false;
    return true;
}

static bool model_private(const union netaddr *address)
{
    size_t len;
    const uint8_t *a = netaddr_host(address, &len);
    if (len == 16)
        return (a[0] & 0xfe) == 0xfc;
    return a[0] == 10 || (a[0] == 172 && a[1] >= 16 && a[1] < 32) || (a[0] == 192 && a[1] == 168) ||
           (a[0] == 100 && a[1] >= 64 && a[1] < 128);
}

static bool model_to(const struct config_target *target, const char *name, const union netaddr *address)
{
    size_t len = name ? strlen(name) : 0, suffix = target->name ? strlen(target->name) : 0;
    switch (target->kind) {
    case CONFIG_TARGET_ANY:
        return true;
    case CONFIG_TARGET_PRIVATE:
        return model_private(address);
    case CONFIG_TARGET_NETWORK:
        return model_in(&target->network, address);
    case CONFIG_TARGET_NAME:
        return name && strcmp(name, target->name) == 0;
    case CONFIG_TARGET_SUFFIX:
        break;
    }
    return name &&
           (strcmp(name, target->name + 1) == 0 || (len > suffix && strcmp(name + len - suffix, target->name) == 0));
}

struct request {
    union netaddr client, to;
    const char *user, *name;
    enum config_command command;
    uint16_t port;
};

static bool model_matches(const struct config_rule *rule, const struct request *request)
{
    bool from = rule->from_count == 0, user = rule->user_count == 0, command = rule->command_count == 0,
         to = rule->to_count == 0, port = rule->port_count == 0;
    for (size_t i = 0; i < rule->from_count; i++)
        from |= model_in(&rule->from[i], &request->client);
    for (size_t i = 0; i < rule->user_count; i++)
        user |= request->user && strcmp(request->user, rule->users[i]) == 0;
    for (size_t i = 0; i < rule->command_count; i++)
        command |= rule->commands[i] == request->command;
    for (size_t i = 0; i < rule->to_count; i++)
        to |= model_to(&rule->to[i], request->name, &request->to);
    for (size_t i = 0; i < rule->port_count; i++)
        port |= rule->ports[i].first <= request->port && request->port <= rule->ports[i].last;
    return from && user && command && to && port;
}

static uint32_t model_find(size_t count, const struct request *request)
{
    for (uint32_t i = 0; i < count; i++)
        if (model_matches(&made.rules[i], request))
            return i;
    return RULES_NO_MATCH;
}

/* How many bits of the rule's narrowest network that holds the address. */
static unsigned model_bits(const struct config_rule *rule, const union netaddr *address)
{
    unsigned bits = 0;
    for (size_t i = 0; i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_NETWORK && model_in(&rule->to[i].network, address) &&
            rule->to[i].network.bits > bits)
            bits = rule->to[i].network.bits;
    return bits;
}

static void a_million_requests_agree_with_the_model(void **state)
{
    (void)state;
    unsigned long matched = 0, refused_names = 0;
    for (int round = 0; round < 2000; round++) {
        size_t count = pick(RULES_MAX + 1);
        make_rules(count);
        struct rules *rules = rules_compile(made.rules, count);
        for (int i = 0; i < 20; i++) {
            struct request request = {.client = random_address(),
                                      .user = pick(2) ? NULL : users[pick(3)],
                                      .command = pick(CONFIG_COMMAND_COUNT)};
            struct subject subject;
            assert_true(subject_init(&subject, rules, &request.client, request.user, request.command));
            for (int j = 0; j < 25; j++) {
                request.to = random_address();
                request.name = pick(2) ? NULL : names[pick(5)];
                request.port = (uint16_t)(1 + pick(12));
                struct rules_match match = rules_find(&subject, request.name, &request.to, request.port);
                uint32_t expected = model_find(count, &request);
                assert_int_equal(match.rule, expected);
                matched += expected != RULES_NO_MATCH;
                if (expected != RULES_NO_MATCH && match.bits < model_bits(&made.rules[expected], &request.to))
                    fail_msg("rule %u matched by %u bits only", match.rule, match.bits);
                uint32_t by_name =
                    request.name ? rules_deny_name(&subject, request.name, request.port) : RULES_NO_MATCH;
                if (by_name == RULES_NO_MATCH)
                    continue;
                /* Whatever the address, it would have been refused. */
                refused_names++;
                assert_true(expected <= by_name);
                assert_int_equal(made.rules[expected].action, CONFIG_ACTION_DENY);
            }
            subject_deinit(&subject);
        }
        rules_free(rules);
    }
    assert_true(matched > 100000);
    assert_true(refused_names > 1000);
}

static bool denies_all(const char *text, const char *client)
{
    struct config *config = parse(text);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct subject subject;
    const union netaddr from = at(client);
    assert_true(rules && subject_init(&subject, rules, &from, "alice", CONFIG_COMMAND_UDP));
    bool denied = rules_deny_all(&subject);
    subject_deinit(&subject);
    rules_free(rules);
    config_free(config);
    return denied;
}

static void tells_when_no_destination_is_left(void **state)
{
    (void)state;
    const char *const all[] = {
        "rules: [{action: deny}]",
        "rules: [{action: deny, to: [any], user: [alice]}, {action: allow}]",
        "rules: [{action: allow, from: [10.0.0.3]}, {action: allow, command: [connect]}, {action: deny}]",
    };
    const char *const not_all[] = {
        "rules: []",
        "rules: [{action: allow}]",
        "rules: [{action: deny, ports: [1-1000]}]",
        "rules: [{action: deny, to: [0.0.0.0/0, '::/0']}]", /* nearly, but names may be allowed elsewhere */
        "rules: [{action: allow, to: [192.0.2.1]}, {action: deny}]",
        "rules: [{action: deny, user: [bob]}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_true(denies_all(all[i], "10.0.0.2"));
    for (size_t i = 0; i < ARRAY_LEN(not_all); i++)
        assert_false(denies_all(not_all[i], "10.0.0.2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_none_matches),
        cmocka_unit_test(the_first_that_takes_every_destination_is_found),
        cmocka_unit_test(tells_when_no_destination_is_left),
        cmocka_unit_test(the_first_that_matches_counts),
        cmocka_unit_test(a_family_is_not_the_other),
        cmocka_unit_test(who_asks_for_what_counts),
        cmocka_unit_test(names_are_whole_labels),
        cmocka_unit_test(private_is_what_reach_calls_so),
        cmocka_unit_test(a_name_is_denied_before_it_is_resolved_where_that_is_sure),
        cmocka_unit_test(a_million_requests_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
