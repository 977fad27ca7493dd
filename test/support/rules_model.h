/*
 * Lists of rules and requests made from a row of choices, and a plain reading of what the rules say: each rule in turn,
 * each bit by itself. What the choices are is the caller's: random, or a fuzzer's bytes.
 */
#ifndef TEST_SUPPORT_RULES_MODEL_H
#define TEST_SUPPORT_RULES_MODEL_H

#include <stdbool.h>
#include <string.h>

#include "base/util.h"
#include "policy/rules.h"

struct choices {
    const uint8_t *bytes; /* one for each choice; NULL: random ones, without end */
    size_t left;
    uint64_t random;
};

static inline unsigned pick(struct choices *choices, unsigned n)
{
    if (choices->bytes)
        return choices->left > 0 ? (choices->left--, *choices->bytes++ % n) : 0;
    choices->random ^= choices->random << 13;
    choices->random ^= choices->random >> 7;
    choices->random ^= choices->random << 17;
    return (unsigned)(choices->random >> 33) % n;
}

/* Few and close together, with the first and the last of all: so that they meet. */
static inline union netaddr sample_address(struct choices *choices)
{
    uint8_t bytes[16] = {0};
    size_t len = pick(choices, 3) ? 4 : 16;
    static const uint8_t firsts[] = {0, 10, 10, 10, 172, 192, 252, 255};
    uint8_t fill = pick(choices, 2) ? 0xff : 0;
    memset(bytes, fill, len);
    bytes[0] = firsts[pick(choices, 8)];
    bytes[1] = (uint8_t)(pick(choices, 4) ? pick(choices, 4) : fill);
    bytes[len - 1] = (uint8_t)(pick(choices, 4) ? pick(choices, 8) : fill);
    return netaddr_from_bytes(bytes, len, 0);
}

static inline struct config_network sample_network(struct choices *choices)
{
    struct config_network network = {.address = sample_address(choices)};
    size_t len;
    uint8_t *host = (uint8_t *)(uintptr_t)netaddr_host(&network.address, &len);
    network.bits = (uint8_t)pick(choices, (unsigned)len * 8 + 1);
    for (size_t bit = network.bits; bit < len * 8; bit++)
        host[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return network;
}

static char sample_names[][8] = {"a", "b.a", "c.b.a", "bb.a", "d", ".a", ".b.a", ".c.b.a", ".d", ".e"};
static char sample_users[][2] = {"u", "v", "w"}, sample_listeners[][2] = {"l", "m", "n"};

#define SAMPLE_LIST_MAX  3
#define SAMPLE_RULES_MAX 24

struct sample {
    size_t count;
    struct config_rule rules[SAMPLE_RULES_MAX];
    struct config_network from[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX];
    char *users[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX], *listeners[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX];
    enum config_command commands[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX];
    struct config_target to[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX];
    struct config_ports ports[SAMPLE_RULES_MAX][SAMPLE_LIST_MAX];
};

static inline struct config_target sample_target(struct choices *choices)
{
    unsigned kind = pick(choices, 20);
    if (kind == 0)
        return (struct config_target){.kind = CONFIG_TARGET_ANY};
    if (kind < 3)
        return (struct config_target){.kind = CONFIG_TARGET_PRIVATE};
    if (kind < 8) {
        char *name = sample_names[pick(choices, ARRAY_LEN(sample_names))];
        return (struct config_target){.kind = name[0] == '.' ? CONFIG_TARGET_SUFFIX : CONFIG_TARGET_NAME, .name = name};
    }
    return (struct config_target){.kind = CONFIG_TARGET_NETWORK, .network = sample_network(choices)};
}

static inline void sample_rules(struct sample *sample, size_t count, struct choices *choices)
{
    sample->count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_rule *rule = &sample->rules[i];
        *rule = (struct config_rule){.action = pick(choices, 2),
                                     .from = sample->from[i],
                                     .users = sample->users[i],
                                     .listeners = sample->listeners[i],
                                     .commands = sample->commands[i],
                                     .to = sample->to[i],
                                     .ports = sample->ports[i]};
        rule->from_count = pick(choices, 3) ? 0 : 1 + pick(choices, SAMPLE_LIST_MAX);
        rule->user_count = pick(choices, 5) ? 0 : 1 + pick(choices, SAMPLE_LIST_MAX);
        rule->listener_count = pick(choices, 5) ? 0 : 1 + pick(choices, SAMPLE_LIST_MAX);
        rule->command_count = pick(choices, 5) ? 0 : 1 + pick(choices, SAMPLE_LIST_MAX);
        rule->to_count = pick(choices, 12) ? 1 + pick(choices, SAMPLE_LIST_MAX) : 0;
        rule->port_count = pick(choices, 2) ? 0 : 1 + pick(choices, SAMPLE_LIST_MAX);
        for (size_t j = 0; j < SAMPLE_LIST_MAX; j++) {
            sample->from[i][j] = sample_network(choices);
            sample->users[i][j] = sample_users[pick(choices, 2)];
            sample->listeners[i][j] = sample_listeners[pick(choices, 2)];
            sample->commands[i][j] = pick(choices, CONFIG_COMMAND_COUNT);
            sample->to[i][j] = sample_target(choices);
            uint16_t first = (uint16_t)(1 + pick(choices, 10));
            sample->ports[i][j] = (struct config_ports){first, (uint16_t)(first + pick(choices, 3))};
        }
    }
}

static inline bool model_in(const struct config_network *network, const union netaddr *address)
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

static inline bool model_private(const union netaddr *address)
{
    size_t len;
    const uint8_t *a = netaddr_host(address, &len);
    if (len == 16)
        return (a[0] & 0xfe) == 0xfc;
    return a[0] == 10 || (a[0] == 172 && a[1] >= 16 && a[1] < 32) || (a[0] == 192 && a[1] == 168) ||
           (a[0] == 100 && a[1] >= 64 && a[1] < 128);
}

static inline bool model_to(const struct config_target *target, const char *name, const union netaddr *address)
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
    const char *user, *listener, *name;
    enum config_command command;
    uint16_t port;
};

static inline bool model_matches(const struct config_rule *rule, const struct request *request)
{
    bool from = rule->from_count == 0, user = rule->user_count == 0, listener = rule->listener_count == 0,
         command = rule->command_count == 0, to = rule->to_count == 0, port = rule->port_count == 0;
    for (size_t i = 0; i < rule->from_count; i++)
        from |= model_in(&rule->from[i], &request->client);
    for (size_t i = 0; i < rule->user_count; i++)
        user |= request->user && strcmp(request->user, rule->users[i]) == 0;
    for (size_t i = 0; i < rule->listener_count; i++)
        listener |= request->listener && strcmp(request->listener, rule->listeners[i]) == 0;
    for (size_t i = 0; i < rule->command_count; i++)
        command |= rule->commands[i] == request->command;
    for (size_t i = 0; i < rule->to_count; i++)
        to |= model_to(&rule->to[i], request->name, &request->to);
    for (size_t i = 0; i < rule->port_count; i++)
        port |= rule->ports[i].first <= request->port && request->port <= rule->ports[i].last;
    return from && user && listener && command && to && port;
}

static inline uint32_t model_find(const struct sample *sample, const struct request *request)
{
    for (uint32_t i = 0; i < sample->count; i++)
        if (model_matches(&sample->rules[i], request))
            return i;
    return RULES_NO_MATCH;
}

/* How many bits of the rule's narrowest network that holds the address. */
static inline unsigned model_bits(const struct config_rule *rule, const union netaddr *address)
{
    unsigned bits = 0;
    for (size_t i = 0; i < rule->to_count; i++)
        if (rule->to[i].kind == CONFIG_TARGET_NETWORK && model_in(&rule->to[i].network, address) &&
            rule->to[i].network.bits > bits)
            bits = rule->to[i].network.bits;
    return bits;
}

/* Of one client; the rest changes from request to request. */
static inline void sample_client(struct request *request, struct choices *choices)
{
    request->client = sample_address(choices);
    request->user = pick(choices, 2) ? NULL : sample_users[pick(choices, 3)];
    request->listener = pick(choices, 2) ? NULL : sample_listeners[pick(choices, 3)];
    request->command = pick(choices, CONFIG_COMMAND_COUNT);
}

static inline void sample_destination(struct request *request, struct choices *choices)
{
    request->to = sample_address(choices);
    request->name = pick(choices, 2) ? NULL : sample_names[pick(choices, 5)];
    request->port = (uint16_t)(1 + pick(choices, 12));
}

/* What differs between the rules as they were compiled and as they are read here; NULL: nothing. */
static inline const char *model_differs(const struct sample *sample, const struct subject *subject,
                                        const struct request *request)
{
    struct rules_match match = rules_find(subject, request->name, &request->to, request->port);
    uint32_t expected = model_find(sample, request);
    if (match.rule != expected)
        return "another rule matches first";
    if (expected != RULES_NO_MATCH && match.bits < model_bits(&sample->rules[expected], &request->to))
        return "a narrower network of that rule holds the address";
    uint32_t by_name = request->name ? rules_deny_name(subject, request->name, request->port) : RULES_NO_MATCH;
    /* Whatever the address, it would have been refused. */
    if (by_name != RULES_NO_MATCH && (expected > by_name || sample->rules[expected].action != CONFIG_ACTION_DENY))
        return "the name is denied, but not that address of it";
    return NULL;
}

#endif
