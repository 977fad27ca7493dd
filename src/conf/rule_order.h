/* What the order of the rules makes of them: which never match, and whether they close the door to strangers. */
#ifndef CONESOCKS_CONF_RULE_ORDER_H
#define CONESOCKS_CONF_RULE_ORDER_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/types.h"

/* The earlier rule that takes all that rule `i` could match, or `i` when there is none. */
size_t rule_order_shadow(const struct config_rule *rules, size_t i);

/* Whether only clients that the rules name get anything: somewhere a rule denies all, and each rule before it that
 * allows something says from where. */
bool rule_order_names_clients(const struct config_rule *rules, size_t count);

/* Does a rule take every destination and port? */
bool rule_order_takes_everywhere(const struct config_rule *rule);

#endif
