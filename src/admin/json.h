/*
 * What the answers in JSON have in common. Where memory runs out the outcome is NULL, and whatever NULL is put into is
 * NULL as well: only the end has to be looked at.
 */
#ifndef CONESOCKS_ADMIN_JSON_H
#define CONESOCKS_ADMIN_JSON_H

#include <jansson.h>

#include "base/netaddr.h"

/* Takes over both, and returns the array or object with the value in it. */
json_t *json_with(json_t *array, json_t *value);
json_t *json_with_key(json_t *object, const char *key, json_t *value);

json_t *json_number(uint64_t value);
/* What somebody chose, escaped as in the log: always text, whatever the bytes. NULL and "" are null. */
json_t *json_chosen(const char *text);
/* "192.0.2.1:80", or null when there is none. */
json_t *json_address(const union netaddr *addr);

/* Takes it over. A text for free(), or NULL. */
char *json_text(json_t *json);

#endif
