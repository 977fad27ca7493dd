/*
 * Helpers to build JSON. If memory runs out, the result is NULL, and so is everything that it is put into: only the
 * final result has to be checked.
 */
#ifndef CONESOCKS_ADMIN_JSON_H
#define CONESOCKS_ADMIN_JSON_H

#include <jansson.h>

#include "base/netaddr.h"

/* Takes over both, and returns the array or object with the value in it. */
json_t *json_with(json_t *array, json_t *value);
json_t *json_with_key(json_t *object, const char *key, json_t *value);

json_t *json_number(uint64_t value);
/* A text that a client or a user chose, escaped as in the log. NULL and "" become null. */
json_t *json_chosen(const char *text);
/* "192.0.2.1:80"; null for AF_UNSPEC. */
json_t *json_address(const union netaddr *addr);

/* Takes `json` over. A text for free(), or NULL. */
char *json_text(json_t *json);

#endif
