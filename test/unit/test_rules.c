#include "test.h"

#include <endian.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "policy/rules.h"
#include "support/rules_model.h"

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
    assert_true(subject_init(&subject, rules, &from, user, NULL, command));
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
    assert_true(subject_init(&subject, rules, &from, user, NULL, command));
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
    assert_true(subject_init(&subject, NULL, &client, NULL, NULL, CONFIG_COMMAND_UDP));
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

static uint32_t find_at(const char *text, const char *client, const char *user, const char *listener)
{
    struct config *config = parse(text);
    struct rules *rules = rules_compile(config->rules, config->rule_count);
    struct subject subject;
    const union netaddr from = at(client), destination = at("192.0.2.1");
    assert_true(rules && subject_init(&subject, rules, &from, user, listener, CONFIG_COMMAND_UDP));
    uint32_t found = rules_find(&subject, NULL, &destination, 1).rule;
    subject_deinit(&subject);
    rules_free(rules);
    config_free(config);
    return found;
}

static void the_listener_counts(void **state)
{
    (void)state;
    static const char text[] = "listen: [{name: lan, port: 1}, {name: dmz, port: 2}, {name: dmz, port: 3}, {port: 4}]\n"
                               "rules:\n"
                               "- {action: deny, listener: [lan], from: [10.0.0.0/8], user: [bob]}\n"
                               "- {action: deny, listener: [lan, dmz], from: [10.0.0.0/8]}\n"
                               "- {action: deny, listener: [dmz], to: [192.0.2.1]}\n";
    assert_int_equal(find_at(text, "10.0.0.2", "bob", "lan"), 0);
    assert_int_equal(find_at(text, "10.0.0.2", "bob", "dmz"), 1);
    assert_int_equal(find_at(text, "10.0.0.2", NULL, "lan"), 1);
    assert_int_equal(find_at(text, "172.16.0.2", "bob", "dmz"), 2);
    assert_int_equal(find_at(text, "172.16.0.2", NULL, "lan"), RULES_NO_MATCH);
    assert_int_equal(find_at(text, "10.0.0.2", "bob", "other"), RULES_NO_MATCH);
    assert_int_equal(find_at(text, "10.0.0.2", "bob", NULL), RULES_NO_MATCH);
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
    assert_true(subject_init(&subject, rules, &from, NULL, NULL, CONFIG_COMMAND_CONNECT));
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

/* ---- against a plain model ---- */

static void a_million_requests_agree_with_the_model(void **state)
{
    (void)state;
    struct choices choices = {.random = 88172645463325252U};
    static struct sample sample;
    unsigned long matched = 0, refused_names = 0;
    for (int round = 0; round < 2000; round++) {
        sample_rules(&sample, pick(&choices, SAMPLE_RULES_MAX + 1), &choices);
        struct rules *rules = rules_compile(sample.rules, sample.count);
        for (int i = 0; i < 20; i++) {
            struct request request;
            struct subject subject;
            sample_client(&request, &choices);
            assert_true(
                subject_init(&subject, rules, &request.client, request.user, request.listener, request.command));
            for (int j = 0; j < 25; j++) {
                sample_destination(&request, &choices);
                const char *difference = model_differs(&sample, &subject, &request);
                if (difference)
                    fail_msg("round %d, client %d, destination %d: %s", round, i, j, difference);
                matched += model_find(&sample, &request) != RULES_NO_MATCH;
                refused_names +=
                    request.name && rules_deny_name(&subject, request.name, request.port) != RULES_NO_MATCH;
            }
            subject_deinit(&subject);
        }
        rules_free(rules);
    }
    assert_true(matched > 100000);
    assert_true(refused_names > 1000);
}

/* ---- thousands of rules that are each about somebody ---- */

#define CROWD    10000
#define SUBJECTS 1000

/* A rule from an address, one by a user, one at a listener, and so on: each denies the same network, or everything. */
static struct rules *compile_crowd(size_t count)
{
    static struct config_rule list[CROWD];
    static struct config_network from[CROWD];
    static char names[CROWD][16], *users[CROWD];
    static struct config_target to = {.kind = CONFIG_TARGET_PRIVATE}; /* one network that all of them name */
    for (uint32_t i = 0; i < count; i++) {
        from[i] = (struct config_network){at("10.0.0.0"), 32};
        from[i].address.v4.sin_addr.s_addr |= htobe32(i);
        snprintf(names[i], sizeof(names[i]), "user%u", i);
        users[i] = names[i];
        list[i] = (struct config_rule){.action = CONFIG_ACTION_DENY};
        if (i % 2) {
            list[i].from = &from[i];
            list[i].from_count = 1;
        } else if (i % 3) {
            list[i].users = &users[i];
            list[i].user_count = 1;
        } else {
            list[i].listeners = &users[i];
            list[i].listener_count = 1;
        }
        if (i % 4 < 2) {
            list[i].to = &to;
            list[i].to_count = 1;
        }
    }
    struct rules *rules = rules_compile(list, count);
    assert_non_null(rules);
    return rules;
}

static struct subject subjects[SUBJECTS];

static void init_subjects(const struct rules *rules)
{
    union netaddr client = at("10.0.0.0");
    for (uint32_t i = 0; i < SUBJECTS; i++) {
        client.v4.sin_addr.s_addr = htobe32(10U << 24 | i % 100);
        assert_true(subject_init(&subjects[i], rules, &client, "user8", NULL, CONFIG_COMMAND_UDP));
    }
}

static void deinit_subjects(void)
{
    for (uint32_t i = 0; i < SUBJECTS; i++)
        subject_deinit(&subjects[i]);
}

/* Row 70. Each took 36 KiB: a number for every rule. */
static void test_row70_a_subject_holds_only_the_rules_about_it(void **state)
{
    (void)state;
    struct rules *rules = compile_crowd(CROWD);
    const size_t before = mallinfo2().uordblks;
    init_subjects(rules);
    const size_t each = (mallinfo2().uordblks - before) / SUBJECTS;
    print_message("%zu bytes for a subject, with %d rules\n", each, CROWD);
    assert_true(each <= 64);
    const union netaddr private = at("10.9.9.9"), public = at("192.0.2.1");
    assert_int_equal(rules_find(&subjects[5], NULL, &private, 1).rule, 5);
    assert_int_equal(rules_find(&subjects[7], NULL, &public, 1).rule, 7);
    assert_int_equal(rules_find(&subjects[9], NULL, &private, 1).rule, 8);
    assert_int_equal(rules_find(&subjects[9], NULL, &public, 1).rule, RULES_NO_MATCH);
    deinit_subjects();
    rules_free(rules);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* What it costs to begin so many subjects, and then to ask once for each. */
static void measure(size_t count, uint64_t cost[2])
{
    struct rules *rules = compile_crowd(count);
    const union netaddr private = at("10.9.9.9");
    const uint64_t begun = cpu_ns();
    init_subjects(rules);
    const uint64_t settled = cpu_ns();
    for (uint32_t i = 0; i < SUBJECTS; i++)
        assert_true(rules_find(&subjects[i], NULL, &private, 1).rule <= 100);
    const uint64_t spent[2] = {settled - begun, cpu_ns() - settled};
    for (int i = 0; i < 2; i++)
        cost[i] = spent[i] < cost[i] ? spent[i] : cost[i];
    deinit_subjects();
    rules_free(rules);
}

/* Row 70. */
static void test_row70_rules_about_others_cost_nothing(void **state)
{
    (void)state;
    uint64_t few[2] = {UINT64_MAX, UINT64_MAX}, many[2] = {UINT64_MAX, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        measure(100, few);
        measure(CROWD, many);
    }
    print_message("%d rules: %.2f us to begin, %.2f us to ask; 100: %.2f us and %.2f us\n", CROWD,
                  (double)many[0] / SUBJECTS / 1000, (double)many[1] / SUBJECTS / 1000,
                  (double)few[0] / SUBJECTS / 1000, (double)few[1] / SUBJECTS / 1000);
    assert_true(many[0] < 10 * few[0]);
    assert_true(many[1] < 10 * few[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_rules_none_matches),
        cmocka_unit_test(the_first_that_takes_every_destination_is_found),
        cmocka_unit_test(the_first_that_matches_counts),
        cmocka_unit_test(a_family_is_not_the_other),
        cmocka_unit_test(who_asks_for_what_counts),
        cmocka_unit_test(the_listener_counts),
        cmocka_unit_test(names_are_whole_labels),
        cmocka_unit_test(private_is_what_reach_calls_so),
        cmocka_unit_test(a_name_is_denied_before_it_is_resolved_where_that_is_sure),
        cmocka_unit_test(a_million_requests_agree_with_the_model),
        cmocka_unit_test(test_row70_a_subject_holds_only_the_rules_about_it),
        cmocka_unit_test(test_row70_rules_about_others_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
