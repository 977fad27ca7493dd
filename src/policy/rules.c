#include "policy/rules.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "policy/rule.h"
#include "policy/rule_index.h"

/* The destinations of rules: an index for each kind that can be searched. */
struct rule_targets {
    struct rule_networks *networks;
    struct rule_texts *names; /* "example.com", or ".example.com" for that and all below */
};

/* The rules without `from`, `user` and `listener`, for one command: the same for all its subjects. */
struct common_rules {
    uint64_t *applies; /* a bit for each rule */
    uint32_t *anywhere;
    size_t anywhere_count;  /* of those that take every destination, in order */
    uint32_t first_opening; /* see struct subject; UINT32_MAX: none */
};

/*
 * Thousands of rules about single clients, users or listeners must not slow down the others. So the rules for everybody
 * are kept once, and those for a client, a user or a listener are found by its address or name.
 */
struct rules {
    const struct config_rule *list;
    size_t count;
    struct common_rules common[CONFIG_COMMAND_COUNT];
    struct rule_targets common_to;
    struct rule_targets personal_to; /* of the others */
    struct rule_networks *from;      /* rules without user and listener */
    struct rule_texts *listeners;    /* rules without user */
    struct rule_texts *users;
    struct rules_ports port_pieces;
};

static size_t bit_words(const struct rules *rules)
{
    return (rules->count + 63) / 64;
}

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= (uint64_t)1 << i % 64;
}

static bool has_bit(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> i % 64 & 1;
}

/* ---- compiling ---- */

static bool targets_add(struct rule_targets *targets, uint32_t rule, const struct config_target *target)
{
    bool done = true;
    switch (target->kind) {
    case CONFIG_TARGET_NETWORK:
        return rule_networks_add(targets->networks, &target->network, rule);
    case CONFIG_TARGET_PRIVATE:
        for (size_t i = 0; i < CONFIG_PRIVATE_NETWORKS && done; i++)
            done = rule_networks_add(targets->networks, &config_private_networks[i], rule);
        break;
    case CONFIG_TARGET_NAME:
    case CONFIG_TARGET_SUFFIX:
        return rule_texts_add(targets->names, target->name, rule);
    case CONFIG_TARGET_ANY: /* see rule_takes_anywhere() */
        break;
    }
    return done;
}

/* A rule with several of them is found by its users, or else by its listeners. */
static bool rules_add_subjects(struct rules *rules, uint32_t i)
{
    const struct config_rule *rule = &rules->list[i];
    bool done = true;
    for (size_t j = 0; j < rule->user_count && done; j++)
        done = rule_texts_add(rules->users, rule->users[j], i);
    if (rule->user_count > 0)
        return done;
    for (size_t j = 0; j < rule->listener_count && done; j++)
        done = rule_texts_add(rules->listeners, rule->listeners[j], i);
    for (size_t j = 0; rule->listener_count == 0 && j < rule->from_count && done; j++)
        done = rule_networks_add(rules->from, &rule->from[j], i);
    return done;
}

static void common_add(struct common_rules *common, uint32_t i, const struct config_rule *rule)
{
    set_bit(common->applies, i);
    if (rule_takes_anywhere(rule))
        common->anywhere[common->anywhere_count++] = i;
    if (common->first_opening == UINT32_MAX && rule_opens_addresses(rule))
        common->first_opening = i;
}

static bool rules_add(struct rules *rules, uint32_t i)
{
    const struct config_rule *rule = &rules->list[i];
    bool personal = rule_is_personal(rule), done = !personal || rules_add_subjects(rules, i);
    for (size_t j = 0; j < rule->to_count && done; j++)
        done = targets_add(personal ? &rules->personal_to : &rules->common_to, i, &rule->to[j]);
    for (enum config_command command = 0; !personal && command < CONFIG_COMMAND_COUNT; command++)
        if (rule_is_for(rule, command))
            common_add(&rules->common[command], i, rule);
    return done;
}

static bool targets_init(struct rule_targets *targets)
{
    *targets = (struct rule_targets){rule_networks_new(), rule_texts_new()};
    return targets->networks && targets->names;
}

static bool targets_sort(struct rule_targets *targets)
{
    return rule_networks_sort(targets->networks) && rule_texts_sort(targets->names);
}

static void targets_deinit(struct rule_targets *targets)
{
    rule_networks_free(targets->networks);
    rule_texts_free(targets->names);
}

static void rules_draw_port_pieces(struct rules *rules)
{
    set_bit(rules->port_pieces.bits, 1);
    for (size_t i = 0; i < rules->count; i++)
        for (size_t j = 0; j < rules->list[i].port_count; j++) {
            const struct config_ports *range = &rules->list[i].ports[j];
            set_bit(rules->port_pieces.bits, range->first);
            if (range->last < UINT16_MAX)
                set_bit(rules->port_pieces.bits, range->last + 1U);
        }
}

static bool rules_allocate(struct rules *rules)
{
    bool able = targets_init(&rules->common_to) && targets_init(&rules->personal_to);
    rules->from = rule_networks_new();
    rules->listeners = rule_texts_new();
    rules->users = rule_texts_new();
    for (size_t i = 0; i < CONFIG_COMMAND_COUNT; i++) {
        struct common_rules *common = &rules->common[i];
        *common = (struct common_rules){
            .applies = calloc(bit_words(rules) + 1, sizeof(uint64_t)),
            .anywhere = calloc(rules->count + 1, sizeof(uint32_t)),
            .first_opening = UINT32_MAX,
        };
        able = able && common->applies && common->anywhere;
    }
    return able && rules->from && rules->listeners && rules->users;
}

struct rules *rules_compile(const struct config_rule *list, size_t count)
{
    struct rules *rules = calloc(1, sizeof(*rules));
    if (!rules)
        return NULL;
    assert(count < RULES_NO_MATCH);
    rules->list = list;
    rules->count = count;
    rules_draw_port_pieces(rules);
    bool done = rules_allocate(rules);
    for (uint32_t i = 0; i < count && done; i++)
        done = rules_add(rules, i);
    if (done && targets_sort(&rules->common_to) && targets_sort(&rules->personal_to) &&
        rule_networks_sort(rules->from) && rule_texts_sort(rules->listeners) && rule_texts_sort(rules->users))
        return rules;
    rules_free(rules);
    return NULL;
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < CONFIG_COMMAND_COUNT; i++) {
        free(rules->common[i].applies);
        free(rules->common[i].anywhere);
    }
    targets_deinit(&rules->common_to);
    targets_deinit(&rules->personal_to);
    rule_networks_free(rules->from);
    rule_texts_free(rules->listeners);
    rule_texts_free(rules->users);
    free(rules);
}

/* ---- subjects ---- */

struct rule_candidates {
    uint32_t *rules;
    size_t count, room;
    bool failed; /* no memory */
};

static void candidates_add(struct rule_candidates *candidates, struct rule_list found)
{
    size_t count = candidates->count + found.count;
    if (found.count == 0 || candidates->failed)
        return;
    if (count > candidates->room) {
        uint32_t *rules = reallocarray(candidates->rules, count, sizeof(uint32_t));
        candidates->failed = !rules;
        if (!rules)
            return;
        candidates->rules = rules;
        candidates->room = count;
    }
    assert(count <= candidates->room);
    memcpy(candidates->rules + candidates->count, found.rules, found.count * sizeof(uint32_t));
    candidates->count = count;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* Keeps those that apply, in order, each once. */
static void candidates_sift(struct rule_candidates *candidates, const struct subject *subject, const char *listener)
{
    size_t kept = 0;
    qsort(candidates->rules, candidates->count, sizeof(uint32_t), by_number);
    for (size_t i = 0; i < candidates->count; i++) {
        const uint32_t number = candidates->rules[i];
        const struct config_rule *rule = &subject->rules->list[number];
        if (kept && candidates->rules[kept - 1] == number)
            continue;
        if (rule_is_from(rule, &subject->client) && rule_is_at(rule, listener) && rule_is_for(rule, subject->command))
            candidates->rules[kept++] = number;
    }
    assert(kept <= candidates->count);
    candidates->count = kept;
}

/* Copies them into the subject. false: no memory. */
static bool subject_take_candidates(struct subject *subject, const struct rule_candidates *candidates)
{
    const struct config_rule *list = subject->rules->list;
    size_t anywhere = 0;
    for (size_t i = 0; i < candidates->count; i++)
        anywhere += rule_takes_anywhere(&list[candidates->rules[i]]);
    if (candidates->count == 0)
        return true;
    subject->personal = malloc((candidates->count + anywhere) * sizeof(uint32_t));
    if (!subject->personal)
        return false;
    memcpy(subject->personal, candidates->rules, candidates->count * sizeof(uint32_t));
    subject->personal_count = (uint32_t)candidates->count;
    uint32_t *behind = subject->personal + candidates->count;
    for (size_t i = 0; i < candidates->count; i++) {
        const uint32_t rule = candidates->rules[i];
        if (rule_takes_anywhere(&list[rule]))
            behind[subject->anywhere_count++] = rule;
        if (rule < subject->first_opening && rule_opens_addresses(&list[rule]))
            subject->first_opening = rule;
    }
    return true;
}

bool subject_init(struct subject *subject, const struct rules *rules, const union netaddr *client, const char *user,
                  const char *listener, enum config_command command)
{
    struct rule_candidates candidates = {0};
    assert(command < CONFIG_COMMAND_COUNT);
    *subject = (struct subject){.client = *client, .user = user, .command = command, .first_opening = UINT32_MAX};
    netaddr_unmap(&subject->client);
    if (!rules || rules->count == 0)
        return true;
    subject->rules = rules;
    subject->first_opening = rules->common[command].first_opening;
    if (user)
        candidates_add(&candidates, rule_texts_find(rules->users, user));
    if (listener)
        candidates_add(&candidates, rule_texts_find(rules->listeners, listener));
    for (const struct rule_network *network = rule_networks_find(rules->from, &subject->client); network;
         network = rule_network_wider(network))
        candidates_add(&candidates, rule_network_list(network));
    if (candidates.count > 0)
        candidates_sift(&candidates, subject, listener);
    bool done = !candidates.failed && subject_take_candidates(subject, &candidates);
    free(candidates.rules);
    if (!done)
        *subject = (struct subject){0};
    return done;
}

bool subject_renew(struct subject *subject, const struct rules *rules, const char *listener)
{
    struct subject renewed;
    if (subject->rules == rules)
        return true;
    if (!subject_init(&renewed, rules, &subject->client, subject->user, listener, subject->command))
        return false;
    subject_deinit(subject);
    *subject = renewed;
    return true;
}

void subject_deinit(struct subject *subject)
{
    free(subject->personal);
    *subject = (struct subject){0};
}

/* ---- finding ---- */

static const struct common_rules *common_of(const struct subject *subject)
{
    return &subject->rules->common[subject->command];
}

static struct rule_list personal_anywhere(const struct subject *subject)
{
    if (!subject->personal)
        return (struct rule_list){0};
    return (struct rule_list){subject->personal + subject->personal_count, subject->anywhere_count};
}

/* The first of the rules on a list that applies to the subject and takes the port, if it is below `end`; else `end`. */
static uint32_t list_first_common(const struct subject *subject, struct rule_list list, uint16_t port, uint32_t end)
{
    const uint64_t *applies = common_of(subject)->applies;
    for (size_t i = 0; i < list.count && list.rules[i] < end; i++)
        if (has_bit(applies, list.rules[i]) && rule_has_port(&subject->rules->list[list.rules[i]], port))
            return list.rules[i];
    return end;
}

static uint32_t list_first_personal(const struct subject *subject, struct rule_list list, uint16_t port, uint32_t end)
{
    const struct rule_list personal = {subject->personal, subject->personal_count};
    const bool shorter = list.count < personal.count;
    uint32_t rule;
    for (size_t at = 0;
         (rule = rule_list_next_common(shorter ? &list : &personal, shorter ? &personal : &list, &at, end)) < end;)
        if (rule_has_port(&subject->rules->list[rule], port))
            return rule;
    return end;
}

typedef uint32_t first_on_list(const struct subject *subject, struct rule_list list, uint16_t port, uint32_t end);

static void match_by_address(const struct subject *subject, const struct rule_targets *targets, first_on_list *first,
                             const union netaddr *address, uint16_t port, struct rules_match *best)
{
    for (const struct rule_network *network = rule_networks_find(targets->networks, address); network;
         network = rule_network_wider(network)) {
        uint32_t rule = first(subject, rule_network_list(network), port, best->rule);
        if (rule < best->rule)
            *best = (struct rules_match){rule, rule_network_bits(network)};
    }
}

static void match_anywhere(const struct subject *subject, uint16_t port, struct rules_match *best)
{
    const struct common_rules *common = common_of(subject);
    const struct rule_list lists[] = {personal_anywhere(subject), {common->anywhere, common->anywhere_count}};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < lists[i].count && lists[i].rules[j] < best->rule; j++)
            if (rule_has_port(&subject->rules->list[lists[i].rules[j]], port))
                *best = (struct rules_match){lists[i].rules[j], 0};
}

/* By the name, and by each domain that it is in. */
static void match_by_domains(const struct subject *subject, const struct rule_targets *targets, first_on_list *first,
                             const char *name, uint16_t port, struct rules_match *best)
{
    char dotted[1 + 256] = ".";
    size_t len = strlen(name);
    if (rule_texts_is_empty(targets->names) || len >= sizeof(dotted) - 1)
        return;
    memcpy(dotted + 1, name, len + 1);
    for (const char *text = dotted + 1; text; text = strchr(text == dotted + 1 ? dotted : text + 1, '.')) {
        uint32_t rule = first(subject, rule_texts_find(targets->names, text), port, best->rule);
        if (rule < best->rule)
            *best = (struct rules_match){rule, 0};
    }
}

static void match_by_name(const struct subject *subject, const char *name, uint16_t port, struct rules_match *best)
{
    match_by_domains(subject, &subject->rules->common_to, list_first_common, name, port, best);
    if (subject->personal_count > 0)
        match_by_domains(subject, &subject->rules->personal_to, list_first_personal, name, port, best);
}

struct rules_match rules_find(const struct subject *subject, const char *name, const union netaddr *canonical,
                              uint16_t port)
{
    struct rules_match best = {RULES_NO_MATCH, 0};
    if (!subject->rules)
        return best;
    match_by_address(subject, &subject->rules->common_to, list_first_common, canonical, port, &best);
    if (subject->personal_count > 0)
        match_by_address(subject, &subject->rules->personal_to, list_first_personal, canonical, port, &best);
    match_anywhere(subject, port, &best);
    if (name)
        match_by_name(subject, name, port, &best);
    return best;
}

uint32_t rules_find_everywhere(const struct subject *subject)
{
    uint32_t found = RULES_NO_MATCH;
    if (!subject->rules)
        return found;
    const struct common_rules *common = common_of(subject);
    const struct rule_list lists[] = {personal_anywhere(subject), {common->anywhere, common->anywhere_count}};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < lists[i].count && lists[i].rules[j] < found; j++)
            if (subject->rules->list[lists[i].rules[j]].port_count == 0)
                found = lists[i].rules[j];
    return found;
}

uint32_t rules_find_name(const struct subject *subject, const char *name, uint16_t port)
{
    struct rules_match best = {RULES_NO_MATCH, 0};
    if (!subject->rules)
        return best.rule;
    match_anywhere(subject, port, &best);
    match_by_name(subject, name, port, &best);
    return best.rule;
}

uint32_t rules_deny_name(const struct subject *subject, const char *name, uint16_t port)
{
    uint32_t rule = rules_find_name(subject, name, port);
    bool denies = rule != RULES_NO_MATCH && rule < subject->first_opening &&
                  subject->rules->list[rule].action == CONFIG_ACTION_DENY;
    return denies ? rule : RULES_NO_MATCH;
}

/* ---- where verdicts change ---- */

uint32_t rules_next(const struct subject *subject, uint32_t rule)
{
    if (!subject->rules)
        return RULES_NO_MATCH;
    const uint32_t count = (uint32_t)subject->rules->count;
    const struct rule_list personal = {subject->personal, subject->personal_count};
    const uint32_t found = rule_list_next(&personal, rule, RULES_NO_MATCH);
    for (uint32_t i = rule; i < count && i < found; i = (i / 64 + 1) * 64) {
        const uint64_t left = common_of(subject)->applies[i / 64] & UINT64_MAX << i % 64;
        const uint32_t common = i / 64 * 64 + (left ? (uint32_t)__builtin_ctzll(left) : 0);
        if (left)
            return common < found ? common : found;
    }
    return found;
}

uint32_t rules_next_everywhere(const struct subject *subject, uint32_t rule)
{
    if (!subject->rules)
        return RULES_NO_MATCH;
    const struct common_rules *common = common_of(subject);
    const struct rule_list of_all = {common->anywhere, common->anywhere_count};
    const struct rule_list personal = personal_anywhere(subject);
    return rule_list_next(&personal, rule, rule_list_next(&of_all, rule, RULES_NO_MATCH));
}

const struct rules_ports *rules_port_pieces(const struct rules *rules)
{
    return &rules->port_pieces;
}

bool rules_address_piece(const struct rules *rules, size_t i, union netaddr *address)
{
    const size_t common = rule_networks_piece_count(rules->common_to.networks);
    const size_t personal = rule_networks_piece_count(rules->personal_to.networks);
    if (i >= common + personal)
        return false;
    *address = i < common ? rule_networks_piece(rules->common_to.networks, i)
                          : rule_networks_piece(rules->personal_to.networks, i - common);
    return true;
}

bool rules_mention(const struct rules *rules, const char *text)
{
    return rule_texts_find(rules->common_to.names, text).count > 0 ||
           rule_texts_find(rules->personal_to.names, text).count > 0;
}
