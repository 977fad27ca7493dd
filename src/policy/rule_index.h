/*
 * An index of rules by what they name, a network or a text; a search takes the same time whatever the number of rules.
 * rules.c has one for each criterion: the client's address, the user, the destination.
 */
#ifndef CONESOCKS_POLICY_RULE_INDEX_H
#define CONESOCKS_POLICY_RULE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conf/config.h"

/* Rules in ascending order, none twice. */
struct rule_list {
    const uint32_t *rules;
    size_t count;
};

/* The first rule on a list from `rule` on that is below `end`; `end`: there is none. */
uint32_t rule_list_next(const struct rule_list *list, uint32_t rule, uint32_t end);

/* The first rule below `end` that is on both lists, from the position `*at` of `few` on, which is moved past it. `end`:
 * there is none. The time grows with the length of `few` and the logarithm of that of `many`. */
uint32_t rule_list_next_common(const struct rule_list *few, const struct rule_list *many, size_t *at, uint32_t end);

/* ---- networks ---- */

struct rule_networks;
struct rule_network; /* one of them */

/* NULL: no memory. */
struct rule_networks *rule_networks_new(void);
void rule_networks_free(struct rule_networks *networks);
/* Rules are added in ascending order, then sorted once, before the first search. false: no memory. */
bool rule_networks_add(struct rule_networks *networks, const struct config_network *network, uint32_t rule);
bool rule_networks_sort(struct rule_networks *networks);
/* The narrowest network that contains the address, and the next wider one that does. NULL: none. There are at most as
 * many as an address has bits. */
const struct rule_network *rule_networks_find(const struct rule_networks *networks, const union netaddr *address);
const struct rule_network *rule_network_wider(const struct rule_network *network);
/* The rules that name it. */
struct rule_list rule_network_list(const struct rule_network *network);
unsigned rule_network_bits(const struct rule_network *network);
/* The first address of each piece whose addresses are in the same networks. */
size_t rule_networks_piece_count(const struct rule_networks *networks);
union netaddr rule_networks_piece(const struct rule_networks *networks, size_t i);

/* ---- texts ---- */

struct rule_texts;

/* The same for texts, which outlive it. */
struct rule_texts *rule_texts_new(void);
void rule_texts_free(struct rule_texts *texts);
bool rule_texts_add(struct rule_texts *texts, const char *text, uint32_t rule);
bool rule_texts_sort(struct rule_texts *texts);
bool rule_texts_is_empty(const struct rule_texts *texts);
struct rule_list rule_texts_find(const struct rule_texts *texts, const char *text);

#endif
