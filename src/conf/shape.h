/*
 * Guesses what a value of the wrong kind was meant to be: a single value where a list is expected, a mapping without
 * its dash, a key without its colon. What may be a password is never written.
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
#endif
