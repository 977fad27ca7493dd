/* Checks what the order of the rules causes: rules that never match, and whether strangers are kept out. */
#ifndef CONESOCKS_CONF_RULE_ORDER_H
#define CONESOCKS_CONF_RULE_ORDER_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/types.h"

/* The earlier rule that matches everything that rule `i` matches; `i`: none. */
size_t rule_order_shadow(const struct config_rule *rules, size_t i);

/* Whether only clients that the rules name may do anything: one rule denies everything, and each allow rule before it
 * limits the clients (`from`). */
bool rule_order_names_clients(const struct config_rule *rules, size_t count);

/* Whether a rule matches every destination and port. */
bool rule_order_takes_everywhere(const struct config_rule *rule);

#endif
