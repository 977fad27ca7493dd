/*
 * The table of all options of the configuration. To add one: a member in struct config, a row in options.c or
 * options_lists.c, a line in config/conesocks.yaml and an item in man/conesocks.yaml.5; a test compares the three.
 */
#ifndef CONESOCKS_CONF_OPTIONS_H
#define CONESOCKS_CONF_OPTIONS_H

#include <stdio.h>

#include "conf/schema.h"

/* The options at the top level of the file, ended by a row without a key. */
extern const struct schema_row config_options[];

/* One line per option: "key<TAB>type<TAB>default<TAB>help". Elements of lists are "key[].key". */
void config_options_list(FILE *out);

#endif
