/*
 * Guesses what a value of the wrong kind was meant to be: a single value where a list is expected, a mapping without
 * its dash, a key without its colon, a key that is indented wrongly. What may be a password is never written.
 */
#ifndef CONESOCKS_CONF_SHAPE_H
#define CONESOCKS_CONF_SHAPE_H

#include <stdbool.h>
#include <stdio.h>
#include <yaml.h>

#include "conf/schema.h"

/* Writes "; " and what to write instead, or nothing. For the value of the option `row`, or for an element of its list.
 * The row of the whole file has no key. */
void shape_suggest(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row, bool element,
                   FILE *out);
/* Where an unknown key belongs, instead of "expected ...". `above` is the option that precedes it; NULL: none. `top`:
 * it was found at the top level. */
bool shape_place_of_key(const char *key, const struct schema_row *above, bool top, FILE *out);
/* The same for "enabled:false" inside braces, which is one key for YAML. */
bool shape_key_without_space(const char *key, const struct schema_row *rows, FILE *out);
/* The same for "deny: ...": a key that is a value of an option. */
bool shape_key_of_word(const char *word, const struct schema_row *rows, FILE *out);

#endif
